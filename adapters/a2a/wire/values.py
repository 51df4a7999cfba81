"""Parts, messages and tasks as A2A 1.0 JSON, and as the core's values. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from gateway.core.content import EMPTY, Content, Part, PartKind, data_part
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.task import Artifact, Task, TaskState, Turn

Role: TypeAlias = Literal["user", "agent"]

LONGEST_TASK_ID = 256
_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:/@-")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATES = {f"TASK_STATE_{state.name}": state for state in TaskState}
_KINDS: tuple[PartKind, ...] = ("text", "data", "raw", "url")
_EXACT = 2.0**53
"""Beyond it a double does not tell whole numbers apart."""

INTERRUPTED = frozenset({TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED})
"""The agent waits for somebody else; a blocking send ends here (A2A 1.0, section 3.2.2)."""

FAILURES = frozenset({TaskState.FAILED, TaskState.REJECTED, TaskState.CANCELED})
"""A task that ended here did not do what was asked."""


def valid_id(value: Json) -> str:
    """An id of a task or context. Raises: InvalidRequest: of another shape than ids have."""
    text = json_text(value)
    if not 0 < len(text) <= LONGEST_TASK_ID or not _ID_CHARACTERS.issuperset(text):
        raise InvalidRequest(
            f"an id has 1 to {LONGEST_TASK_ID} characters out of letters, digits and . _ ~ : / @ -",
            detail={"field": "id"},
        )
    return text


def optional_id(value: Json) -> str:
    """As `valid_id`; empty where there is none."""
    return "" if value is None or value == "" else valid_id(value)


def state_name(state: TaskState) -> str:
    return f"TASK_STATE_{state.name}"


def state_from_json(value: Json) -> TaskState:
    """Raises: InvalidRequest: no state of A2A 1.0."""
    state = _STATES.get(json_text(value))
    if state is None:
        raise InvalidRequest("not a task state of A2A 1.0", detail={"field": "state"})
    return state


def timestamp(at_us: int) -> str:
    """RFC 3339, UTC, from microseconds since 1970."""
    return (_EPOCH + timedelta(microseconds=at_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def at_us_from(value: Json) -> int:
    """Microseconds since 1970; 0 where there is no timestamp, or none that can be read."""
    try:
        at = datetime.fromisoformat(json_text(value))
        return (at - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, TypeError, OverflowError):
        return 0


def part_from_json(value: Json) -> Part:
    """Raises: InvalidRequest: not exactly one of text, raw, url and data."""
    fields = json_object(value)
    named: list[PartKind] = [kind for kind in _KINDS if kind in fields]
    if len(named) != 1 or (named[0] != "data" and not isinstance(fields[named[0]], str)):
        raise InvalidRequest("a part has exactly one of text, raw, url and data", detail={"field": "parts"})
    return Part(
        kind=named[0],
        text=json_text(fields.get("text")),
        raw=json_text(fields.get("raw")),
        url=json_text(fields.get("url")),
        data=_as_meant(fields.get("data")),
        media_type=json_text(fields.get("mediaType")),
        name=json_text(fields.get("filename")),
        metadata=json_object(fields.get("metadata")),
    )


def _as_meant(value: Json) -> Json:
    """12 for 12.0. A data part is a `google.protobuf.Value`, whose numbers are doubles: peers that read it as one send
    whole numbers back in a form that tools with integer arguments, and people, stumble over."""
    match value:
        case float():
            return int(value) if value.is_integer() and abs(value) < _EXACT else value
        case list():
            return [_as_meant(each) for each in value]
        case dict():
            return {name: _as_meant(each) for name, each in value.items()}
        case _:
            return value


def part_json(part: Part) -> JsonObject:
    member: dict[str, Json] = {"text": part.text, "data": part.data, "raw": part.raw, "url": part.url}
    optional = (("mediaType", part.media_type), ("filename", part.name), ("metadata", dict(part.metadata)))
    return {part.kind: member[part.kind], **{name: value for name, value in optional if value}}


def content_from_json(parts: Json, metadata: Json = None) -> Content:
    """What parts say; the first data part is the structured value. Raises: InvalidRequest."""
    said = tuple(part_from_json(part) for part in json_list(parts))
    structured = next((part.data for part in said if part.kind == "data"), None)
    return Content(parts=said, structured=structured, metadata=json_object(metadata))


def parts_json(content: Content) -> list[Json]:
    """The parts of a content, its structured value among them."""
    parts = content.parts
    if content.structured is not None and not any(part.kind == "data" for part in parts):
        parts = (*parts, data_part(content.structured))
    return [part_json(part) for part in parts]


def message_json(
    content: Content, *, message_id: str, role: Role, context_id: str = "", task_id: str = ""
) -> JsonObject:
    ids = (("contextId", context_id), ("taskId", task_id), ("metadata", dict(content.metadata)))
    return {
        "messageId": message_id,
        "role": f"ROLE_{role.upper()}",
        "parts": parts_json(content),
        **{name: value for name, value in ids if value},
    }


def turn_from_json(value: Json) -> Turn:
    """A message of a task's history. Raises: InvalidRequest."""
    fields = json_object(value)
    return Turn(
        id=json_text(fields.get("messageId")),
        role="user" if fields.get("role") == "ROLE_USER" else "agent",
        content=content_from_json(fields.get("parts"), fields.get("metadata")),
    )


def artifact_from_json(value: Json) -> Artifact:
    """Raises: InvalidRequest."""
    fields = json_object(value)
    return Artifact(
        id=json_text(fields.get("artifactId")),
        name=json_text(fields.get("name")),
        content=content_from_json(fields.get("parts")),
        metadata=json_object(fields.get("metadata")),
    )


def artifact_json(artifact: Artifact) -> JsonObject:
    optional = (("name", artifact.name), ("metadata", dict(artifact.metadata)))
    return {
        "artifactId": artifact.id,
        "parts": parts_json(artifact.content),
        **{name: value for name, value in optional if value},
    }


def task_from_json(value: Json) -> Task:
    """Raises: InvalidRequest: no valid id or state, or parts that say nothing."""
    fields = json_object(value)
    status = json_object(fields.get("status"))
    message = status.get("message")
    return Task(
        id=valid_id(fields.get("id")),
        context_id=optional_id(fields.get("contextId")),
        state=state_from_json(status.get("state")),
        updated_at_us=at_us_from(status.get("timestamp")),
        message=turn_from_json(message).content if isinstance(message, dict) else None,
        artifacts=tuple(artifact_from_json(each) for each in json_list(fields.get("artifacts"))),
        history=tuple(turn_from_json(each) for each in json_list(fields.get("history"))),
        metadata=json_object(fields.get("metadata")),
    )


def task_json(task: Task, *, history_length: int | None = None, artifacts: bool = True) -> JsonObject:
    """A task as A2A has it; `history_length` None: all of its history, else the last so many messages."""
    turns = task.history if history_length is None else task.history[max(0, len(task.history) - history_length) :]
    history: list[Json] = [
        message_json(turn.content, message_id=turn.id, role=turn.role, context_id=task.context_id, task_id=task.id)
        for turn in turns
    ]
    produced: list[Json] = [artifact_json(each) for each in task.artifacts] if artifacts else []
    optional: tuple[tuple[str, Json], ...] = (
        ("artifacts", produced),
        ("history", history),
        ("metadata", dict(task.metadata)),
    )
    return {
        "id": task.id,
        "contextId": task.context_id,
        "status": status_json(task.state, task.message, task=(task.id, task.context_id), at_us=task.updated_at_us),
        **{name: value for name, value in optional if value},
    }


def status_json(state: TaskState, message: Content | None, *, task: tuple[str, str], at_us: int) -> JsonObject:
    """A status; `task` is (task id, context id)."""
    status: JsonObject = {"state": state_name(state)}
    if at_us:
        status["timestamp"] = timestamp(at_us)
    if message is not None:
        # A message needs an id of its own; made from what is told apart already, so that a repeat is seen as one.
        message_id = f"{task[0]}:{state.value}:{at_us}"
        status["message"] = message_json(
            message, message_id=message_id, role="agent", context_id=task[1], task_id=task[0]
        )
    return status


def content_of_task(task: Task, *, failed: bool = False) -> Content:
    """What a task came to: its artifacts, or what it says of its state where it has none; of a failed one, both."""
    said = task.message or EMPTY
    produced = tuple(part for artifact in task.artifacts for part in artifact.content.parts)
    parts = (*said.parts, *produced) if failed or not produced else produced
    structured = next((part.data for part in parts if part.kind == "data"), None)
    return Content(parts=parts, structured=structured, metadata=task.metadata)
