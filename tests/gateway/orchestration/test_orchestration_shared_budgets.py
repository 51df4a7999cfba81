"""One budget for a run and all that is nested in it: spent once, however many spend of it at a time."""

import anyio
import pytest

from gateway.core.json import Json
from gateway.core.limits import Budget, Usage
from gateway.core.model import Complete
from gateway.core.ports.orchestration import Node, Outcome, Steps
from gateway.core.task import Task
from gateway.orchestration.running.ledger import Ledger, Ledgers
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.plugins import load_patterns
from tests.fakes_orchestration import Asked, World, answer, told

pytestmark = pytest.mark.anyio


async def test_runs_nested_side_by_side_never_make_more_calls_than_the_run_around_them_may() -> None:
    stages = [{"agent": "a", "name": f"stage{number}"} for number in range(5)]
    inner = WorkflowSettings.model_validate({"pattern": "sequential", "stages": stages})
    outer = WorkflowSettings.model_validate(
        {
            "pattern": "concurrent",
            "workflows": ["one", "two", "three", "four"],
            "limits": {"calls": 10, "concurrency": 4},
        }
    )
    patterns = load_patterns({"sequential", "concurrent"})
    around = World(
        patterns=patterns, workflows={"help": outer, "one": inner, "two": inner, "three": inner, "four": inner}
    )

    async def a(asked: Asked) -> Complete:
        return answer({"said": True})

    around.agents.answers["agent:a"] = a
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.usage.calls == 10
    assert len(around.agents.asked) == 6


async def test_what_a_nested_run_had_spent_when_it_was_stopped_counts() -> None:
    hanging = anyio.Event()

    class Impatient:
        async def run(self, task: Task, steps: Steps) -> Outcome:
            await steps.call(Node(target="agent:dear", input={}))
            await steps.begin("inner", Node(target="workflow:inner", input={}))
            await hanging.wait()
            await steps.drop("inner", reason="it takes too long")
            after = await steps.call(Node(target="agent:dear", input={}))
            return Outcome(text="done", value=after.error)

    async def dear(asked: Asked) -> Complete:
        return answer({}, usage=Usage(tokens=590))

    async def hangs(asked: Asked) -> Json:
        hanging.set()
        await anyio.sleep_forever()
        return {}

    outer = WorkflowSettings.model_validate({"pattern": "impatient", "limits": {"tokens": 2600, "max_depth": 3}})
    stages = [{"agent": "dear"}, {"agent": "dear", "name": "again"}, {"agent": "hangs"}]
    inner = WorkflowSettings.model_validate({"pattern": "sequential", "stages": stages})
    around = World(
        patterns={**load_patterns({"sequential"}), "impatient": lambda _: Impatient()},
        workflows={"help": outer, "inner": inner},
    )
    around.agents.answers |= {"agent:dear": dear, "agent:hangs": hangs}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert told(result)["answer"] == "budget"
    assert result.usage.tokens == 1770
    assert [asked.target for asked in around.agents.asked] == [*["agent:dear"] * 3, "agent:hangs"]


def family(**parts: object) -> tuple[Ledger, Ledger, Ledgers]:
    """The ledger of a run and that of one nested in its step `outer/1`, which has its reservation."""
    others = Ledgers()
    budget = Budget(deadline_s=1.0, **parts)  # pyright: ignore[reportArgumentType]
    outer = Ledger(budget=budget, run_id="outer", others=others)
    inner = Ledger(budget=budget, run_id="inner", parent_run="outer", parent_step="outer/1", others=others)
    for each in (outer, inner):
        others.open(each)
    return outer, inner, others


def test_what_is_spent_around_a_nested_run_is_not_left_to_it() -> None:
    outer, inner, _ = family(calls=4)
    nested, beside = outer.reserve("workflow:inner", "outer/1"), outer.reserve("agent:a", "outer/2")
    assert nested is not None
    assert beside is not None
    assert inner.left().calls == 2
    first = inner.reserve("agent:b", "inner/1")
    assert first is not None
    assert inner.reserve("agent:b", "inner/2") is not None
    assert inner.reserve("agent:b", "inner/3") is None
    assert outer.reserve("agent:a", "outer/3") is None


def test_what_undoes_something_is_bounded_by_its_own_allowance_alone() -> None:
    outer, inner, _ = family(calls=1)
    assert outer.reserve("agent:a", "outer/0") is not None
    outer.reserve_undo("outer/1")
    assert inner.reserve("agent:b", "inner/1") is not None


def test_nothing_is_kept_of_runs_that_are_over() -> None:
    outer, inner, others = family(calls=4)
    nested = outer.reserve("workflow:inner", "outer/1")
    assert nested is not None
    inner.add(Usage(calls=2, tokens=7))
    others.over("inner")
    # Its step has not settled what was spent in it.
    assert outer.held.calls == 3
    assert outer.settle(nested, Usage(calls=1), "workflow:inner") == Usage(calls=3, tokens=7)
    assert others.within("outer/1") is None
    others.over("outer")
    assert others.of("outer") is None
    assert others.of("inner") is None


def test_nothing_is_kept_of_a_nested_run_whose_outer_run_is_at_another_gateway() -> None:
    others = Ledgers()
    alone = Ledger(
        budget=Budget(deadline_s=1.0), run_id="inner", parent_run="outer", parent_step="outer/1", others=others
    )
    others.open(alone)
    assert alone.reserve("agent:a", "inner/1") is not None
    others.over("inner")
    assert others.within("outer/1") is None
