"""A paused run begins no further step, whatever happens to the gateway meanwhile, and loses no time by it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import anyio
import pytest

from adapters.system import SystemClock
from gateway.core.errors import Conflict, Unavailable
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.model import Complete
from gateway.core.ports.orchestration import Node, Outcome, Question, Steps
from gateway.core.ports.runs import Run, RunStep, Told
from gateway.core.task import Task
from gateway.orchestration.orchestrator import Orchestrator
from gateway.testing.stores.runs import MemoryRuns
from tests.crashes import Scene
from tests.fakes_orchestration import ANA, Asked, World, says, told
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


class StoppedClock(SystemClock):
    """A clock that goes on only when it is told to, as far as it tells the time."""

    at_us = 10**15

    def now_us(self) -> int:
        return self.at_us


async def stopped(around: World, orchestrator: Orchestrator, stop: Stop) -> Run:
    """A run that was canceled at its first step."""
    await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
    await stop.reached.wait()
    [run_id] = around.runs.runs
    await orchestrator.control.cancel(run_id)
    return around.runs.runs[run_id]


class Together(MemoryRuns):
    """Gives nobody a run's steps before two have asked for them."""

    asked: int = 2
    both: anyio.Event | None = None

    async def steps(self, run_id: str) -> tuple[RunStep, ...]:
        if self.both is not None:
            self.asked += 1
            if self.asked >= 2:
                self.both.set()
            await self.both.wait()
        return await super().steps(run_id)


async def test_the_time_a_run_was_stopped_counts_once_however_many_let_it_go_on() -> None:
    stop, clock, runs = Stop(), StoppedClock(), Together()
    around = stop.world()
    around.clock, around.runs = clock, runs
    async with around.up() as (orchestrator, _):
        run = await stopped(around, orchestrator, stop)
        clock.at_us += 600 * 10**6
        stop.go_on.set()
        runs.asked, runs.both = 0, anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(orchestrator.control.resume, run.id)
            group.start_soon(orchestrator.control.resume, run.id)
        await around.ask("go", meta={"message_id": "m"})
    assert around.runs.runs[run.id].held_us == 600 * 10**6
    assert len([each for each in around.runs.log[run.id].values() if each.body.get("text") == "resumed"]) == 1


class Watched(MemoryRuns):
    """Has somebody look at a run as soon as it is under way again."""

    look: Callable[[str], Awaitable[object]] | None = None

    async def reopen(self, run_id: str, told: Told, *, by_us: int) -> bool:
        reopened = await super().reopen(run_id, told, by_us=by_us)
        if self.look is not None:
            await self.look(run_id)
        return reopened


async def test_who_looks_at_a_run_that_is_being_resumed_does_not_stop_it() -> None:
    stop, runs = Stop(), Watched()
    around = stop.world()
    around.runs = runs
    async with around.up() as (orchestrator, _):
        run = await stopped(around, orchestrator, stop)
        stop.go_on.set()
        runs.look = partial(orchestrator.runs.find, ANA)
        await orchestrator.control.resume(run.id)
        answer = await around.ask("go", meta={"message_id": "m"})
    assert isinstance(answer, Complete)
    assert not answer.is_error


async def test_a_run_whose_engine_was_away_as_it_was_resumed_is_resumed_by_whoever_asks_next() -> None:
    stop = Stop()
    around = stop.world()
    async with around.up() as (orchestrator, journal):
        run = await stopped(around, orchestrator, stop)
        stop.go_on.set()
        resume: Callable[[str], Awaitable[None]] = journal.resume
        journal.resume = unavailable  # pyright: ignore[reportAttributeAccessIssue]
        for _ in range(2):
            with pytest.raises(Unavailable):
                await orchestrator.control.resume(run.id)
        journal.resume = resume
        await orchestrator.control.resume(run.id)
        assert await journal.state(run.id) != "canceled"
        answer = await around.ask("go", meta={"message_id": "m"})
    assert isinstance(answer, Complete)
    assert not answer.is_error


async def unavailable(_run_id: str) -> None:
    raise Unavailable("the durable engine cannot be used at the moment")


async def test_what_a_resumed_run_did_not_use_is_not_counted_again() -> None:
    stop, clock = Stop(), StoppedClock()
    around = stop.world()
    around.clock = clock
    async with around.up() as (orchestrator, _):
        run = await stopped(around, orchestrator, stop)
        for _ in range(2):
            clock.at_us += 600 * 10**6
            await orchestrator.control.resume(run.id)
            await orchestrator.control.cancel(run.id)
    assert around.runs.runs[run.id].held_us == 1200 * 10**6


async def test_a_pause_within_the_time_a_run_was_stopped_counts_once() -> None:
    stop, clock = Stop(), StoppedClock()
    around = stop.world()
    around.clock = clock
    async with around.up() as (orchestrator, _):
        run_id = await stop.paused(around, orchestrator)
        await orchestrator.control.cancel(run_id)
        clock.at_us += 600 * 10**6
        stop.go_on.set()
        await orchestrator.control.resume(run_id)
        await around.ask("go", meta={"message_id": "m"})
    assert around.runs.runs[run_id].held_us == 600 * 10**6


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
            said = await steps.ask(Question(prompt="which?"), timeout_s=60)
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
