"""A paused run begins no further step, whatever happens to the gateway meanwhile, and loses no time by it."""

from dataclasses import dataclass, field

import anyio
import pytest

from gateway.core.errors import Conflict
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.model import Complete
from gateway.core.ports.orchestration import Node, Outcome, Question, Steps
from gateway.core.task import Task
from gateway.orchestration.orchestrator import Orchestrator
from tests.crashes import Scene
from tests.fakes_orchestration import Asked, World, says, told
from tests.gateway.orchestration.test_orchestration_forks import ShiftedClock

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class Stop:
    """A world whose first agent holds its answer back until it may."""

    reached: anyio.Event = field(default_factory=anyio.Event)
    go_on: anyio.Event = field(default_factory=anyio.Event)

    def world(self, **limits: object) -> World:
        async def first(asked: Asked) -> Json:
            self.reached.set()
            await self.go_on.wait()
            return {"n": 1}

        settings = {"pattern": "sequential", "stages": [{"agent": "a"}, {"agent": "b"}], "limits": limits}
        return Scene(settings=settings, agents=lambda: {"agent:a": first, "agent:b": says({"n": 2})}).world()

    async def paused(self, around: World, orchestrator: Orchestrator) -> str:
        """Begin a run and pause it while its first step is under way."""
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        await self.reached.wait()
        [run_id] = around.runs.runs
        await orchestrator.control.pause(run_id)
        return run_id


async def turns() -> None:
    """So many turns of the loop that what need not wait for anybody is done."""
    for _ in range(200):
        await anyio.lowlevel.checkpoint()


async def until_first_step_is_done(around: World, run_id: str) -> None:
    while not any(step.state == "ok" for step in await around.runs.steps(run_id)):
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()


def events(around: World, run_id: str) -> list[Json]:
    return [json_object(each.body.get("detail")).get("event") for each in around.runs.log[run_id].values()]


async def test_of_a_paused_run_the_step_under_way_ends_and_no_other_begins() -> None:
    stop = Stop()
    around = stop.world()
    async with around.up() as (orchestrator, journal):
        run_id = await stop.paused(around, orchestrator)
        stop.go_on.set()
        await until_first_step_is_done(around, run_id)
        assert [asked.target for asked in around.agents.asked] == ["agent:a"]
        assert await journal.state(run_id) == "pending"
        assert around.runs.runs[run_id].paused_at_us > 0
        await orchestrator.control.resume(run_id)
        result = await around.ask("go", meta={"message_id": "m"})
    assert isinstance(result, Complete)
    assert not result.is_error
    assert around.runs.runs[run_id].paused_at_us == 0
    assert [each for each in events(around, run_id) if each] == ["paused", "unpaused"]


async def test_a_pause_survives_a_restart() -> None:
    stop = Stop()
    around = stop.world()
    async with around.up() as (orchestrator, _):
        run_id = await stop.paused(around, orchestrator)
        stop.go_on.set()
        await until_first_step_is_done(around, run_id)
    async with around.up() as (orchestrator, journal):
        await anyio.wait_all_tasks_blocked()
        assert [asked.target for asked in around.agents.asked] == ["agent:a"]
        assert await journal.state(run_id) == "pending"
        await orchestrator.control.resume(run_id)
        assert len(json_list(told(await around.ask("go", meta={"message_id": "m"}))["steps"])) == 2


async def test_the_clock_of_a_paused_run_stands_still() -> None:
    stop = Stop()
    around = stop.world(deadline_s=30)
    around.clock = clock = ShiftedClock()
    async with around.up() as (orchestrator, _):
        run_id = await stop.paused(around, orchestrator)
        stop.go_on.set()
        await until_first_step_is_done(around, run_id)
        clock.shift_s = 3600
    async with around.up() as (orchestrator, _):
        clock.shift_s = 7200
        await orchestrator.control.resume(run_id)
        result = await around.ask("go", meta={"message_id": "m"})
    assert isinstance(result, Complete)
    assert not result.is_error, told(result)
    assert around.runs.runs[run_id].held_us > 7000e6


async def test_without_a_pause_the_same_time_ends_the_run() -> None:
    stop = Stop()
    around = stop.world(deadline_s=30)
    around.clock = clock = ShiftedClock()
    async with around.up():
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        await stop.reached.wait()
        clock.shift_s = 7200
        stop.go_on.set()
        result = await around.ask("go", meta={"message_id": "m"})
    assert isinstance(result, Complete)
    assert result.is_error


async def test_the_time_of_a_graph_stands_still_too() -> None:
    reached, go_on = anyio.Event(), anyio.Event()

    class Graph:
        def __init__(self, settings: JsonObject) -> None:
            pass

        async def run(self, task: Task, steps: Steps) -> Outcome:
            nodes = {
                "a": Node(target="agent:a", input={}),
                "b": Node(target="agent:b", input={}, after=("a",)),
                "c": Node(target="agent:b", input={}, after=("b",)),
            }
            results = await steps.graph(nodes, limit=2, deadline_s=30)
            return Outcome(text="done", value=[result.ok for result in results.values()])

    async def first(asked: Asked) -> Json:
        reached.set()
        await go_on.wait()
        return {}

    scene = Scene(
        settings={"pattern": "p"}, patterns={"p": Graph}, agents=lambda: {"agent:a": first, "agent:b": says({})}
    )
    around = scene.world()
    around.clock = clock = ShiftedClock()
    async with around.up() as (orchestrator, _):
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        await reached.wait()
        [run_id] = around.runs.runs
        await orchestrator.control.pause(run_id)
        go_on.set()
        await until_first_step_is_done(around, run_id)
        clock.shift_s = 3600
        await orchestrator.control.resume(run_id)
        assert told(await around.ask("go", meta={"message_id": "m"}))["answer"] == [True, True, True]


async def test_a_wait_that_ends_in_a_pause_goes_on_for_as_long_as_that_was() -> None:
    stop, paused = Stop(), anyio.Event()

    class Waiting:
        def __init__(self, settings: JsonObject) -> None:
            pass

        async def run(self, task: Task, steps: Steps) -> Outcome:
            began = await steps.now()
            await steps.begin("a", Node(target="agent:a", input={}))
            await paused.wait()
            found = await steps.finished(timeout_s=0)
            return Outcome(text="done", value=[found is not None, await steps.now() - began < 60])

    async def first(asked: Asked) -> Json:
        stop.reached.set()
        await stop.go_on.wait()
        return {}

    around = Scene(settings={"pattern": "p"}, patterns={"p": Waiting}, agents=lambda: {"agent:a": first}).world()
    around.clock = clock = ShiftedClock()
    async with around.up() as (orchestrator, _):
        run_id = await stop.paused(around, orchestrator)
        paused.set()
        await turns()
        clock.shift_s = 3600
        await orchestrator.control.resume(run_id)
        stop.go_on.set()
        assert told(await around.ask("go", meta={"message_id": "m"}))["answer"] == [True, True]


async def test_a_paused_run_is_answered_and_canceled_as_any_other() -> None:
    class Asking:
        def __init__(self, settings: JsonObject) -> None:
            pass

        async def run(self, task: Task, steps: Steps) -> Outcome:
            said = await steps.ask(Question(prompt="which?"), timeout_s=5)
            await steps.call(Node(target="agent:a", input={}))
            return Outcome(text="done", value=said.value)

    scene = Scene(settings={"pattern": "p"}, patterns={"p": Asking}, agents=lambda: {"agent:a": says({})})
    around = scene.world()
    async with around.up() as (orchestrator, journal):
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        [run_id] = around.runs.runs
        while around.runs.runs[run_id].state != "input_required":
            await anyio.lowlevel.checkpoint()
        await orchestrator.control.pause(run_id)
        await around.ask("that", meta={"task": run_id, "message_id": "m2", "return_immediately": True})
        while around.runs.runs[run_id].state == "input_required":
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert around.agents.asked == []
        await orchestrator.control.cancel(run_id)
        assert await journal.state(run_id) == "canceled"
        with pytest.raises(Conflict):
            await orchestrator.control.pause(run_id)
        await orchestrator.control.resume(run_id)
        assert told(await around.ask("go", meta={"message_id": "m"}))["answer"] == {"message": "that"}
