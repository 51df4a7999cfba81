"""Results and events as A2A answers. Pure: what belongs to A2A already is passed on as it is, the rest is rendered."""

from dataclasses import replace
from typing import TypeAlias, assert_never

from adapters.a2a.fold import TaskFold
from adapters.a2a.wire.bodies import Answer, Frame, Snapshot
from adapters.a2a.wire.envelope import encode
from adapters.a2a.wire.events import TaskEvent, event_json
from adapters.a2a.wire.values import message_json, task_json
from gateway.core.content import Content, text_part
from gateway.core.json import Json, JsonObject, json_text
from gateway.core.model import (
    Accepted,
    ArtifactAdded,
    Complete,
    Event,
    InputRequired,
    Log,
    Progress,
    Result,
    StatusChanged,
)
from gateway.core.task import Artifact, Task, TaskPage, TaskState

ANSWER = "answer"
"""Id of the artifact in which an answer is given that came without one."""
Rendering: TypeAlias = tuple[str, bytes]
"""`task` or `message`, and its JSON."""


def event_result(event: Event, fold: TaskFold) -> bytes | None:
    """One event as a raw StreamResponse; None where A2A has no such event, or no task yet."""
    if isinstance(event, Progress | Log):
        if not fold.task_id:
            return None
        text = event.message if isinstance(event, Progress) else event.text
        working = StatusChanged(
            task_id=fold.task_id,
            context_id=fold.context_id,
            state=TaskState.WORKING,
            text=text,
            at_us=fold.updated_at_us,
        )
        return encode(event_json(working)) if text and not fold.state.terminal else None
    return event.native.raw if isinstance(event.native, Frame) else encode(event_json(event))


def closing_events(result: Result, fold: TaskFold, *, at_us: int) -> list[TaskEvent]:
    """What a stream still lacks: the answer as an artifact, and the state in which the task ends."""
    content = None if isinstance(result, Accepted) else result.body.content()
    if not fold.task_id or content is None or fold.state.terminal:
        return []
    task_id, context_id = fold.task_id, fold.context_id
    if isinstance(result, InputRequired):
        if fold.state is TaskState.INPUT_REQUIRED:
            return []
        state, text = TaskState.INPUT_REQUIRED, content.text
        return [StatusChanged(task_id=task_id, context_id=context_id, state=state, text=text, at_us=at_us)]
    if isinstance(result, Complete) and isinstance(result.body, Answer | Snapshot):
        return []  # the agent has said it all itself
    events: list[TaskEvent] = []
    if not fold.has_artifacts and (content.parts or content.structured is not None):
        artifact = Artifact(id=ANSWER, content=content)
        events.append(ArtifactAdded(task_id=task_id, context_id=context_id, artifact=artifact))
    failed = isinstance(result, Complete) and result.is_error
    state = TaskState.FAILED if failed else TaskState.COMPLETED
    events.append(
        StatusChanged(
            task_id=task_id, context_id=context_id, state=state, text=content.text if failed else "", at_us=at_us
        )
    )
    return events


def sent(result: Result, fold: TaskFold, *, message_id: str, at_us: int, history_length: int | None) -> Rendering:
    """The answer to SendMessage: the agent's own, or one rendered from what is known."""
    if isinstance(result, Complete) and isinstance(result.body, Answer):
        return ("message" if result.body.kind == "message" else "task"), result.body.raw
    task = task_in(result, fold, at_us=at_us)
    if task is not None:
        return "task", encode(task_json(task, history_length=history_length))
    content = Content() if isinstance(result, Accepted) else result.body.content()
    if not content.parts and content.structured is None:
        content = Content(parts=(text_part(""),))
    return "message", encode(message_json(content, message_id=message_id, role="agent"))


def task_result(result: Result, *, at_us: int, history_length: int | None) -> bytes | None:
    """The answer to GetTask and CancelTask; None where there is no task in the result."""
    if isinstance(result, Complete) and isinstance(result.body, Answer):
        return result.body.raw
    task = task_in(result, TaskFold(), at_us=at_us)
    return None if task is None else encode(task_json(task, history_length=history_length))


def list_result(result: Result, *, page_size: int, history_length: int | None, artifacts: bool) -> bytes | None:
    """The answer to ListTasks; None where the result holds no list."""
    if not isinstance(result, Complete):
        return None
    if isinstance(result.body, Answer):
        return result.body.raw
    if not isinstance(result.body, TaskPage):
        return None
    page = result.body
    tasks: list[Json] = [task_json(each, history_length=history_length, artifacts=artifacts) for each in page.tasks]
    answer: JsonObject = {
        "tasks": tasks,
        "nextPageToken": page.next_token,
        "pageSize": page_size,
        "totalSize": max(page.total, len(tasks)),
    }
    return encode(answer)


def task_in(result: Result, fold: TaskFold, *, at_us: int) -> Task | None:
    """The task a result is about, as it stands with that result."""
    match result:
        case Accepted(task=task):
            return task
        case Complete(body=Snapshot() as body):
            return body.task
        case Complete() | InputRequired():
            pass
        case _:
            assert_never(result)
    for event in closing_events(result, fold, at_us=at_us):
        fold.apply(event)
    task = fold.task()
    if task is None and isinstance(result, Complete) and json_text(result.meta.get("task")):
        # A policy has rewritten the answer; which task it is about stands beside it.
        return _rewritten(result, at_us)
    return task


def _rewritten(result: Complete, at_us: int) -> Task:
    state = json_text(result.meta.get("state")) or TaskState.COMPLETED.value
    task = Task(
        id=json_text(result.meta.get("task")),
        context_id=json_text(result.meta.get("context")),
        state=TaskState(state),
        updated_at_us=at_us,
    )
    content = result.body.content()
    if task.state is not TaskState.COMPLETED:
        return replace(task, message=content)
    return replace(task, artifacts=(Artifact(id=ANSWER, content=content),))
