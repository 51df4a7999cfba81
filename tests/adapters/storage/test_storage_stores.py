"""What the SQL stores do beyond their ports: they outlive the process, even one that is killed."""

import gc
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Connection, select

from adapters.storage.database import Database
from adapters.storage.effects import SqlEffectLedger
from adapters.storage.held_runs import HeldRuns
from adapters.storage.keys import SqlKeyStore
from adapters.storage.opensteps import SqlOpenSteps
from adapters.storage.registry import SqlAgentRegistry
from adapters.storage.runs import SqlRunStore
from adapters.storage.scratch import SCRATCH_SCHEMA, SqlScratchStore
from adapters.storage.tables import GATEWAY_SCHEMA, agent_cards, open_steps
from gateway.core.errors import Unavailable
from gateway.core.limits import Usage
from gateway.core.model import principal
from gateway.core.ports.runs import Moved, Run, Told
from gateway.core.ports.storage import ApiKey, Fresh, OpenStep, Unfinished
from gateway.core.task import TaskState

pytestmark = pytest.mark.anyio

RUN = Run(
    id="run_1",
    workflow="help",
    tenant="default",
    owner="ana",
    state="working",
    context_id="c",
    created_at_us=1,
    updated_at_us=1,
)
STEP = OpenStep(
    run_id="run_1", step_id="run_1/2", agent="refunds", actor=principal("agent:refunds", kind="agent"), phase=""
)
KEY = ApiKey(id="k", digest=b"d", subject="ana", kind="client", tenant="default", roles=frozenset(), created_at_us=1)

BEGINNER = """
import sys
from pathlib import Path
import anyio
from adapters.storage.database import Database
from adapters.storage.effects import SqlEffectLedger
from adapters.storage.tables import GATEWAY_SCHEMA

async def main():
    database = await Database.open(Path(sys.argv[1]), GATEWAY_SCHEMA)
    ledger = SqlEffectLedger(database, process="killed")
    number = 0
    while True:
        await ledger.begin("default", f"k{number}", "d", number)
        print(number, flush=True)
        number += 1

anyio.run(main)
"""


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "gateway.db", GATEWAY_SCHEMA)
    yield opened
    await opened.aclose()


async def test_everything_outlives_the_process(tmp_path: Path) -> None:
    first = await Database.open(tmp_path / "gateway.db", GATEWAY_SCHEMA)
    await SqlKeyStore(first).add(KEY)
    await SqlRunStore(first).open(RUN)
    event = await SqlRunStore(first).append("run_1", "a", {"n": 1}, 5)
    await SqlEffectLedger(first, process="first").begin("default", "k", "d", 7)
    await first.aclose()

    later = await Database.open(tmp_path / "gateway.db", GATEWAY_SCHEMA)

    assert await SqlKeyStore(later).all() == (KEY,)
    assert await SqlRunStore(later).find("default", "run_1") == RUN
    assert await SqlRunStore(later).events("run_1") == (event,)
    assert await SqlEffectLedger(later, process="later").begin("default", "k", "d", 8) == Unfinished(7, here=False)
    await later.aclose()


async def test_what_was_reported_begun_is_known_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    process = await anyio.open_process([sys.executable, "-c", BEGINNER, str(path)], stderr=subprocess.DEVNULL)
    told = b""
    async with process:
        assert process.stdout is not None
        with anyio.fail_after(60):
            while told.count(b"\n") < 50:
                told += await process.stdout.receive()
        process.kill()

    database = await Database.open(path, GATEWAY_SCHEMA)
    ledger = SqlEffectLedger(database, process="later")
    for number in told.decode().split("\n")[:-1]:
        assert await ledger.begin("default", f"k{number}", "d", 0) == Unfinished(int(number), here=False)
    assert await ledger.begin("default", "k-other", "d", 0) == Fresh()
    await database.aclose()


@pytest.mark.parametrize("state", list(TaskState))
async def test_steps_of_a_run_that_has_ended_are_not_open_after_a_restart(database: Database, state: TaskState) -> None:
    await SqlRunStore(database).open(replace(RUN, state=state.value))
    await SqlOpenSteps(database).open(STEP)

    later = SqlOpenSteps(database)
    await later.load()

    assert later.of_agent("default", "refunds") == (() if state.terminal else (STEP,))


async def test_the_open_steps_of_an_agent_are_the_same_tuple_until_one_changes(database: Database) -> None:
    steps = SqlOpenSteps(database)
    await steps.open(STEP)
    before = steps.of_agent("default", "refunds")

    await steps.open(replace(STEP, step_id="run_1/9", agent="triage"))

    assert steps.of_agent("default", "refunds") is before


async def test_a_step_that_could_not_be_stored_is_not_open(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "gateway.db", GATEWAY_SCHEMA)
    steps = SqlOpenSteps(database)
    await steps.open(STEP)
    await database.aclose()

    with pytest.raises(Unavailable):
        await steps.open(replace(STEP, step_id="run_1/3"))
    with pytest.raises(Unavailable):
        await steps.close("run_1", "run_1/2")

    assert steps.find("run_1", "run_1/3") is None
    assert steps.find("run_1", "run_1/2") is None


async def test_with_a_run_that_ends_go_rows_of_steps_that_were_shut_and_not_told(database: Database) -> None:
    runs, steps = SqlRunStore(database), SqlOpenSteps(database)
    await runs.open(RUN)
    for run_id in ("run_1", "run_2"):
        await steps.open(replace(STEP, run_id=run_id, step_id=f"{run_id}/2"))
    steps.shut("run_1", "run_1/2")

    await runs.tell("run_1", moved=Moved(state=TaskState.CANCELED.value, at_us=2))

    left = await database.read(lambda connection: connection.execute(select(open_steps.c.run_id)).scalars().all())
    assert left == ["run_2"]


async def test_of_an_agents_cards_the_first_and_the_latest_are_kept(database: Database) -> None:
    registry = SqlAgentRegistry(database)
    for number, digest in enumerate(("one", "two", "three"), start=1):
        await registry.seen("refunds", digest, digest.encode(), number)

    rows = await database.read(lambda connection: connection.execute(select(agent_cards)).all())

    assert [tuple(row) for row in rows] == [("refunds", "one", b"one", 1, "three", b"three", 3)]


async def test_nothing_is_left_of_those_who_waited(database: Database) -> None:
    store = SqlRunStore(database)
    await store.open(RUN)

    async with anyio.create_task_group() as group:
        group.start_soon(store.wait_events, "run_1", 0, 60.0)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    await store.wait_events("run_1", 0, 0.0)

    assert vars(store)["_waiting"] == {}


async def test_an_event_appended_while_a_waiter_looks_is_not_slept_through(database: Database) -> None:
    store = SqlRunStore(database)
    await store.open(RUN)

    async def follow() -> None:
        seen = 0
        while seen < 100:
            for event in await store.wait_events("run_1", seen, 60.0):
                assert event.seq == seen + 1
                seen += 1

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(follow)
            for number in range(100):
                await store.append("run_1", f"{number}", {"n": number}, number)


async def test_a_run_that_was_opened_here_is_followed_to_its_end_without_a_look_at_the_database(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    read = database.read

    async def counted(act: Callable[[Connection], object]) -> object:
        looks.append(act)
        return await read(act)

    monkeypatch.setattr(database, "read", counted)
    store = SqlRunStore(database, HeldRuns())
    run = await store.open(replace(RUN, id="run_2", state="submitted"))
    found = await store.find("default", "run_2")
    ended = Moved(state="completed", at_us=9, output={"n": 1}, usage=Usage(calls=2))
    async with anyio.create_task_group() as group:
        group.start_soon(store.wait_events, "run_2", 0, 60.0)
        await anyio.wait_all_tasks_blocked()
        await store.tell("run_2", events=(Told(key="ended", body={}, at_us=9),), moved=ended)
    latest = await store.find("default", "run_2")

    assert (found, looks) == (run, [])
    assert latest == await SqlRunStore(database).find("default", "run_2")


@pytest.mark.parametrize("change", ["pause", "unpause", "hold"])
async def test_what_else_is_done_to_a_run_is_looked_up(database: Database, change: str) -> None:
    store = SqlRunStore(database, HeldRuns())
    run = await store.open(replace(RUN, id="run_2"))
    await store.pause("run_2", 5)
    if change != "pause":
        await getattr(store, change)("run_2", 7)

    assert await store.find("default", "run_2") == await SqlRunStore(database).find("default", "run_2") != run


async def test_a_run_nobody_holds_is_not_kept_in_memory(database: Database) -> None:
    held = HeldRuns()
    store = SqlRunStore(database, held)
    await store.open(replace(RUN, id="run_2"))
    # The writing thread lets go of a write a moment after it has told of it.
    await store.open(replace(RUN, id="run_3"))
    gc.collect()

    assert held.find("default", "run_2") is None
    assert await store.find("default", "run_2") == replace(RUN, id="run_2")


async def test_claims_of_an_earlier_process_are_given_back_too(tmp_path: Path) -> None:
    first = await SqlScratchStore.open(tmp_path / "scratch.db")
    assert await first.claim("t", "one", "account:1", until_us=1000, now_us=0)
    await first.aclose()
    later = await SqlScratchStore.open(tmp_path / "scratch.db")
    await later.release_all("one")

    assert await later.claim("t", "two", "account:1", until_us=1000, now_us=0)
    await later.aclose()


async def test_a_run_that_claimed_nothing_gives_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = await Database.open(tmp_path / "scratch.db", SCRATCH_SCHEMA)
    store, writes = SqlScratchStore(database), list[str]()
    write = database.write

    async def counted(act: Callable[[Connection], object], *, about: str = "", lasting: bool = True) -> object:
        writes.append(about)
        return await write(act, about=about, lasting=lasting)

    monkeypatch.setattr(database, "write", counted)
    await store.claim("t", "one", "account:1", until_us=1000, now_us=0)
    for run_id in ("two", "one", "one"):
        await store.release_all(run_id)

    assert writes == ["one", "one"]
    assert await store.claim("t", "two", "account:1", until_us=1000, now_us=0)
    await database.aclose()
