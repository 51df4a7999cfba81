"""A workflow as an upstream: runs that are started once, watched by many, owned by somebody, and ended on request."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from gateway.core.content import Content, Plain, text_part
from gateway.core.errors import Conflict, DeadlineExceeded, Exhausted, InvalidRequest, NotFound, Unavailable
from gateway.core.json import Json, JsonObject, json_text
from gateway.core.limits import Usage
from gateway.core.model import (
    Accepted,
    ArtifactAdded,
    Complete,
    Event,
    Progress,
    StatusChanged,
    TaskOpened,
    principal,
)
from gateway.core.ports.orchestration import Node, Outcome, PatternType, Question, Steps
from gateway.core.task import Task, TaskPage, TaskState
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.testing.stores.scratch import MemoryScratch
from tests.fakes_orchestration import ANA, Asked, World, answer, keep, says, told

pytestmark = pytest.mark.anyio

Doing = Callable[[Task, Steps], Awaitable[Json]]
BOB = principal("bob")
OPS = principal("ops", kind="operator")
ELSEWHERE = principal("ana", tenant="other")


@dataclass(slots=True)
class Scripted:
    doing: Doing

    async def run(self, task: Task, steps: Steps) -> Outcome:
        return Outcome(text="all done", value=await self.doing(task, steps))


def world(doing: Doing, **settings: object) -> World:
    pattern: PatternType = lambda _: Scripted(doing)  # noqa: E731 - a pattern type is any callable
    workflow = WorkflowSettings.model_validate({"pattern": "scripted", "description": "helps", **settings})
    return World(patterns={"scripted": pattern}, workflows={"help": workflow})


def one_step() -> tuple[World, anyio.Event, anyio.Event]:
    """A run of one step that begins, and ends when it may."""
    begun, may_end = anyio.Event(), anyio.Event()

    async def waits(asked: Asked) -> Complete:
        begun.set()
        await may_end.wait()
        return answer({"a": 1}, text="a is done", usage=Usage(tokens=7))

    async def doing(task: Task, steps: Steps) -> Json:
        return (await steps.call(Node(target="agent:a", input={}))).value

    around = world(doing)
    around.agents.answers["agent:a"] = waits
    return around, begun, may_end


async def test_a_workflow_is_offered_with_what_it_is_for() -> None:
    around, _, _ = one_step()
    async with around.up() as (orchestrator, _):
        [capability] = (await orchestrator.capabilities()).capabilities
    assert (capability.name, capability.kind, capability.owner) == ("workflow:help", "workflow", "help")
    assert (capability.description, capability.effect) == ("helps", "sink")
    assert capability.digest


async def test_a_run_is_told_from_its_opening_to_its_end() -> None:
    around, _, may_end = one_step()
    may_end.set()
    events: list[Event] = []
    async with around.up():
        result = await around.ask("go", emit=keep(events))
    assert isinstance(result, Complete)
    assert result.body.content().text == "all done"
    assert told(result)["answer"] == {"a": 1}
    assert result.usage == Usage(calls=1, tokens=7)
    [run_id] = around.runs.runs
    assert (result.meta["run"], result.meta["task"], result.meta["state"]) == (run_id, run_id, "completed")
    opened, working, step, artifact, ended = events
    assert isinstance(opened, TaskOpened)
    assert (opened.task.id, opened.task.state) == (run_id, TaskState.SUBMITTED)
    assert isinstance(working, StatusChanged)
    assert isinstance(step, Progress)
    assert step.message == "a: a is done"
    assert isinstance(artifact, ArtifactAdded)
    assert artifact.artifact.content.structured == told(result)
    assert isinstance(ended, StatusChanged)
    assert ended.state is TaskState.COMPLETED


@pytest.mark.parametrize("by", [{"idempotency_key": "k"}, {"meta": {"message_id": "m"}}], ids=["key", "message id"])
async def test_the_same_call_finds_the_same_run_while_it_runs_and_after(by: dict[str, Any]) -> None:
    around, begun, may_end = one_step()
    answers: list[JsonObject] = []

    async def ask() -> None:
        answers.append(told(await around.ask("go", **by)))

    async with around.up():
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await begun.wait()
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            may_end.set()
        await ask()
        assert len(around.runs.runs) == 1
        assert answers[0] == answers[1] == answers[2]
        await around.ask("go", who=BOB, **by)
        assert len(around.runs.runs) == 2
    assert len(around.agents.asked) == 2


async def test_a_key_that_was_used_for_something_else_is_refused() -> None:
    around, _, may_end = one_step()
    may_end.set()
    async with around.up():
        await around.ask("go", idempotency_key="k")
        with pytest.raises(Conflict):
            await around.ask("stop", idempotency_key="k")


async def test_calls_without_a_key_are_runs_of_their_own() -> None:
    around, _, may_end = one_step()
    may_end.set()
    async with around.up():
        await around.ask("go")
        await around.ask("go")
    assert len(around.runs.runs) == 2


async def test_a_caller_that_goes_away_leaves_its_run_at_work() -> None:
    around, begun, may_end = one_step()
    async with around.up():
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def leave() -> None:
                    await begun.wait()
                    scope.cancel()

                group.start_soon(leave)
                await around.ask("go", idempotency_key="k")
        may_end.set()
        assert told(await around.ask("go", idempotency_key="k"))["answer"] == {"a": 1}
    assert len(around.agents.asked) == 1


async def test_a_caller_out_of_time_learns_how_to_get_the_answer() -> None:
    around, _, may_end = one_step()
    async with around.up():
        with pytest.raises(DeadlineExceeded) as raised:
            await around.ask("go", seconds=2.0, idempotency_key="k")
        [run_id] = around.runs.runs
        assert raised.value.detail["task"] == run_id
        assert run_id in raised.value.message
        may_end.set()
        assert told(await around.ask("go", idempotency_key="k"))["answer"] == {"a": 1}


async def test_who_does_not_wait_gets_the_task() -> None:
    around, begun, may_end = one_step()
    async with around.up():
        result = await around.ask("go", meta={"return_immediately": True})
        assert isinstance(result, Accepted)
        assert not result.task.state.terminal
        await begun.wait()
        may_end.set()
        done = await around.request("task.subscribe", meta={"task": result.task.id})
        assert isinstance(done, Accepted)
        assert done.task.state is TaskState.COMPLETED


async def test_a_task_is_its_owners_and_its_operators_and_there_for_nobody_else() -> None:
    around, _, may_end = one_step()
    may_end.set()
    async with around.up():
        await around.ask("go")
        [run_id] = around.runs.runs
        for who in (ANA, OPS):
            result = await around.request("task.get", who=who, meta={"task": run_id})
            assert isinstance(result, Accepted)
            assert result.task.id == run_id
            assert [artifact.name for artifact in result.task.artifacts] == ["answer"]
            assert [turn.content.text for turn in result.task.history] == ["go"]
        short = await around.request("task.get", meta={"task": run_id, "history_length": 0})
        assert isinstance(short, Accepted)
        assert short.task.history == ()
        for who in (BOB, ELSEWHERE, principal("ops", kind="operator", tenant="other")):
            for operation in ("task.get", "task.cancel", "task.subscribe"):
                with pytest.raises(NotFound):
                    await around.request(operation, who=who, meta={"task": run_id})
        with pytest.raises(NotFound):
            await around.request("task.get", "other", meta={"task": run_id})


async def test_tasks_are_listed_in_pages_latest_change_first() -> None:
    around, _, may_end = one_step()
    may_end.set()
    async with around.up():
        for context in ("c1", "c2", "c1"):
            await around.ask("go", meta={"context_id": context})
        await around.ask("go", who=BOB)

        async def page(who: object = ANA, **meta: Json) -> TaskPage:
            result = await around.request("task.list", who=who, meta=meta)  # pyright: ignore[reportArgumentType]
            assert isinstance(result, Complete)
            assert isinstance(result.body, TaskPage)
            return result.body

        first = await page(page_size=2)
        assert (len(first.tasks), first.total) == (2, 3)
        second = await page(page_size=2, page_token=first.next_token)
        assert (len(second.tasks), second.next_token) == (1, "")
        newest = [task.id for task in (*first.tasks, *second.tasks)]
        assert newest == sorted(newest, key=lambda run_id: around.runs.runs[run_id].updated_at_us, reverse=True)
        assert (await page(context_id="c1")).total == 2
        assert (await page(status="completed")).total == 3
        assert (await page(status="working")).total == 0
        assert (await page(OPS)).total == 4
        assert (await page(ELSEWHERE)).total == 0
        assert (await page(status_after="2020-01-01T00:00:00Z")).total == 3
        assert (await page(status_after="2120-01-01T00:00:00Z")).total == 0
        for wrong in ({"status": "odd"}, {"page_token": "gone"}, {"status_after": "yesterday"}):
            with pytest.raises(InvalidRequest):
                await page(**wrong)


async def test_whoever_subscribes_gets_a_snapshot_and_then_what_is_new() -> None:
    around, begun, may_end = one_step()
    events: list[Event] = []
    async with around.up():
        accepted = await around.ask("go", meta={"return_immediately": True})
        assert isinstance(accepted, Accepted)
        await begun.wait()

        async def end_soon() -> None:
            await anyio.wait_all_tasks_blocked()
            may_end.set()

        async with anyio.create_task_group() as group:
            group.start_soon(end_soon)
            await around.request("task.subscribe", meta={"task": accepted.task.id}, emit=keep(events))
        snapshot, step, artifact, ended = events
        assert isinstance(snapshot, TaskOpened)
        assert snapshot.task.state is TaskState.WORKING
        assert isinstance(step, Progress)
        assert isinstance(artifact, ArtifactAdded)
        assert isinstance(ended, StatusChanged)
        again: list[Event] = []
        ended_before = await around.request("task.subscribe", meta={"task": accepted.task.id}, emit=keep(again))
        assert isinstance(ended_before, Accepted)
        assert ended_before.task.state is TaskState.COMPLETED
        assert again == []


async def test_a_canceled_run_ends_for_everybody_who_works_for_it_and_watches_it() -> None:
    around, begun, _ = one_step()
    async with around.up() as (_, journal):
        result: list[object] = []

        async def ask() -> None:
            result.append(await around.ask("go"))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await begun.wait()
            canceled = await around.request("task.cancel", meta={"task": only_run(around)})
            assert isinstance(canceled, Accepted)
            assert canceled.task.state is TaskState.CANCELED
        run_id = only_run(around)
        assert await journal.state(run_id) == "canceled"
        [answered] = result
        assert isinstance(answered, Complete)
        assert answered.is_error
        assert around.agents.canceled == [f"task {run_id}/1"]
        assert around.open_steps.steps == {}
        with pytest.raises(Conflict):
            await around.request("task.cancel", meta={"task": run_id})


async def test_what_a_cancellation_that_was_cut_off_left_open_is_taken_back_by_whoever_looks_next() -> None:
    class Failing(MemoryScratch):
        failures = 1

        async def release_all(self, run_id: str) -> None:
            if self.failures:
                self.failures -= 1
                raise Unavailable("the storage is away")
            await super().release_all(run_id)

    around, begun, _ = one_step()
    around.scratch = scratch = Failing()
    async with around.up() as (orchestrator, _):
        await around.ask("go", meta={"return_immediately": True})
        run_id = only_run(around)
        await begun.wait()
        await scratch.claim("default", run_id, "account:1", until_us=2**62, now_us=0)
        with pytest.raises(Unavailable):
            await orchestrator.control.cancel(run_id)
        assert (await orchestrator.runs.find(ANA, run_id)).state == "canceled"
    assert scratch.claims == {}


async def test_a_canceled_run_may_be_resumed_and_begins_its_open_steps_anew() -> None:
    around, begun, may_end = one_step()
    async with around.up() as (orchestrator, _):
        accepted = await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        assert isinstance(accepted, Accepted)
        run_id = accepted.task.id
        await begun.wait()
        await orchestrator.control.cancel(run_id)
        may_end.set()
        await orchestrator.control.resume(run_id)
        assert told(await around.ask("go", meta={"message_id": "m"}))["answer"] == {"a": 1}
        with pytest.raises(Conflict):
            await orchestrator.control.resume(run_id)
        with pytest.raises(NotFound):
            await orchestrator.control.cancel("run_none")
    first, anew = around.agents.deliveries
    assert first.step_id == anew.step_id
    assert (first.meta["message_id"], anew.meta["message_id"]) == (f"{run_id}/1", f"{run_id}/1.2")
    assert "resume" not in anew.meta
    states = [(step.attempt, step.state) for step in around.runs.kept_steps.values()]
    assert states == [(1, "canceled"), (2, "ok")]


async def test_what_is_refused_for_want_of_room_may_be_asked_again() -> None:
    around, begun, may_end = one_step()
    async with around.up(pending_limit=1):
        first = await around.ask("go", meta={"return_immediately": True})
        assert isinstance(first, Accepted)
        with pytest.raises(Exhausted):
            await around.ask("more", idempotency_key="k")
        await begun.wait()
        may_end.set()
        await around.request("task.subscribe", meta={"task": first.task.id})
        assert told(await around.ask("more", idempotency_key="k"))["answer"] == {"a": 1}


async def test_a_tenant_with_no_room_left_leaves_the_other_tenants_theirs() -> None:
    around, begun, may_end = one_step()
    bea = principal("bea", tenant="beta", roles=frozenset({"support"}))
    async with around.up(pending_limit=1):
        first = await around.ask("go", meta={"return_immediately": True})
        with pytest.raises(Exhausted):
            await around.ask("more")
        hers = await around.ask("go", who=bea, meta={"return_immediately": True})
        assert isinstance(first, Accepted)
        assert isinstance(hers, Accepted)
        await begun.wait()
        may_end.set()
        for who, task in ((ANA, first.task.id), (bea, hers.task.id)):
            await around.request("task.subscribe", who=who, meta={"task": task})


async def test_a_question_waits_for_its_answer() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        first = await steps.ask(Question(prompt="which one?"), timeout_s=60)
        second = await steps.ask(Question(prompt="sure?"), timeout_s=0.02)
        return [first.given, first.value, second.given]

    around = world(doing)
    events: list[Event] = []
    async with around.up():
        result: list[object] = []

        async def ask() -> None:
            result.append(told(await around.ask("go", emit=keep(events)))["answer"])

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            while not any(isinstance(e, StatusChanged) and e.state is TaskState.INPUT_REQUIRED for e in events):
                await anyio.lowlevel.checkpoint()
            run_id = only_run(around)
            with pytest.raises(NotFound):
                await around.request("call", who=BOB, body=said("this"), meta={"task": run_id})
            answered = await around.request("call", body=said("that one"), meta={"task": run_id, "message_id": "m2"})
            assert told(answered)["answer"] == [True, "that one", False]
        assert result == [[True, "that one", False]]
        with pytest.raises(Conflict):
            await around.request("call", body=said("too late"), meta={"task": only_run(around)})
    states = [event.state for event in events if isinstance(event, StatusChanged)]
    assert states == [
        TaskState.WORKING,
        TaskState.INPUT_REQUIRED,
        TaskState.WORKING,
        TaskState.INPUT_REQUIRED,
        TaskState.WORKING,
        TaskState.COMPLETED,
    ]


async def test_who_waits_for_one_answer_is_given_the_task_as_soon_as_it_asks() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        return [(await steps.ask(Question(prompt=prompt), timeout_s=60)).value for prompt in ("Which colour?", "Sure?")]

    around = world(doing)
    async with around.up():
        sent: JsonObject = {"stream": False, "message_id": "m1"}
        first = await around.ask("go", protocol="a2a", meta=sent)
        again = await around.ask("go", protocol="a2a", meta=sent)
        run_id = only_run(around)
        reply: JsonObject = {"stream": False, "task": run_id}
        second = await around.request("call", body=said("blue"), protocol="a2a", meta={**reply, "message_id": "m2"})
        ended = await around.request("call", body=said("yes"), protocol="a2a", meta={**reply, "message_id": "m3"})
    for waits, prompt in ((first, "Which colour?"), (again, "Which colour?"), (second, "Sure?")):
        assert isinstance(waits, Accepted)
        assert (waits.task.id, waits.task.state) == (run_id, TaskState.INPUT_REQUIRED)
        assert waits.task.message is not None
        assert waits.task.message.text == prompt
    assert told(ended)["answer"] == ["blue", "yes"]


def only_run(around: World) -> str:
    [run_id] = around.runs.runs
    return run_id


def said(text: str) -> Plain:
    return Plain(Content(parts=(text_part(text),)))


async def test_a_call_that_says_nothing_is_refused() -> None:
    around, _, _ = one_step()
    async with around.up():
        with pytest.raises(InvalidRequest):
            await around.request("call")
        with pytest.raises(InvalidRequest):
            await around.request("read")
        with pytest.raises(NotFound):
            await around.ask("go", workflow="ghost")


async def test_words_and_data_reach_the_pattern_by_either_door() -> None:
    seen: list[tuple[str, Json]] = []

    async def doing(task: Task, steps: Steps) -> Json:
        assert task.message is not None
        seen.append((task.message.text, task.message.structured))
        return None

    around = world(doing)
    async with around.up():
        await around.ask("go", data={"x": 1})
        parts = (text_part("go"),)
        await around.request("call", body=Plain(Content(parts=parts, structured={"x": 1})))
        await around.request("call", body=Plain(Content(parts=parts)))
        await around.request("call", body=Plain(Content(structured={"x": 1})))
    assert seen == [("go", {"x": 1}), ("go", {"x": 1}), ("go", None), ("", {"x": 1})]


async def test_a_pattern_that_breaks_ends_its_run_with_a_reason_and_without_its_stack() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        raise KeyError("secret detail")

    around = world(doing)
    async with around.up():
        result = await around.ask("go")
    assert isinstance(result, Complete)
    assert result.is_error
    assert "secret" not in str(told(result))
    assert "KeyError" in str(told(result)["error"])


async def test_a_run_whose_pattern_is_gone_ends_instead_of_being_tried_for_ever() -> None:
    around, begun, _ = one_step()
    async with around.up():
        await around.ask("go", meta={"return_immediately": True})
        await begun.wait()
    around.patterns, around.workflows = {}, {}
    async with around.up() as (_, journal):
        [run_id] = around.runs.runs
        await journal.wait(run_id)
    assert around.runs.runs[run_id].state == "failed"
    assert "no pattern" in around.runs.runs[run_id].error


async def test_a_run_keeps_the_settings_it_began_with() -> None:
    seen: list[JsonObject] = []
    begun, go_on = anyio.Event(), anyio.Event()

    class Looking:
        def __init__(self, settings: JsonObject) -> None:
            seen.append(settings)

        async def run(self, task: Task, steps: Steps) -> Outcome:
            begun.set()
            await go_on.wait()
            return Outcome(text="ok")

    old = WorkflowSettings.model_validate({"pattern": "looking", "description": "old"})
    new = WorkflowSettings.model_validate({"pattern": "looking", "description": "new"})
    around = World(patterns={"looking": Looking}, workflows={"help": old})
    async with around.up():
        await around.ask("go", meta={"return_immediately": True})
        await begun.wait()
    go_on.set()
    around.workflows = {"help": new}
    async with around.up() as (_, journal):
        [run_id] = around.runs.runs
        await journal.wait(run_id)
    assert json_text(seen[-1].get("description")) == "old"


async def test_configuring_is_all_or_nothing() -> None:
    around, _, _ = one_step()
    async with around.up() as (orchestrator, _):
        wrong = WorkflowSettings.model_validate({"pattern": "ghost"})
        with pytest.raises(InvalidRequest) as refused:
            orchestrator.configure(around.patterns, {**around.workflows, "other": wrong})
        assert refused.value.detail["path"] == ["workflows", "other", "pattern"]
        assert [each.name for each in (await orchestrator.capabilities()).capabilities] == ["workflow:help"]


async def test_tools_are_no_level_of_orchestration_agents_are_one() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        results = [await steps.call(Node(target=each, input={})) for each in ("tool:orders/find", "agent:a")]
        return [[each.ok, each.error] for each in results]

    around = world(doing, limits={"max_depth": 1})
    around.agents.answers |= {"tool:orders/find": says({"id": 1}), "agent:a": says({})}
    async with around.up():
        assert told(await around.ask("go"))["answer"] == [[True, ""], [False, "budget"]]


async def test_the_tree_shows_steps_attempts_and_nested_runs() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        if task.message is not None and task.message.text == "inner":
            await steps.call(Node(target="agent:a", input={}))
            return None
        first = await steps.call(Node(target="agent:a", input={"n": 1}))
        await steps.call(Node(target="agent:a", input={"n": 2}, again=first.id))
        await steps.run("help", {"message": "inner"})
        return None

    around = world(doing, limits={"max_depth": 3})
    around.agents.answers["agent:a"] = says({"a": 1}, summary="did it")
    async with around.up() as (orchestrator, _):
        result = await around.ask("outer")
        assert isinstance(result, Complete)
        tree = await orchestrator.runs.tree(ANA, json_text(result.meta["run"]))
        with pytest.raises(NotFound):
            await orchestrator.runs.tree(BOB, tree.run.id)
    first, nested = tree.steps
    assert [(attempt.attempt, attempt.state, attempt.summary) for attempt in first.attempts] == [
        (1, "ok", "did it"),
        (2, "ok", "did it"),
    ]
    assert nested.nested is not None
    assert [step.target for step in nested.nested.steps] == ["agent:a"]


async def test_a_run_the_engine_gave_up_is_shown_as_failed_with_the_reason() -> None:
    around, begun, _ = one_step()
    async with around.up():
        accepted = await around.ask("go", meta={"return_immediately": True})
        assert isinstance(accepted, Accepted)
        await begun.wait()
    around.entries[accepted.task.id].state = "dead"
    async with around.up():
        result = await around.request("task.get", meta={"task": accepted.task.id})
        assert isinstance(result, Accepted)
        assert result.task.state is TaskState.FAILED
        assert result.task.message is not None
        assert "crashes" in result.task.message.text
    assert around.open_steps.steps == {}


async def test_a_run_stored_right_before_a_crash_is_started_when_asked_for() -> None:
    around, _, may_end = one_step()
    may_end.set()
    async with around.up():
        await around.ask("go", idempotency_key="k")
    around.entries.clear()
    [run_id] = around.runs.runs
    around.runs.log[run_id].clear()
    await around.runs.update(run_id, state="submitted", at_us=1)
    async with around.up():
        assert told(await around.ask("go", idempotency_key="k"))["answer"] == {"a": 1}


async def test_what_fails_because_the_gateway_goes_down_says_nothing_about_the_step() -> None:
    around, begun, _ = one_step()
    closing = anyio.Event()

    async def cut_off(asked: Asked) -> Complete:
        begun.set()
        await closing.wait()
        raise NotFound("the connection was closed")

    around.agents.answers["agent:a"] = cut_off
    async with around.up() as (orchestrator, _):
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        await begun.wait()
        orchestrator.leave()
        closing.set()
        await anyio.wait_all_tasks_blocked()
    around.agents.done.clear()
    around.agents.answers["agent:a"] = says({"a": 2})
    async with around.up():
        assert told(await around.ask("go", meta={"message_id": "m"}))["answer"] == {"a": 2}
