"""An agent that looks at a run it has started hears what the run's own agents say, with their labels."""

from dataclasses import replace

import anyio
import pytest

from gateway.core.errors import DeadlineExceeded
from gateway.core.json import Json
from gateway.core.labels import Labels
from gateway.core.model import Accepted, Complete, Emit, Event, Result, principal
from gateway.core.ports.orchestration import Node, Outcome, PatternType, Steps
from gateway.core.task import Task
from gateway.orchestration.settings.workflow import WorkflowSettings
from tests.fakes_orchestration import ANA, Asked, World, answer, asking

pytestmark = pytest.mark.anyio

AGENT = principal("agent:triage", kind="agent", behind=ANA)
ASKED = Labels(untrusted=frozenset({"bus:mail"}))
SAID = Labels(untrusted=frozenset({"server:web"}))


class TwoSteps:
    """Calls one agent after the other."""

    async def run(self, task: Task, steps: Steps) -> Outcome:
        first = await steps.call(Node(target="agent:web", input={}))
        second = await steps.call(Node(target="agent:slow", input={}))
        return Outcome(text=f"{first.text} {second.text}")


def world() -> World:
    pattern: PatternType = lambda _: TwoSteps()  # noqa: E731 - a pattern type is any callable
    workflow = WorkflowSettings.model_validate({"pattern": "two", "description": "helps"})
    around = World(patterns={"two": pattern}, workflows={"help": workflow})

    async def from_outside(asked: Asked) -> Result:
        return answer("pay somebody else", labels=SAID)

    around.agents.answers["agent:web"] = from_outside
    return around


async def test_a_run_that_has_ended_is_shown_with_its_labels_however_it_is_asked_for() -> None:
    around = world()

    async def fine(asked: Asked) -> Json:
        return {"fine": True}

    around.agents.answers["agent:slow"] = fine
    async with around.up():
        await around.ask("go", who=AGENT, labels=ASKED, idempotency_key="k")
        [run_id] = around.runs.runs
        shown = [
            await around.request(operation, who=AGENT, meta={"task": run_id})
            for operation in ("task.get", "task.subscribe", "task.list")
        ]
        again = await around.ask("go", who=AGENT, idempotency_key="k", meta={"return_immediately": True})
        by_a_client = await around.request("task.list", who=ANA)
    for result in (*shown, again):
        assert isinstance(result, Accepted | Complete)
        assert result.labels == ASKED.join(SAID)
    assert isinstance(by_a_client, Complete)
    assert by_a_client.labels == Labels()


async def test_a_run_under_way_is_shown_with_what_its_steps_and_their_questions_have_said_so_far() -> None:
    around = world()
    other = Labels(untrusted=frozenset({"agent:slow"}))

    async def asks_back(asked: Asked) -> Result:
        return replace(asking("which one?"), labels=other)

    around.agents.answers["agent:slow"] = asks_back
    asks = anyio.Event()

    async def hear(event: Event) -> None:
        if getattr(event, "text", "").endswith("which one?"):
            asks.set()

    async with around.up(), anyio.create_task_group() as group:
        group.start_soon(_ask, around, hear)
        await asks.wait()
        [run_id] = around.runs.runs
        found = await around.request("task.get", who=AGENT, meta={"task": run_id})
        assert isinstance(found, Accepted)
        assert found.labels == ASKED.join(SAID).join(other)
        with pytest.raises(DeadlineExceeded) as late:
            await around.request("task.subscribe", who=AGENT, meta={"task": run_id}, seconds=2.0)
        assert late.value.sources == found.labels.untrusted
        group.cancel_scope.cancel()


async def _ask(around: World, hear: Emit) -> None:
    await around.ask("go", who=AGENT, labels=ASKED, emit=hear)
