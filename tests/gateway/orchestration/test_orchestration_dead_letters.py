"""Runs that did not come to a good end wait in a queue, and go on where that is sound."""

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from gateway.core.errors import Conflict, Exhausted, NotFound
from gateway.core.json import Json, JsonObject
from gateway.core.model import Complete, Result
from gateway.core.ports.dead_letters import DeadLetter
from gateway.core.ports.orchestration import Outcome, Steps
from gateway.core.task import Task
from tests.crashes import Scene
from tests.fakes_orchestration import Answering, Asked, World, failing, says
from tests.gateway.orchestration.test_orchestration_forks import ShiftedClock, ended, first_run, ids, structured

pytestmark = pytest.mark.anyio


def mending(times: int) -> tuple[Mapping[str, Answering], list[str]]:
    """Agents and tools of which `bad` fails so many times; under which keys it was asked."""
    keys: list[str] = []

    async def bad(asked: Asked) -> "Json | Result":
        keys.append(asked.request.idempotency_key)
        return failing("no stock") if len(keys) <= times else {"n": 3}

    agents: dict[str, Answering] = {"agent:a": says({"n": 1}), "tool:orders/bad": bad, "tool:undo/a": says({})}
    return agents, keys


def stages(*, undo: bool = False) -> Mapping[str, Any]:
    first = {"agent": "a", "undo": {"tool": "undo/a"}} if undo else {"agent": "a"}
    return {"pattern": "sequential", "stages": [first, {"tool": "orders/bad"}]}


async def letters(around: World) -> tuple[DeadLetter, ...]:
    return await around.dead_letters.list("default")


async def test_a_run_that_failed_waits_with_the_step_where_it_began() -> None:
    agents, _ = mending(1)
    around = Scene(settings=stages(), agents=lambda: agents).world()
    async with around.up():
        run = await first_run(around)
    [letter] = await letters(around)
    assert (letter.run_id, letter.cause, letter.state) == (run.id, "failed", "open")
    assert (letter.step, letter.target, letter.attempts) == (f"{run.id}/2", "tool:orders/bad", 1)
    assert "no stock" in letter.reason
    assert await around.dead_letters.list("other") == ()


async def test_what_failed_is_tried_again_as_the_same_step_and_what_was_done_is_not() -> None:
    agents, keys = mending(1)
    around = Scene(settings=stages(), agents=lambda: agents).world()
    async with around.up() as (orchestrator, _):
        run = await first_run(around)
        letter = await orchestrator.dead_letters.retry("default", run.id, by="ops")
        retried = await ended(around, around.runs.runs[letter.retried_as])
    assert retried.state == "completed"
    assert len(around.agents.asked_of("agent:a")) == 1
    assert keys == [f"{run.id}/2", f"{run.id}/2"]
    assert ids(retried) == [f"{run.id}/1", f"{run.id}/2"]
    assert (letter.state, letter.settled_by, letter.retried_as) == ("retried", "ops", retried.id)
    assert retried.spec["origin"] == run.id
    assert await letters(around) == ()


async def test_a_retry_that_fails_waits_under_its_own_name() -> None:
    agents, _ = mending(2)
    around = Scene(settings=stages(), agents=lambda: agents).world()
    async with around.up() as (orchestrator, _):
        run = await first_run(around)
        letter = await orchestrator.dead_letters.retry("default", run.id, by="ops")
        retried = await ended(around, around.runs.runs[letter.retried_as])
        [waiting] = await letters(around)
        assert waiting.run_id == retried.id
        letter = await orchestrator.dead_letters.retry("default", retried.id, by="ops")
        last = await ended(around, around.runs.runs[letter.retried_as])
    assert last.state == "completed"
    assert len(around.agents.asked_of("agent:a")) == 1


async def test_a_run_whose_effects_were_undone_begins_again_under_new_keys() -> None:
    agents, keys = mending(1)
    around = Scene(settings=stages(undo=True), agents=lambda: agents).world()
    async with around.up() as (orchestrator, _):
        run = await first_run(around)
        letter = await orchestrator.dead_letters.retry("default", run.id, by="ops")
        retried = await ended(around, around.runs.runs[letter.retried_as])
    assert retried.state == "completed"
    assert [asked.target for asked in around.agents.asked] == [
        *("agent:a", "tool:orders/bad", "tool:undo/a"),
        *("agent:a", "tool:orders/bad"),
    ]
    assert keys == [f"{run.id}/2", f"{retried.id}/2"]
    assert retried.input == run.input


async def test_a_run_its_pattern_failed_begins_again_as_the_same_steps() -> None:
    fail = [True]

    class Failing:
        def __init__(self, settings: JsonObject) -> None:
            pass

        async def run(self, task: Task, steps: Steps) -> Outcome:
            result = await steps.run("inner", {"message": "go"})
            return Outcome(text="done", value=result.ok, error="no consensus" if fail.pop() else "")

    scene = Scene(
        settings={"pattern": "p", "limits": {"max_depth": 3}},
        patterns={"p": Failing},
        others={"inner": {"pattern": "sequential", "stages": [{"tool": "orders/find"}]}},
        agents=lambda: {"tool:orders/find": says({})},
    )
    around = scene.world()
    async with around.up() as (orchestrator, _):
        await around.ask("go")
        [letter] = await letters(around)
        assert letter.step == ""
        fail.append(False)
        letter = await orchestrator.dead_letters.retry("default", letter.run_id, by="ops")
        retried = await ended(around, around.runs.runs[letter.retried_as])
    assert structured(retried)["answer"] is True
    assert ids(retried) == [f"{letter.run_id}/1"]


async def test_where_the_failure_began_is_said_of_the_nested_run() -> None:
    agents, _ = mending(9)
    scene = Scene(
        settings={
            "pattern": "sequential",
            "stages": [{"agent": "a"}, {"workflow": "inner"}],
            "limits": {"max_depth": 3},
        },
        others={"inner": stages()},
        agents=lambda: agents,
    )
    around = scene.world()
    async with around.up():
        await around.ask("go")
    [letter] = await letters(around)
    outer, inner = around.runs.runs
    assert (letter.run_id, letter.step, letter.target) == (outer, f"{inner}/2", "tool:orders/bad")


async def test_a_run_that_died_goes_on_itself_and_its_clock_had_stood_still() -> None:
    agents, _ = mending(0)
    around = Scene(settings={**stages(), "limits": {"deadline_s": 30}}, agents=lambda: agents).world()
    around.clock = clock = ShiftedClock()
    async with around.up(on_slot=lambda run_id, number, where: (number, where) == (2, "before")) as (_, journal):
        await around.ask("go", meta={"return_immediately": True})
        await journal.crashed.wait()
    [run] = around.runs.runs.values()
    around.entries[run.id].state = "dead"
    clock.shift_s = 3600
    async with around.up() as (orchestrator, _):
        await orchestrator.runs.settled(run)
        [letter] = await letters(around)
        assert (letter.cause, around.runs.runs[run.id].state) == ("dead", "failed")
        letter = await orchestrator.dead_letters.retry("default", run.id, by="ops")
        latest = await ended(around, run)
    assert (letter.retried_as, letter.settled_by, latest.state) == (run.id, "ops", "completed")
    assert ids(latest) == [f"{run.id}/1", f"{run.id}/2"]


async def test_a_run_there_was_no_room_for_goes_on_when_there_is() -> None:
    hold = anyio.Event()

    async def holds(asked: Asked) -> Json:
        await hold.wait()
        return {}

    agents, _ = mending(0)
    around = Scene(settings=stages(), agents=lambda: {**agents, "agent:a": holds}).world()
    async with around.up(pending_limit=1) as (orchestrator, _):
        await around.ask("go", meta={"return_immediately": True})
        with pytest.raises(Exhausted):
            await around.ask("go", meta={"return_immediately": True})
        [letter] = await letters(around)
        assert (letter.cause, letter.step) == ("rejected", "")
        with pytest.raises(Exhausted):
            await orchestrator.dead_letters.retry("default", letter.run_id, by="ops")
        hold.set()
        first = next(iter(around.runs.runs.values()))
        await ended(around, first)
        letter = await orchestrator.dead_letters.retry("default", letter.run_id, by="ops")
        assert (await ended(around, around.runs.runs[letter.run_id])).state == "completed"


async def test_a_rejected_call_that_is_repeated_waits_no_longer() -> None:
    agents, _ = mending(0)
    around = Scene(settings=stages(), agents=lambda: agents).world()
    async with around.up(pending_limit=0):
        with pytest.raises(Exhausted):
            await around.ask("go", meta={"message_id": "m"})
        assert len(await letters(around)) == 1
    async with around.up():
        assert isinstance(await around.ask("go", meta={"message_id": "m"}), Complete)
    assert await letters(around) == ()


async def test_of_two_who_retry_at_the_same_moment_one_does_and_one_run_begins() -> None:
    agents, keys = mending(1)
    around = Scene(settings=stages(), agents=lambda: agents).world()
    told: list[str] = []
    async with around.up() as (orchestrator, _):
        run = await first_run(around)

        async def retry(by: str) -> None:
            try:
                told.append((await orchestrator.dead_letters.retry("default", run.id, by=by)).retried_as)
            except Conflict:
                told.append("")

        async with anyio.create_task_group() as group:
            group.start_soon(retry, "ana")
            group.start_soon(retry, "ben")
        assert sorted(around.runs.runs) == sorted({run.id, *told} - {""})
        assert len(around.runs.runs) == 2
        await ended(around, around.runs.runs[next(filter(None, told))])
    assert told.count("") == 1
    assert len(keys) == 2


async def test_a_retry_whose_gateway_died_is_made_again_as_the_same_run() -> None:
    agents, keys = mending(1)
    around = Scene(settings=stages(), agents=lambda: agents).world()
    around.clock = clock = ShiftedClock()
    async with around.up() as (orchestrator, _):
        run = await first_run(around)
        now_us = clock.now_us()
        # As far as the one who died had come: the run was named, and had begun.
        await around.dead_letters.claim(
            "default", run.id, at_us=now_us, before_us=now_us, by="ana", retried_as="run_named"
        )
        await ended(around, await orchestrator.control.retried(run.id, "run_named"))
        with pytest.raises(Conflict):
            await orchestrator.dead_letters.retry("default", run.id, by="ben")
        with pytest.raises(Conflict):
            await orchestrator.dead_letters.drop("default", run.id, by="ben")
        clock.shift_s = 3600
        letter = await orchestrator.dead_letters.retry("default", run.id, by="ben")
    assert (letter.retried_as, letter.settled_by) == ("run_named", "ben")
    assert len(around.runs.runs) == 2
    assert len(keys) == 2


async def test_a_letter_is_settled_once() -> None:
    agents, _ = mending(9)
    around = Scene(settings=stages(), agents=lambda: agents).world()
    async with around.up() as (orchestrator, _):
        run = await first_run(around)
        office = orchestrator.dead_letters
        letter = await office.drop("default", run.id, by="ops")
        assert (letter.state, letter.settled_by) == ("dropped", "ops")
        assert letter.settled_at_us > 0
        for act in (office.drop, office.retry):
            with pytest.raises(Conflict):
                await act("default", run.id, by="ops")
            with pytest.raises(NotFound):
                await act("other", run.id, by="ops")
        assert await office.list("default", workflow="", settled=False, limit=10) == ()
        assert await office.list("default", workflow="", settled=True, limit=10) == (letter,)
