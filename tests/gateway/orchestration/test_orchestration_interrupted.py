"""Steps that were under way when the gateway died: what was given them stays theirs, and nobody is left at work."""

from dataclasses import dataclass, field

import anyio
import pytest

from adapters.system import SystemClock
from gateway.core.json import Json, json_object
from gateway.core.limits import Usage
from gateway.core.model import Complete, Emit, Request, Result
from gateway.core.ports.orchestration import Node, Outcome, Steps
from gateway.core.task import Task
from gateway.orchestration.running.bell import Bell
from tests.crashes import CrashAt, Scene
from tests.fakes_orchestration import Agents, Asked, World, answer, says, told

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class Dear:
    """Three agents side by side: once all are at work the first says what all the tokens went for, and no other has
    answered before the gateway dies."""

    at_work: set[str] = field(default_factory=set[str])
    all_at_work: anyio.Event = field(default_factory=anyio.Event)
    died: bool = False

    async def first(self, asked: Asked) -> Complete:
        await self.all_at_work.wait()
        return answer({"first": 1}, usage=Usage(tokens=950))

    async def other(self, asked: Asked) -> Complete:
        self.at_work.add(asked.target)
        if len(self.at_work) == 2:
            self.all_at_work.set()
        if not self.died:
            await anyio.sleep_forever()
        return answer({asked.target: 1}, usage=Usage(tokens=10))

    def world(self) -> World:
        limits = {"tokens": 1000, "concurrency": 3}
        settings = {"pattern": "concurrent", "agents": ["first", "b", "c"], "limits": limits}
        agents = {"agent:first": self.first, "agent:b": self.other, "agent:c": self.other}
        return Scene(settings=settings, agents=lambda: agents).world()


async def test_what_others_spent_before_a_crash_does_not_end_a_step_that_was_under_way() -> None:
    dear = Dear()
    around = dear.world()
    async with around.up(on_slot=CrashAt(around, ("", 1), "after")) as (_, journal):
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        await journal.crashed.wait()
    dear.died = True
    async with around.up():
        result = told(await around.ask("go", meta={"message_id": "m"}))
    assert result["gaps"] == []
    merged = json_object(json_object(result["answer"])["merged"])
    assert sorted(merged) == ["b", "c", "first"]
    assert around.open_steps.steps == {}


@dataclass(slots=True)
class LateClock(SystemClock):
    """Later than it is, by so many seconds."""

    by_s: float = 0.0

    def now_us(self) -> int:
        return SystemClock.now_us(self) + int(self.by_s * 1e6)


async def test_whoever_was_at_work_on_a_step_is_told_where_the_time_was_up_before_the_gateway_was_back() -> None:
    clock = LateClock()
    around = Scene(
        settings={"pattern": "sequential", "stages": [{"agent": "a"}, {"agent": "b"}], "limits": {"deadline_s": 20}},
        agents=lambda: {"agent:b": says({})},
    ).world()
    around.clock = clock

    async def hangs(asked: Asked) -> Json:
        await anyio.sleep_forever()
        return {}

    around.agents.answers["agent:a"] = hangs
    async with around.up():
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        while not around.agents.asked:
            await anyio.lowlevel.checkpoint()
    clock.by_s = 3600.0
    async with around.up():
        result = await around.ask("go", meta={"message_id": "m"}, seconds=10.0)
    assert isinstance(result, Complete)
    assert result.is_error
    [asked] = around.agents.asked
    assert around.agents.canceled == [f"task {asked.request.meta['message_id']}"]
    assert around.open_steps.steps == {}


@dataclass(slots=True)
class Mute(Agents):
    """Agents of which `agent:a` opens no task before it has answered, and answers nothing while it is `busy`."""

    busy: bool = True
    came: Bell = field(default_factory=Bell)

    async def call(self, request: Request, emit: Emit) -> Result:
        if request.capability != "agent:a" or request.operation == "task.cancel":
            return await Agents.call(self, request, emit)
        self.deliveries.append(request)
        self.came.ring()
        if self.busy:
            await anyio.sleep_forever()
        return answer({"done": True})

    async def delivered(self, number: int) -> Request:
        while len(self.deliveries) < number:
            await self.came.wait()
        return self.deliveries[number - 1]


async def test_a_further_attempt_at_a_step_is_not_sent_twice_either() -> None:
    died = anyio.Event()
    agents = Mute(busy=False, answers={"agent:a": says({})})
    around = Scene(settings={"pattern": "again"}, patterns={"again": lambda _: Again()}, agents=dict).world()
    around.agents = agents

    class Again:
        async def run(self, task: Task, steps: Steps) -> Outcome:
            first = await steps.call(Node(target="agent:a", input={}))
            agents.busy = not died.is_set()
            second = await steps.call(Node(target="agent:a", input={}, again=first.id))
            return Outcome(text="done", value=second.value)

    async with around.up() as (_, journal):
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        sent = await agents.delivered(2)
        journal.crash()
        died.set()
    async with around.up():
        await around.ask("go", meta={"message_id": "m"})
    [_, _, found] = agents.deliveries
    assert found.meta["message_id"] == sent.meta["message_id"]
    assert found.meta["resume"] == {"task": ""}


async def test_what_was_canceled_resumed_and_then_interrupted_is_looked_for_where_it_was_sent_last() -> None:
    agents = Mute(answers={"agent:a": says({})})
    around = Scene(settings={"pattern": "sequential", "stages": [{"agent": "a"}]}, agents=dict).world()
    around.agents = agents
    async with around.up() as (orchestrator, journal):
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        await agents.delivered(1)
        [run_id] = around.runs.runs
        await orchestrator.control.cancel(run_id)
        await orchestrator.control.resume(run_id)
        await agents.delivered(2)
        journal.crash()
    agents.busy = False
    async with around.up():
        result = await around.ask("go", meta={"message_id": "m"})
    assert isinstance(result, Complete)
    assert not result.is_error
    first, second, found = agents.deliveries
    assert second.meta["message_id"] != first.meta["message_id"]
    assert found.meta["message_id"] == second.meta["message_id"]
    assert found.meta["resume"] == {"task": ""}
