"""Tasks of MCP servers (the extension `io.modelcontextprotocol/tasks`, SEP-2663), relayed to whoever began them. Pure.

A task's id goes to its caller sealed, behind the name of the capability it is a task of: that is where a question about
it is judged and routed. The name is only a hint; a task of another capability does not open under it.
"""

from base64 import b64decode, urlsafe_b64encode

from msgspec import Raw

from adapters.mcp.wire import TASKS_EXTENSION, decode_members, encode
from gateway.core.errors import InvalidRequest
from gateway.core.model import Operation

EXTENSION = TASKS_EXTENSION
OPERATIONS: dict[str, Operation] = {
    "tasks/get": "task.get",
    "tasks/update": "task.update",
    "tasks/cancel": "task.cancel",
}
TASK_ID = "taskId"
TASK_IDS = "taskIds"
"""What a stream is asked to tell of, and tells that it will."""
NOTIFICATION = "notifications/tasks"
OVER = frozenset({b"completed", b"failed", b"cancelled"})
"""Where a task ends."""


def exposed_id(capability: str, sealed: str) -> str:
    """The id a caller knows a task by."""
    return f"{urlsafe_b64encode(capability.encode()).decode().rstrip('=')}.{sealed}"


def parts_of(task_id: str) -> tuple[str, str]:
    """Capability and sealed id. Raises: InvalidRequest: no id of ours."""
    named, _, sealed = task_id.partition(".")
    try:
        capability = b64decode(named + "=" * (-len(named) % 4), altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise InvalidRequest("there is no such task") from error
    if not sealed:
        raise InvalidRequest("there is no such task")
    return capability, sealed


def with_id(raw: bytes, task_id: str) -> bytes:
    """A result under the id its caller knows the task by; one that names no task stays as it is."""
    members = decode_members(raw)
    if TASK_ID not in members:
        return raw
    members[TASK_ID] = Raw(encode(task_id))
    return encode(members)
