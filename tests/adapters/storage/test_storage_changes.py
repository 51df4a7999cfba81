"""What one gateway changes on a shared database, seen from another."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from threading import Event as ThreadEvent

import anyio
import pytest
from anyio import from_thread, lowlevel, to_thread
from sqlalchemy import Connection

from adapters.storage.changes import STALE_AFTER_S, Changes
from adapters.storage.keys import KEYS, SqlKeyStore
from adapters.storage.opensteps import SqlOpenSteps
from adapters.storage.postgres import PostgresDatabase
from adapters.storage.registry import AGENTS, SqlAgentRegistry
from adapters.storage.runs import SqlRunStore
from adapters.storage.scratch import SCRATCH_SCHEMA, SqlScratchStore
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.errors import Conflict, Unavailable
from gateway.core.labels import Labels
from gateway.core.ports.runs import RunEvent
from gateway.core.ports.world import Secret
from tests.contracts.test_contract_keys import KEY
from tests.contracts.test_contract_opensteps import STEP
from tests.contracts.test_contract_registry import AGENT
from tests.contracts.test_contract_runs import RUN
from tests.contracts.test_contract_runs import STEP as RUN_STEP

pytestmark = pytest.mark.anyio


class HandClock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def now_us(self) -> int:
        return int(self.now_s * 1e6)

    def monotonic_s(self) -> float:
        return self.now_s


@dataclass
class Two:
    a: PostgresDatabase
    b: PostgresDatabase


@pytest.fixture
async def two(postgres_url: str) -> AsyncGenerator[Two]:
    """Two gateways' connections to one database."""
    async with AsyncExitStack() as stack:
        opened: list[PostgresDatabase] = []
        for _ in range(2):
            database = await PostgresDatabase.open(Secret(postgres_url), (GATEWAY_SCHEMA, SCRATCH_SCHEMA))
            stack.push_async_callback(database.aclose)
            opened.append(database)
        yield Two(*opened)


async def test_a_copy_is_read_at_the_start_and_whenever_its_topic_changed(two: Two) -> None:
    times = {KEYS: 0, AGENTS: 0}
    changes = Changes(two.b, HandClock())

    async def count(topic: str) -> None:
        times[topic] += 1

    changes.on(KEYS, lambda: count(KEYS))
    changes.on(AGENTS, lambda: count(AGENTS))
    await changes.look()
    await changes.look()
    assert times == {KEYS: 1, AGENTS: 1}

    await SqlKeyStore(two.a).add(KEY)
    await changes.look()
    assert times == {KEYS: 2, AGENTS: 1}

    await SqlKeyStore(two.a).revoke(KEY.id, 50)
    await SqlAgentRegistry(two.a).add(AGENT)
    await changes.look()
    await changes.look()
    assert times == {KEYS: 3, AGENTS: 2}

    await SqlKeyStore(two.a).revoke(KEY.id, 60)
    await SqlAgentRegistry(two.a).remove(AGENT.slug)
    await changes.look()
    assert times == {KEYS: 3, AGENTS: 3}


async def test_a_copy_that_could_not_be_read_is_read_at_the_next_look_and_stale_until_then(two: Two) -> None:
    clock = HandClock()
    changes = Changes(two.b, clock)
    asked: list[bool] = []

    async def read_again() -> None:
        asked.append(True)
        if len(asked) < 3:
            raise Unavailable("not now")

    changes.on(KEYS, read_again)
    for _ in range(2):
        clock.now_s += STALE_AFTER_S
        await changes.look()
        assert not changes.current(KEYS)

    await changes.look()
    await changes.look()
    assert changes.current(KEYS)
    assert len(asked) == 3


async def test_a_copy_is_stale_once_the_database_has_not_answered_for_long(two: Two) -> None:
    clock = HandClock()
    changes = Changes(two.b, clock)

    async def read_again() -> None:
        """There is nothing to read."""

    changes.on(KEYS, read_again)
    await changes.look()
    await two.b.aclose()

    await changes.look()
    clock.now_s += STALE_AFTER_S - 0.1
    assert changes.current(KEYS)
    clock.now_s += 0.1
    assert not changes.current(KEYS)


async def test_events_appended_by_another_gateway_wake_whoever_waits(two: Two) -> None:
    there, here = SqlRunStore(two.a), SqlRunStore(two.b)
    changes = Changes(two.b, HandClock())
    changes.each_time(here.look)
    await there.open(RUN)
    await there.append(RUN.id, "first", {"n": 1}, 5)
    got: list[tuple[RunEvent, ...]] = []

    async def wait() -> None:
        got.append(await here.wait_events(RUN.id, 1, 60))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(wait)
            waiting.start_soon(changes.run)
            await there.append(RUN.id, "second", {"n": 2}, 6)
            while not got:
                await lowlevel.checkpoint()
            waiting.cancel_scope.cancel()

    assert got == [(RunEvent(run_id=RUN.id, seq=2, at_us=6, body={"n": 2}),)]


async def test_events_of_several_gateways_are_numbered_without_gaps_and_kept_once(two: Two) -> None:
    stores = [SqlRunStore(two.a), SqlRunStore(two.b)]
    await stores[0].open(RUN)
    kept: list[RunEvent | None] = []

    async def append(store: SqlRunStore, key: str) -> None:
        kept.append(await store.append(RUN.id, key, {}, 5))

    with anyio.fail_after(120):
        async with anyio.create_task_group() as appending:
            for number in range(10):
                for store in stores:
                    appending.start_soon(append, store, f"event {number}")

    assert sorted(event.seq for event in kept if event is not None) == list(range(1, 11))
    assert kept.count(None) == 10


async def test_a_claim_is_one_gateways_however_many_ask_at_once(two: Two) -> None:
    stores = [SqlScratchStore(two.a), SqlScratchStore(two.b)]
    got: dict[str, bool] = {}

    async def claim(store: SqlScratchStore, run_id: str) -> None:
        got[run_id] = await store.claim("default", run_id, "account:4711", until_us=100, now_us=1)

    with anyio.fail_after(120):
        async with anyio.create_task_group() as claiming:
            for number, store in enumerate(stores * 5):
                claiming.start_soon(claim, store, f"run_{number}")

    assert sorted(got.values()) == [False] * 9 + [True]


async def test_a_step_is_open_everywhere_from_its_opening_and_nowhere_after_its_closing(two: Two) -> None:
    there, here = SqlOpenSteps(two.a), SqlOpenSteps(two.b)
    await there.open(STEP)
    assert here.find(STEP.run_id, STEP.step_id) is None

    await here.look(STEP.agent)
    assert here.find(STEP.run_id, STEP.step_id) == STEP
    assert here.of_agent("default", STEP.agent) == (STEP,)
    assert here.of_agent("default", STEP.agent) is here.of_agent("default", STEP.agent)

    tainted = replace(STEP, labels=Labels(untrusted=frozenset({"agent:mallory"})))
    await there.open(tainted)
    await here.look(STEP.agent)
    assert here.find(STEP.run_id, STEP.step_id) == tainted

    await there.close(STEP.run_id, STEP.step_id)
    await here.look("another")
    await here.look(STEP.agent)
    assert here.find(STEP.run_id, STEP.step_id) is None
    assert here.of_agent("default", STEP.agent) == ()


async def test_a_gateway_that_takes_over_a_run_finds_its_open_steps(two: Two) -> None:
    await SqlOpenSteps(two.a).open(STEP)
    here = SqlOpenSteps(two.b)

    await here.look_at_run(STEP.run_id)

    assert here.find(STEP.run_id, STEP.step_id) == STEP


async def test_what_this_gateway_is_about_to_write_outlives_a_look(two: Two) -> None:
    here = SqlOpenSteps(two.b)
    other = replace(STEP, step_id="run_1/3")
    await here.open(other)

    def hold_up(connection: Connection) -> None:
        connection.exec_driver_sql("LOCK TABLE open_steps IN EXCLUSIVE MODE")
        locked.set()
        from_thread.run(released.wait, token=token)

    locked, released, token = ThreadEvent(), anyio.Event(), lowlevel.current_token()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(two.a.write, hold_up)
            await to_thread.run_sync(locked.wait, 60)
            tasks.start_soon(here.open, STEP)
            tasks.start_soon(here.close, other.run_id, other.step_id)
            await anyio.wait_all_tasks_blocked()

            await here.look(STEP.agent)

            assert here.of_agent("default", STEP.agent) == (STEP,)
            released.set()
    await here.look(STEP.agent)
    assert here.of_agent("default", STEP.agent) == (STEP,)


async def test_what_an_agent_said_is_kept_whatever_characters_are_in_it(two: Two) -> None:
    runs = SqlRunStore(two.a)
    await runs.open(RUN)
    said = replace(RUN_STEP, summary="nul \0 and ☂", value={"text": "\0"}, usage=replace(RUN_STEP.usage, tokens=2**40))

    await runs.note_step(said)

    assert await SqlRunStore(two.b).steps(RUN.id) == (replace(said, summary="nul ␀ and ☂"),)


async def test_a_run_is_opened_once_by_gateways_that_are_asked_at_once(two: Two) -> None:
    stores = [SqlRunStore(two.a), SqlRunStore(two.b)]
    opened: list[str] = []

    async def open_run(store: SqlRunStore, run_id: str) -> None:
        opened.append((await store.open(replace(RUN, id=run_id))).id)

    with anyio.fail_after(120):
        async with anyio.create_task_group() as opening:
            for number, store in enumerate(stores * 4):
                opening.start_soon(open_run, store, f"run_{number}")

    assert len(set(opened)) == 1
    with pytest.raises(Conflict):
        await stores[0].open(replace(RUN, id=opened[0], key="", tenant="other"))
