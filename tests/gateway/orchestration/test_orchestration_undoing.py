"""What a run has done can be undone when nothing else can be done any more: no budget, no time, or it was canceled."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import Conflict, Unavailable
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.limits import Budget, Usage
from gateway.core.model import Accepted, Complete
from gateway.core.ports.journal import Journal
from gateway.core.ports.orchestration import Node, Outcome, PatternType, Steps
from gateway.core.ports.runs import RunEvent, Standing
from gateway.core.task import Task, TaskState
from gateway.orchestration.running import persistence, stopping
from gateway.orchestration.running.ledger import Ledger
from gateway.orchestration.running.undoing import says_that_it_undoes
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.orchestration.wiring import Wiring
from gateway.patterns.sequential.pattern import Sequential
from gateway.testing.stores.runs import MemoryRuns
from gateway.testing.stores.scratch import MemoryScratch
from tests.fakes_orchestration import ANA, Asked, World, answer, failing, says, told

pytestmark = pytest.mark.anyio

UNDO: JsonObject = {"agent": "undoer", "input": {"id": "$a.id"}}
DEAR = Usage(calls=4, tokens=60, cost_usd=Decimal("0.6"))


class Shared(World):
    """A world in which other processes may have a hand in a run."""

    def wiring(self, journal: Journal) -> Wiring:
        return replace(super().wiring(journal), alone=False)


def stages(*more: JsonObject, world: type[World] = World, **limits: Json) -> World:
    first: JsonObject = {"agent": "a", "undo": UNDO}
    settings = {"pattern": "sequential", "stages": [first, *more], "limits": {"max_rounds": 1, **limits}}
    workflow = WorkflowSettings.model_validate(settings)
    around = world(patterns={"sequential": Sequential}, workflows={"help": workflow})
    around.agents.answers |= {
        "agent:a": says({"id": "A"}),
        "agent:b": says({}),
        "agent:undoer": says({"undone": True}),
    }
    return around


def undone(around: World) -> list[Json]:
    return [each.input.get("id") for each in around.agents.asked_of("agent:undoer")]


async def never(asked: Asked) -> Json:
    await anyio.sleep_forever()


async def fails(asked: Asked) -> Complete:
    return failing("it cannot be undone")


def hangs(begun: anyio.Event) -> Callable[[Asked], Awaitable[Json]]:
    async def answering(asked: Asked) -> Json:
        begun.set()
        await anyio.sleep_forever()

    return answering


async def dear(asked: Asked) -> Complete:
    return answer({"id": "A"}, usage=DEAR)


@pytest.mark.parametrize(
    "limits",
    [{"calls": 4}, {"tokens": 60}, {"cost_usd": 0.6}, {"calls": 4, "tokens": 60}],
    ids=lambda each: "+".join(each),
)
async def test_what_was_done_is_undone_once_the_budget_is_used_up(limits: dict[str, Any]) -> None:
    around = stages({"agent": "b"}, {"agent": "b", "name": "c"}, **limits)
    around.agents.answers["agent:a"] = dear
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.is_error
    assert undone(around) == ["A"]
    (request,) = [each.request for each in around.agents.asked_of("agent:undoer")]
    left = (request.budget.calls, request.budget.tokens, request.budget.cost_usd)
    assert all(each is None or each > 0 for each in left), left
    assert result.usage.calls == len(around.agents.asked) + DEAR.calls, "it is in the ledger all the same"


async def test_what_was_done_is_undone_once_the_time_is_over() -> None:
    around = stages({"agent": "slow"}, deadline_s=2)
    around.agents.answers["agent:slow"] = never
    async with around.up():
        await around.ask()
    assert undone(around) == ["A"]


async def test_undoing_has_a_time_of_its_own_and_ends() -> None:
    around = stages({"agent": "slow"}, deadline_s=2, timeout_s=1)
    around.agents.answers |= {"agent:slow": never, "agent:undoer": never}
    async with around.up():
        result = told(await around.ask())
    assert [json_object(each)["ok"] for each in json_list(result["undone"])] == [False]
    assert len(undone(around)) == 3


@settings(deadline=None)
@given(
    calls=st.integers(1, 100),
    tokens=st.integers(1, 10_000),
    used=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 500)), max_size=8),
    undoes=st.integers(0, 5),
)
def test_what_undoes_has_something_to_spend_and_never_more_than_there_was(
    calls: int, tokens: int, used: list[tuple[int, int]], undoes: int
) -> None:
    ledger = Ledger(budget=Budget(deadline_s=1.0, calls=calls, tokens=tokens, cost_usd=Decimal(1)))
    for each in used:
        ledger.add(Usage(calls=each[0], tokens=each[1]))
    before = ledger.spent
    for _ in range(undoes):
        allowed = ledger.allowance()
        assert allowed.calls is not None and 0 < allowed.calls <= calls
        assert allowed.tokens is not None and 0 < allowed.tokens <= tokens
        assert allowed.cost_usd is not None and 0 < allowed.cost_usd <= 1
        ledger.settle(ledger.reserve_undo(), Usage(calls=1))
    assert ledger.spent.calls == before.calls + undoes


async def canceled(around: World, begun: anyio.Event) -> str:
    """Start a run, and cancel it once `begun` is set; its id."""
    accepted = await around.ask(meta={"return_immediately": True, "message_id": "m"})
    assert isinstance(accepted, Accepted)
    await begun.wait()
    stopped = await around.request("task.cancel", meta={"task": accepted.task.id})
    assert isinstance(stopped, Accepted)
    assert stopped.task.state is TaskState.CANCELED
    return accepted.task.id


async def test_a_canceled_run_undoes_what_it_has_done_and_what_was_under_way() -> None:
    begun = anyio.Event()
    around = stages({"agent": "slow", "undo": {"agent": "undoer", "input": {"id": "slow"}}}, {"agent": "b"})
    around.agents.answers["agent:slow"] = hangs(begun)
    async with around.up() as (orchestrator, journal):
        run_id = await canceled(around, begun)
        await journal.wait(run_id)
        run = await orchestrator.runs.find(ANA, run_id)
        assert (run.state, run.error) == ("canceled", "the run was canceled")
        assert undone(around) == ["slow", "A"]
        assert around.agents.asked_of("agent:b") == []
        said = json_object(json_object(json_object(run.output)["content"])["structured"])
        assert [json_object(each)["ok"] for each in json_list(said["undone"])] == [True, True]
        with pytest.raises(Conflict):
            await orchestrator.control.resume(run_id)
        with pytest.raises(Conflict, match="undone"):
            await orchestrator.control.fork(run_id, "2")
        shown = await orchestrator.explaining.explain(ANA, run_id)
    decisions = [json_object(each) for each in json_list(shown["decisions"])]
    assert [each["because"] for each in decisions if each["what"] == "undo"] == [
        "the run was canceled; the run was canceled",
        "the run was canceled",
    ]
    assert around.open_steps.steps == {}


async def test_a_canceled_run_ended_by_that_whatever_failed_while_it_was_undone() -> None:
    begun = anyio.Event()
    around = stages({"agent": "slow"})
    around.agents.answers |= {"agent:slow": hangs(begun), "agent:undoer": fails}
    async with around.up() as (orchestrator, journal):
        run_id = await canceled(around, begun)
        await journal.wait(run_id)
        shown = await orchestrator.explaining.explain(ANA, run_id)
    targets = {json_object(each)["step"]: json_object(each)["target"] for each in json_list(shown["steps"])}
    failure = json_object(shown["failure"])
    assert (failure["target"], failure["error"], failure["reason"]) == (
        "workflow:help",
        "canceled",
        "the run was canceled",
    )
    assert [targets[each] for each in json_list(failure["consequences"])] == ["agent:slow"]


async def test_a_run_that_dies_while_it_undoes_goes_on_undoing() -> None:
    begun, undoing = anyio.Event(), anyio.Event()
    around = stages({"agent": "slow"})
    around.agents.answers |= {"agent:slow": hangs(begun), "agent:undoer": hangs(undoing)}
    async with around.up() as (orchestrator, journal):
        run_id = await canceled(around, begun)
        await undoing.wait()
        with pytest.raises(Conflict, match="undoes"):
            await orchestrator.control.resume(run_id)
        journal.crash()
    around.agents.answers["agent:undoer"] = says({"undone": True})
    async with around.up() as (orchestrator, journal):
        await journal.wait(run_id)
        assert (await orchestrator.runs.find(ANA, run_id)).state == "canceled"
    assert {*map(str, undone(around))} == {"A"}
    assert len(around.agents.asked_of("agent:slow")) == 1


async def test_a_run_that_waits_for_an_answer_is_canceled_and_undone() -> None:
    around = stages({"agent": "b", "approve": {"question": "Really?"}})
    async with around.up() as (orchestrator, journal):
        accepted = await around.ask(meta={"return_immediately": True})
        assert isinstance(accepted, Accepted)
        run_id = accepted.task.id
        while (await orchestrator.runs.find(ANA, run_id)).state != TaskState.INPUT_REQUIRED.value:
            await around.runs.wait_events(run_id, len(around.runs.log[run_id]), 1.0)
        await orchestrator.control.cancel(run_id)
        await journal.wait(run_id)
        assert (await orchestrator.runs.find(ANA, run_id)).state == "canceled"
    assert undone(around) == ["A"]
    assert around.agents.asked_of("agent:b") == []


async def test_a_run_canceled_by_another_process_is_undone_where_it_is() -> None:
    begun = anyio.Event()
    around = stages({"agent": "slow"}, world=Shared)
    around.agents.answers["agent:slow"] = hangs(begun)
    async with around.up() as (orchestrator, journal):
        accepted = await around.ask(meta={"return_immediately": True})
        assert isinstance(accepted, Accepted)
        await begun.wait()
        # All that the other process can do.
        await around.runs.update(accepted.task.id, state="canceled", at_us=around.clock.now_us())
        await journal.wait(accepted.task.id)
        assert (await orchestrator.runs.find(ANA, accepted.task.id)).state == "canceled"
    assert undone(around) == ["A"]


class Away(MemoryRuns):
    """A storage that can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        """How often it does not answer when it is asked how a run stands."""
        self.back = anyio.Event()

    async def standing(self, run_id: str) -> Standing | None:
        if self.left:
            self.left -= 1
            if not self.left:
                self.back.set()
            raise Unavailable("the storage is away")
        return await super().standing(run_id)


async def test_a_run_with_something_to_undo_outlives_a_storage_that_is_away_while_a_step_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(persistence, "PAUSES_S", ())
    monkeypatch.setattr(stopping, "LOOK_AGAIN_S", 0.01)
    runs = Away()
    around = stages({"agent": "slow"}, world=Shared)
    around.runs = runs

    async def slow(asked: Asked) -> Json:
        runs.left = 2
        await runs.back.wait()
        return {"slow": True}

    around.agents.answers["agent:slow"] = slow
    async with around.up():
        result = await around.ask()
    assert told(result)["answer"] == {"slow": True}
    assert undone(around) == []


async def test_a_nested_run_whose_outer_one_is_out_of_time_undoes_what_it_has_done() -> None:
    around = stages({"agent": "slow"})
    outer: dict[str, Any] = {
        "pattern": "sequential",
        "stages": [{"workflow": "help"}],
        "limits": {"deadline_s": 0.5, "max_rounds": 1},
    }
    around.workflows["outer"] = WorkflowSettings.model_validate(outer)
    around.agents.answers["agent:slow"] = never
    async with around.up() as (_, journal):
        await around.ask(workflow="outer")
        (inner,) = [run.id for run in around.runs.runs.values() if run.workflow == "help"]
        await journal.wait(inner)
        assert around.runs.runs[inner].state == "canceled"
    assert undone(around) == ["A"]


class Plugged:
    """A pattern of which the settings do not say that it undoes anything."""

    async def run(self, task: Task, steps: Steps) -> Outcome:
        done = await steps.call(Node(target="agent:a", input={}))
        steps.compensate("agent:undoer", {"id": "A"}, because="it was only held")
        await steps.call(Node(target="agent:slow", input={"after": done.id}))
        return Outcome(text="done")


async def test_a_pattern_that_registers_what_undoes_it_is_undone_when_it_is_canceled() -> None:
    begun = anyio.Event()
    pattern: PatternType = lambda _: Plugged()  # noqa: E731 - a pattern type is any callable
    workflow = WorkflowSettings.model_validate({"pattern": "plugged"})
    around = World(patterns={"plugged": pattern}, workflows={"help": workflow})
    around.agents.answers |= {
        "agent:a": says({}),
        "agent:slow": hangs(begun),
        "agent:undoer": says({"undone": True}),
    }
    async with around.up() as (_, journal):
        run_id = await canceled(around, begun)
        await journal.wait(run_id)
    assert undone(around) == ["A"]


@pytest.mark.parametrize("world", [World, Shared])
async def test_that_something_can_be_undone_is_on_record_before_anything_more_is_done(world: type[World]) -> None:
    pattern: PatternType = lambda _: Plugged()  # noqa: E731 - a pattern type is any callable
    workflow = WorkflowSettings.model_validate({"pattern": "plugged"})
    around = world(patterns={"plugged": pattern}, workflows={"help": workflow})
    known: list[bool] = []

    async def look(asked: Asked) -> Json:
        (run_id,) = around.runs.runs
        known.append(says_that_it_undoes(await around.runs.events(run_id)))
        return {}

    around.agents.answers |= {"agent:a": look, "agent:slow": look}
    async with around.up():
        assert told(await around.ask())["answer"] == "done"
    assert known == [False, True]


async def test_a_run_that_ends_before_it_can_be_canceled_keeps_what_it_has_done() -> None:
    around = stages({"agent": "b"})
    async with around.up() as (orchestrator, _):
        result = await around.ask()
        assert isinstance(result, Complete)
        assert not result.is_error
        (run_id,) = around.runs.runs
        with pytest.raises(Conflict):
            await orchestrator.control.cancel(run_id)
    assert undone(around) == []


async def test_a_run_that_another_process_cancels_as_it_ends_undoes_what_it_has_done() -> None:
    class Ending(MemoryScratch):
        """The other one is there between the last look of the run and the telling of its end."""

        async def release_all(self, run_id: str) -> None:
            await super().release_all(run_id)
            if not undone(around):
                await around.runs.update(run_id, state="canceled", at_us=around.clock.now_us())
                ending.set()

    ending = anyio.Event()
    around = stages({"agent": "b"}, world=Shared)
    around.scratch = Ending()
    async with around.up():
        await around.ask(meta={"return_immediately": True})
        await ending.wait()
        await anyio.wait_all_tasks_blocked()
        (run_id,) = around.runs.runs
        assert around.runs.runs[run_id].state == "canceled"
    # Its journal lets it go on by itself; the one of this test does so as it is launched.
    async with around.up() as (_, journal):
        await journal.wait(run_id)
    assert around.runs.runs[run_id].state == "canceled"
    assert undone(around) == ["A"]


async def test_a_run_that_ends_while_its_cancellation_looks_it_up_stays_ended() -> None:
    class Slow(MemoryRuns):
        def __init__(self) -> None:
            super().__init__()
            self.asked, self.answers = anyio.Event(), anyio.Event()

        async def events(self, run_id: str, after: int = 0) -> tuple[RunEvent, ...]:
            found = await super().events(run_id, after)
            if reached.is_set() and not self.asked.is_set():
                self.asked.set()
                await self.answers.wait()
            return found

    async def held(asked: Asked) -> Json:
        reached.set()
        await may_end.wait()
        return {"id": "A"}

    reached, may_end = anyio.Event(), anyio.Event()
    settings = {"pattern": "sequential", "stages": [{"agent": "a"}]}
    around = World(patterns={"sequential": Sequential}, workflows={"help": WorkflowSettings.model_validate(settings)})
    around.agents.answers["agent:a"] = held
    around.runs = runs = Slow()
    async with around.up() as (orchestrator, journal), anyio.create_task_group() as group:
        await around.ask(meta={"return_immediately": True})
        await reached.wait()
        (run_id,) = runs.runs

        async def cancel() -> None:
            with pytest.raises(Conflict):
                await orchestrator.control.cancel(run_id)

        group.start_soon(cancel)
        await runs.asked.wait()
        may_end.set()
        await journal.wait(run_id)
        runs.answers.set()
    assert [run.state for run in runs.runs.values()] == ["completed"]
