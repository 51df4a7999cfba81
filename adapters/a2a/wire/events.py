"""What happens to a task, as A2A 1.0's StreamResponse and as the core's events. Pure."""

from collections.abc import Mapping
from typing import TypeAlias, assert_never

from adapters.a2a.wire.values import (
    artifact_from_json,
    artifact_json,
    at_us_from,
    content_from_json,
    optional_id,
    state_from_json,
    status_json,
    task_from_json,
    task_json,
    valid_id,
)
from gateway.core.content import Body, Content, text_part
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.model import ArtifactAdded, StatusChanged, TaskOpened

TaskEvent: TypeAlias = TaskOpened | StatusChanged | ArtifactAdded


def event_from_json(value: Mapping[str, Json], native: Body | None = None) -> TaskEvent | None:
    """The event in a StreamResponse; None where it holds a message. Raises: InvalidRequest."""
    if "task" in value:
        return TaskOpened(task=task_from_json(value["task"]), native=native)
    if "statusUpdate" in value:
        fields = json_object(value["statusUpdate"])
        status = json_object(fields.get("status"))
        message = json_object(status.get("message"))
        return StatusChanged(
            task_id=valid_id(fields.get("taskId")),
            context_id=optional_id(fields.get("contextId")),
            state=state_from_json(status.get("state")),
            text=content_from_json(message.get("parts")).text,
            at_us=at_us_from(status.get("timestamp")),
            metadata={**json_object(message.get("metadata")), **json_object(fields.get("metadata"))},
            native=native,
        )
    if "artifactUpdate" in value:
        fields = json_object(value["artifactUpdate"])
        return ArtifactAdded(
            task_id=valid_id(fields.get("taskId")),
            context_id=optional_id(fields.get("contextId")),
            artifact=artifact_from_json(fields.get("artifact")),
            append=fields.get("append") is True,
            last=fields.get("lastChunk") is True,
            metadata=json_object(fields.get("metadata")),
            native=native,
        )
    if "message" in value:
        return None
    raise InvalidRequest("an event holds one of task, message, statusUpdate and artifactUpdate")


def event_json(event: TaskEvent) -> JsonObject:
    """A StreamResponse that says what the event says."""
    match event:
        case TaskOpened():
            return {"task": task_json(event.task)}
        case StatusChanged():
            said = Content(parts=(text_part(event.text),)) if event.text else None
            task = (event.task_id, event.context_id)
            status = status_json(event.state, said, task=task, at_us=event.at_us)
            return {"statusUpdate": {"taskId": task[0], "contextId": task[1], "status": status}}
        case ArtifactAdded():
            return {
                "artifactUpdate": {
                    "taskId": event.task_id,
                    "contextId": event.context_id,
                    "artifact": artifact_json(event.artifact),
                    "append": event.append,
                    "lastChunk": event.last,
                }
            }
        case _:
            assert_never(event)
