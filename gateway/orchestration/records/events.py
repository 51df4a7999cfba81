"""A run's event log: what is kept of an event, and what a task looks like after some of them. Pure."""

from collections.abc import Sequence

from gateway.core.content import EMPTY, Content, content_from_json, content_of, content_to_json, text_part
from gateway.core.json import Json, JsonObject, json_text
from gateway.core.model import ArtifactAdded, Event, Log, Progress, StatusChanged, TaskOpened
from gateway.core.ports.runs import Run, RunEvent
from gateway.core.task import Artifact, Task, TaskState, Turn


def status_body(state: TaskState, text: str = "") -> JsonObject:
    return {"kind": "status", "state": state.value, "text": text}


def progress_body(text: str, detail: JsonObject) -> JsonObject:
    return {"kind": "progress", "text": text, "detail": detail}


def warning_body(text: str) -> JsonObject:
    return {"kind": "log", "level": "warning", "text": text}


def part_body(name: str, value: Json, text: str) -> JsonObject:
    """A finished part of the answer, told before there is an answer."""
    return artifact_body(f"part-{name}", content_of(value, text="" if text == value else text))


def artifact_body(name: str, content: Content) -> JsonObject:
    return {"kind": "artifact", "name": name, "content": content_to_json(content)}


def event_of(run: Run, kept: RunEvent) -> Event:
    """The event as whoever watches the run is told."""
    body = kept.body
    match body.get("kind"):
        case "status":
            return StatusChanged(
                task_id=run.id,
                context_id=run.context_id,
                state=TaskState(json_text(body.get("state"))),
                text=json_text(body.get("text")),
                at_us=kept.at_us,
            )
        case "artifact":
            return ArtifactAdded(task_id=run.id, context_id=run.context_id, artifact=_artifact_of(run, body))
        case "log":
            return Log(level=json_text(body.get("level"), "info"), text=json_text(body.get("text")))
        case _:
            # The place in the log only grows, as MCP 2025-06-18 wants of progress.
            return Progress(progress=float(kept.seq), message=json_text(body.get("text")))


def ends(kept: RunEvent) -> bool:
    """Whether nothing comes after this event."""
    return kept.body.get("kind") == "status" and TaskState(json_text(kept.body.get("state"))).terminal


def opened(run: Run) -> TaskOpened:
    """The first event of a run's stream, as it was when the run began."""
    return TaskOpened(task=task_of(run, (), state=TaskState.SUBMITTED))


def task_of(
    run: Run, events: Sequence[RunEvent], *, state: TaskState | None = None, history_length: int | None = None
) -> Task:
    """The run as a task. `history_length` None: all of it."""
    said = next((json_text(e.body.get("text")) for e in reversed(events) if e.body.get("kind") == "status"), "")
    asked = content_from_json(run.input)
    history = (Turn(id=f"{run.id}/0", role="user", content=asked),) if asked is not EMPTY else ()
    if history_length is not None:
        history = history[len(history) - history_length :] if history_length > 0 else ()
    return Task(
        id=run.id,
        context_id=run.context_id,
        state=state or TaskState(run.state),
        created_at_us=run.created_at_us,
        updated_at_us=run.updated_at_us,
        message=Content(parts=(text_part(said),)) if said else None,
        artifacts=tuple(_artifact_of(run, e.body) for e in events if e.body.get("kind") == "artifact"),
        history=history,
        metadata={"workflow": run.workflow},
    )


def _artifact_of(run: Run, body: JsonObject) -> Artifact:
    name = json_text(body.get("name"))
    return Artifact(id=f"{run.id}-{name}", name=name, content=content_from_json(body.get("content")))
