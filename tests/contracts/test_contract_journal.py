"""Every durable engine keeps these promises."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from adapters.durable.dbos_journal import DbosJournal
from adapters.durable.memory import Entry, MemoryJournal, copied
from adapters.durable.places import Place, PostgresServer, SqliteFile
from gateway.core.errors import Conflict, Exhausted, Internal, NotFound
from gateway.core.json import JsonObject
from gateway.core.ports.journal import Journal, RunBody
from gateway.core.ports.world import Secret

pytestmark = pytest.mark.anyio


class MemoryEngines:
    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    @asynccontextmanager
    async def open(self, body: RunBody, *, pending_limit: int = 1000) -> AsyncGenerator[Journal]:
        journal = MemoryJournal(copied(self.entries), pending_limit=pending_limit)
        await journal.launch(body)
        try:
            with anyio.fail_after(60):
                yield journal
        finally:
            await journal.aclose()
            self.entries = journal.entries


class DbosEngines:
    def __init__(self, place: Place) -> None:
        self.place = place

    @asynccontextmanager
    async def open(self, body: RunBody, *, pending_limit: int = 1000) -> AsyncGenerator[Journal]:
        # No lease lapses here: on a machine that is held up for long, it would in the middle of a run.
        journal = DbosJournal(self.place, pending_limit=pending_limit, poll_s=0.05, lease_s=120.0)
        await journal.launch(body)
        try:
            with anyio.fail_after(60):
                yield journal
        finally:
            await journal.aclose()


Engines = MemoryEngines | DbosEngines


class PostgresEngines(DbosEngines):
    """A process a time: another one each, so that what one leaves another has to take up."""

    def __init__(self, url: str) -> None:
        self._url = url

    @asynccontextmanager
    async def open(self, body: RunBody, *, pending_limit: int = 1000) -> AsyncGenerator[Journal]:
        self.place = PostgresServer(Secret(self._url))
        async with super().open(body, pending_limit=pending_limit) as journal:
            yield journal


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def engines(request: pytest.FixtureRequest, tmp_path: Path) -> Engines:
    if request.param == "memory":
        return MemoryEngines()
    if request.param == "sqlite":
        return DbosEngines(SqliteFile(tmp_path / "runs.db"))
    return PostgresEngines(request.getfixturevalue("postgres_url"))


def always(value: JsonObject) -> Callable[[], Awaitable[JsonObject]]:
    async def act() -> JsonObject:
        return value

    return act


async def echo(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
    return await journal.draw().run("echo", always({"run": run_id, "said": spec}))


async def test_a_run_ends_with_its_outcome(engines: Engines) -> None:
    async with engines.open(echo) as journal:
        await journal.start("run_1", {"a": 1})
        assert await journal.wait("run_1") == {"run": "run_1", "said": {"a": 1}}
        assert await journal.state("run_1") == "done"
        assert await journal.spec("run_1") == {"a": 1}


async def test_a_run_started_twice_runs_once_with_what_came_first(engines: Engines) -> None:
    async with engines.open(echo) as journal:
        await journal.start("run_1", {"a": 1})
        await journal.start("run_1", {"a": 2})
        await journal.wait("run_1")
        await journal.start("run_1", {"a": 3})
        assert await journal.wait("run_1") == {"run": "run_1", "said": {"a": 1}}


async def test_what_nobody_started_is_not_there(engines: Engines) -> None:
    async with engines.open(echo) as journal:
        assert await journal.state("run_x") == ""
        assert await journal.spec("run_x") is None
        for asked in (journal.wait("run_x"), journal.cancel("run_x"), journal.resume("run_x")):
            with pytest.raises(NotFound):
                await asked
        with pytest.raises(NotFound):
            await journal.send("run_x", "topic", 1, "key")


async def test_a_run_is_executed_here_while_its_body_is(engines: Engines) -> None:
    seen: list[bool] = []

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        seen.append(journal.executes(run_id))
        return {}

    async with engines.open(body) as journal:
        assert not journal.executes("run_1")
        await journal.start("run_1", {})
        await journal.wait("run_1")
        assert seen == [True]
        assert not journal.executes("run_1")


async def test_a_body_that_raises_ends_the_run_as_failed(engines: Engines) -> None:
    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        raise Internal("broken")

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        with pytest.raises(Internal):
            await journal.wait("run_1")
        assert await journal.state("run_1") == "failed"
        with pytest.raises(Conflict):
            await journal.resume("run_1")


async def test_a_shutdown_is_no_cancel_and_finished_steps_are_not_repeated(
    engines: Engines,
) -> None:
    acted: list[str] = []
    reached, go_on = anyio.Event(), anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        async def act(name: str) -> JsonObject:
            acted.append(name)
            if name == "second":
                reached.set()
                await go_on.wait()
            return {"name": name, "n": len(acted)}

        first = await journal.draw().run("first", lambda: act("first"))
        second = await journal.draw().run("second", lambda: act("second"))
        return {"first": first, "second": second}

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        await reached.wait()
    go_on.set()
    async with engines.open(body) as journal:
        assert await journal.state("run_1") == "pending"
        outcome = await journal.wait("run_1")
    assert acted == ["first", "second", "second"]
    assert outcome == {"first": {"name": "first", "n": 1}, "second": {"name": "second", "n": 3}}


async def test_chains_side_by_side_keep_their_own_results_across_a_restart(
    engines: Engines,
) -> None:
    chains, length = 6, 3
    live, halfway = [True], anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        slots = {(c, k): journal.draw() for c in range(chains) for k in range(length)}
        said: dict[int, list[object]] = {c: [] for c in range(chains)}
        turns = [anyio.Event() for _ in range(chains + 1)]
        turns[chains].set()

        async def chain(c: int) -> None:
            for k in range(length):

                async def act(c: int = c, k: int = k) -> JsonObject:
                    # While live, the chains record in the opposite order of their numbers, and stop half way.
                    if live[0]:
                        await turns[c + 1].wait()
                        if k == 1 + c % 2:
                            turns[c].set()
                            if c == 0:
                                halfway.set()
                            await anyio.sleep_forever()
                    return {"from": f"{c}.{k}"}

                said[c].append((await slots[c, k].run("agent", act))["from"])

        async with anyio.create_task_group() as group:
            for c in range(chains):
                group.start_soon(chain, c)
        return {str(c): [str(each) for each in heard] for c, heard in said.items()}

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        await halfway.wait()
    live[0] = False
    async with engines.open(body) as journal:
        outcome = await journal.wait("run_1")
    assert outcome == {str(c): [f"{c}.{k}" for k in range(length)] for c in range(chains)}


async def test_slots_are_drawn_by_the_runs_own_task_only(engines: Engines) -> None:
    refused: list[str] = []

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        async def draw_elsewhere() -> None:
            with pytest.raises(Internal) as raised:
                journal.draw()
            refused.append(raised.value.message)

        async with anyio.create_task_group() as group:
            group.start_soon(draw_elsewhere)
        return {"first": journal.draw().number, "second": journal.draw().number}

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        outcome = await journal.wait("run_1")
        with pytest.raises(Internal):
            journal.draw()
    assert len(refused) == 1
    first, second = outcome["first"], outcome["second"]
    assert isinstance(first, int)
    assert second == first + 1


async def test_another_step_in_a_recorded_place_is_a_loud_error(engines: Engines) -> None:
    name, reached = ["one"], anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        await journal.draw().run(name[0], always({}))
        if name[0] == "one":
            reached.set()
            await anyio.sleep_forever()
        return {}

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        await reached.wait()
    name[0] = "other"
    async with engines.open(body) as journal:
        with pytest.raises(Internal):
            await journal.wait("run_1")
        assert await journal.state("run_1") == "failed"


async def test_what_raises_is_not_recorded_and_is_done_again_at_the_next_launch(engines: Engines) -> None:
    broken, raised = [True], anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        async def act() -> JsonObject:
            if broken[0]:
                raised.set()
                raise KeyError("a bug")
            return {"well": True}

        return await journal.draw().run("act", act)

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        await raised.wait()
        await anyio.wait_all_tasks_blocked()
        assert await journal.state("run_1") == "pending"
    broken[0] = False
    async with engines.open(body) as journal:
        assert await journal.wait("run_1") == {"well": True}


async def test_a_canceled_run_stops_in_its_step_and_goes_on_when_resumed(
    engines: Engines,
) -> None:
    acted: list[str] = []
    reached, ended, go_on = anyio.Event(), anyio.Event(), anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        async def act(name: str) -> JsonObject:
            acted.append(name)
            if name == "long":
                reached.set()
                try:
                    await go_on.wait()
                finally:
                    ended.set()
            return {}

        await journal.draw().run("short", lambda: act("short"))
        await journal.draw().run("long", lambda: act("long"))
        return {"done": True}

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        await reached.wait()
        await journal.cancel("run_1")
        await ended.wait()
        assert await journal.state("run_1") == "canceled"
        await journal.cancel("run_1")
        go_on.set()
        await journal.resume("run_1")
        assert await journal.wait("run_1") == {"done": True}
        await journal.cancel("run_1")
        assert await journal.state("run_1") == "done"
    assert acted == ["short", "long", "long"]


async def test_a_canceled_run_stays_canceled_across_a_restart(engines: Engines) -> None:
    reached = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        reached.set()
        await anyio.sleep_forever()
        return {}

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        await reached.wait()
        await journal.cancel("run_1")
    async with engines.open(echo) as journal:
        assert await journal.state("run_1") == "canceled"


async def test_a_message_counts_once_per_key_and_is_heard_in_order(engines: Engines) -> None:
    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        heard = [await journal.receive("answers", 10.0), await journal.receive("answers", 10.0)]
        return {"heard": heard, "late": await journal.receive("answers", 0.05)}

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        await journal.send("run_1", "answers", {"n": 1}, "key-1")
        await journal.send("run_1", "answers", {"n": 1}, "key-1")
        await journal.send("run_1", "answers", {"n": 2}, "key-2")
        assert await journal.wait("run_1") == {"heard": [{"n": 1}, {"n": 2}], "late": None}


async def test_a_message_that_is_sent_again_after_it_was_heard_is_the_same_one(engines: Engines) -> None:
    heard_once = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        first = await journal.receive("answers", 30.0)
        heard_once.set()
        return {"heard": [first, await journal.receive("answers", 30.0)]}

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        await journal.send("run_1", "answers", 1, "key-1")
        await heard_once.wait()
        await journal.send("run_1", "answers", 1, "key-1")
        await journal.send("run_1", "answers", 2, "key-2")
        assert await journal.wait("run_1") == {"heard": [1, 2]}


async def test_a_message_is_heard_by_the_wait_that_asked_for_it_whenever_it_was_sent(engines: Engines) -> None:
    sent = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        await sent.wait()
        return {"first": await journal.receive("first", 10.0), "second": await journal.receive("second", 10.0)}

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        await journal.start("run_2", {})
        await journal.send("run_1", "second", 2, "key-2")
        sent.set()
        await journal.send("run_1", "first", 1, "key-1")
        assert await journal.wait("run_1") == {"first": 1, "second": 2}
        assert await journal.state("run_2") == "pending"


async def test_a_wait_goes_on_where_the_next_process_takes_it_up(engines: Engines) -> None:
    begun = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        await journal.draw().run("before", always({}))
        begun.set()
        heard = await journal.receive("answers", 3600.0)
        return {"heard": heard, "after": (await journal.draw().run("after", always({"n": 1})))["n"]}

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        await begun.wait()
    async with engines.open(body) as journal:
        assert await journal.state("run_1") == "pending"
        await journal.send("run_1", "answers", "late", "key")
        assert await journal.wait("run_1") == {"heard": "late", "after": 1}


async def test_what_was_heard_is_heard_again_and_nothing_else(engines: Engines) -> None:
    reached, go_on = anyio.Event(), anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        heard = [await journal.receive("answers", 3600.0)]
        heard.append(await journal.receive("nothing", 0.01))
        reached.set()
        await go_on.wait()
        return {"heard": [*heard, await journal.receive("answers", 3600.0)]}

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        await journal.send("run_1", "answers", 1, "key-1")
        await reached.wait()
        await journal.send("run_1", "answers", 2, "key-2")
        await journal.send("run_1", "nothing", 3, "key-3")
    go_on.set()
    async with engines.open(body) as journal:
        assert await journal.wait("run_1") == {"heard": [1, None, 2]}


async def test_a_run_canceled_while_it_waits_hears_what_was_sent_meanwhile_when_it_is_resumed(
    engines: Engines,
) -> None:
    begun = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        begun.set()
        return {"heard": await journal.receive("answers", 3600.0)}

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        await begun.wait()
        await journal.cancel("run_1")
        assert await journal.state("run_1") == "canceled"
        await journal.send("run_1", "answers", "meanwhile", "key")
        await journal.resume("run_1")
        assert await journal.wait("run_1") == {"heard": "meanwhile"}


async def test_no_more_runs_are_accepted_than_may_be_pending_but_for_those_a_run_waits_for(
    engines: Engines,
) -> None:
    go_on = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        await go_on.wait()
        return {}

    async with engines.open(body, pending_limit=2) as journal:
        await journal.start("run_1", {})
        await journal.start("run_2", {})
        with pytest.raises(Exhausted) as refused:
            await journal.start("run_3", {})
        assert refused.value.retry_after_s is not None
        assert await journal.state("run_3") == ""
        await journal.start("run_2", {})
        await journal.start("run_2.1", {}, parent="run_2")
        go_on.set()
        for run_id in ("run_1", "run_2", "run_2.1"):
            await journal.wait(run_id)
        await journal.start("run_3", {})
        await journal.wait("run_3")


async def test_a_tenant_that_has_all_it_may_have_pending_keeps_no_other_from_starting_runs(engines: Engines) -> None:
    go_on = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        await go_on.wait()
        return {}

    async with engines.open(body, pending_limit=2) as journal:
        await journal.start("run_1", {}, tenant="acme")
        await journal.start("run_2", {}, tenant="acme")
    async with engines.open(body, pending_limit=2) as journal:
        with pytest.raises(Exhausted) as refused:
            await journal.start("run_3", {}, tenant="acme")
        await journal.start("run_4", {}, tenant="beta")
        await journal.start("run_5", {}, tenant="beta")
        for tenant in ("beta", "third"):
            with pytest.raises(Exhausted):
                await journal.start("run_6", {}, tenant=tenant)
        assert refused.value.message.startswith("2 runs")
        go_on.set()
        for run_id in ("run_1", "run_2", "run_4", "run_5"):
            await journal.wait(run_id)
        await journal.start("run_6", {}, tenant="third")
        await journal.wait("run_6")


async def test_a_run_that_goes_on_counts_as_its_tenants_own_again(engines: Engines) -> None:
    go_on = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        await go_on.wait()
        return {}

    async with engines.open(body, pending_limit=1) as journal:
        await journal.start("run_1", {}, tenant="acme")
        await journal.cancel("run_1")
        await journal.resume("run_1")
        with pytest.raises(Exhausted):
            await journal.start("run_2", {}, tenant="acme")
        await journal.start("run_3", {}, tenant="beta")
        go_on.set()
        for run_id in ("run_1", "run_3"):
            await journal.wait(run_id)


async def test_runs_that_another_process_left_count_among_those_that_may_be_pending(engines: Engines) -> None:
    go_on = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        await go_on.wait()
        return {}

    async with engines.open(body, pending_limit=2) as journal:
        await journal.start("run_1", {})
        await journal.start("run_2", {})
    async with engines.open(body, pending_limit=2) as journal:
        with pytest.raises(Exhausted):
            await journal.start("run_3", {})
        go_on.set()
        for run_id in ("run_1", "run_2"):
            await journal.wait(run_id)
        await journal.start("run_3", {})
        await journal.wait("run_3")


async def test_a_step_may_start_another_run_and_wait_for_it(engines: Engines) -> None:
    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        if "inner" in spec:
            return await journal.draw().run("inner", always({"inner": run_id}))

        async def act() -> JsonObject:
            await journal.start(f"{run_id}.1", {"inner": True}, parent=run_id)
            return await journal.wait(f"{run_id}.1")

        return await journal.draw().run("outer", act)

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        assert await journal.wait("run_1") == {"inner": "run_1.1"}


async def test_ended_runs_are_forgotten_on_request_and_no_others(engines: Engines) -> None:
    go_on = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        if run_id == "run_2":
            await go_on.wait()
        return {}

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        await journal.start("run_2", {})
        await journal.wait("run_1")
        assert await journal.forget(("run_1", "run_2", "run_3")) == {"run_2"}
        assert await journal.state("run_1") == ""
        assert await journal.spec("run_1") is None
        assert await journal.state("run_2") == "pending"
        go_on.set()
        await journal.wait("run_2")
        assert await journal.forget(("run_2",)) == frozenset()
        assert await journal.state("run_2") == ""


async def test_a_fork_finds_what_it_takes_over_and_does_the_rest_itself(engines: Engines) -> None:
    acted: list[tuple[str, str]] = []

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        async def act(name: str) -> JsonObject:
            acted.append((run_id, name))
            return {"name": name, "by": run_id}

        slots = {name: journal.draw() for name in ("a", "b", "c")}
        said = {name: (await slot.run(name, partial(act, name)))["by"] for name, slot in slots.items()}
        return {"by": [*said.values()], "heard": await journal.receive("topic", 5.0), "spec": spec}

    async with engines.open(body) as journal:
        await journal.start("run_1", {"n": 1})
        await journal.send("run_1", "topic", "hello", "key")
        await journal.wait("run_1")
        found = await journal.recorded("run_1")
        assert {slot: found[slot].name for slot in (1, 2, 3)} == {1: "a", 2: "b", 3: "c"}
        assert found[2].result == {"name": "b", "by": "run_1"}
        await journal.fork("run_2", {"n": 2}, origin="run_1", slots=[slot for slot in found if slot != 2])
        await journal.fork("run_2", {"n": 3}, origin="run_1", slots=[])
        said = {"by": ["run_1", "run_2", "run_1"], "heard": "hello", "spec": {"n": 2}}
        assert await journal.wait("run_2") == said
        assert await journal.spec("run_2") == {"n": 2}
        # As where it is forgotten at this moment, and a part of it is gone: nothing begins that would do it all again.
        with pytest.raises(NotFound):
            await journal.fork("run_3", {}, origin="run_1", slots=[*found, max(found) + 1])
        assert await journal.state("run_3") == ""
        await journal.forget(("run_1",))
        assert {slot for slot in await journal.recorded("run_2")} == {*found}
        with pytest.raises(NotFound):
            await journal.fork("run_3", {}, origin="run_1", slots=[1])
        with pytest.raises(NotFound):
            await journal.recorded("run_1")
    async with engines.open(body) as journal:
        assert await journal.wait("run_2") == said
    assert acted == [("run_1", "a"), ("run_1", "b"), ("run_1", "c"), ("run_2", "b")]


async def test_of_one_step_every_attempt_is_found_the_latest_first(engines: Engines) -> None:
    said: list[JsonObject] = [
        {"id": "run_1/1", "n": 1},
        {"id": "run_1/2", "n": 2},
        {"id": "run_1/1", "n": 3, "text": "Grüße\0", "value": "\\u0000"},
        {"n": 4, "value": {"id": "run_1/1"}},
    ]

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        for each in said:

            async def act(result: JsonObject = each) -> JsonObject:
                return result

            await journal.draw().run("act", act)
        await journal.receive("topic", 5.0)
        return {}

    async with engines.open(body) as journal:
        await journal.start("run_1", {})
        await journal.send("run_1", "topic", "hello", "key")
        await journal.wait("run_1")
        assert await journal.attempts("run_1", "run_1/1") == (said[2], said[0])
        assert await journal.attempts("run_1", "run_1/3") == ()
        assert await journal.attempts("run_2", "run_1/1") == ()


async def test_a_run_that_ended_without_an_outcome_is_given_up(engines: Engines) -> None:
    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        if spec:
            raise KeyError("a bug")
        return {}

    async with engines.open(body) as journal:
        await journal.start("run_1", {"fail": True})
        await journal.start("run_2", {})
        with pytest.raises(Internal):
            await journal.wait("run_1")
        await journal.wait("run_2")
        assert await journal.given_up() == ("run_1",)
        await journal.start("run_3", {"fail": True})
        with pytest.raises(Internal):
            await journal.wait("run_3")
        assert [await journal.given_up(skip) for skip in range(3)] == [("run_3", "run_1"), ("run_1",), ()]
