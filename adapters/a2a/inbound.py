"""JSON-RPC calls of A2A clients as `Request`s. Reads and checks what was asked; asks nobody and sends nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import Raw

from adapters.a2a.card import DELEGATION
from adapters.a2a.wire.bodies import Params
from adapters.a2a.wire.envelope import Call, decode_strictly, decode_value
from adapters.a2a.wire.errors import a2a_error
from adapters.a2a.wire.values import optional_id, part_from_json, state_from_json, valid_id
from gateway.core.errors import DeadlineExceeded, InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.limits import Budget, Limits
from gateway.core.model import Capability, Operation, Request
from gateway.core.ports.gateway import Identity
from gateway.core.ports.world import Clock, Ids

OPERATIONS: dict[str, Operation] = {
    "SendMessage": "call",
    "SendStreamingMessage": "call",
    "GetTask": "task.get",
    "ListTasks": "task.list",
    "CancelTask": "task.cancel",
    "SubscribeToTask": "task.subscribe",
}
STREAMING = frozenset({"SendStreamingMessage", "SubscribeToTask"})
PUSH = frozenset(
    f"{verb}TaskPushNotificationConfig{plural}"
    for verb, plural in (("Create", ""), ("Get", ""), ("List", "s"), ("Delete", ""))
)
EXTENDED_CARD = "GetExtendedAgentCard"
SUPPORTED_VERSION = "1.0"
LONGEST_MESSAGE_ID = 256
DEFAULT_PAGE = 50
LARGEST_PAGE = 100
_LISTED = (
    ("contextId", "context_id"),
    ("status", "status"),
    ("pageSize", "page_size"),
    ("pageToken", "page_token"),
    ("historyLength", "history_length"),
    ("statusTimestampAfter", "status_after"),
    ("includeArtifacts", "include_artifacts"),
)
"""Parameters of ListTasks, and what they are called in `Request.meta`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call, read and found well-formed."""

    call: Call
    operation: Operation
    params: Params
    traceparent: str

    meta: Mapping[str, Json]
    """What upstreams go by besides the body."""

    @property
    def streaming(self) -> bool:
        return self.call.method in STREAMING

    @property
    def task_id(self) -> str:
        return json_text(self.meta.get("task"))

    @property
    def context_id(self) -> str:
        return json_text(self.meta.get("context_id"))

    @property
    def history_length(self) -> int | None:
        length = self.meta.get("history_length")
        return length if isinstance(length, int) else None


def asked_for(call: Call, *, version: str, extensions: str, traceparent: str, size_bytes: int) -> Asked:
    """Raises: GatewayError: another version, a method that is not there, a message that says nothing."""
    if not version or version.partition(".")[0] != SUPPORTED_VERSION.partition(".")[0]:
        found = f"A2A version {version[:20]!r}" if version else "a request without a version, which means A2A 0.3,"
        raise a2a_error(
            "VERSION_NOT_SUPPORTED",
            f"{found} is not supported; send the header A2A-Version: {SUPPORTED_VERSION}",
            supportedVersions=SUPPORTED_VERSION,
        )
    if call.method in PUSH:
        raise a2a_error("PUSH_NOTIFICATION_NOT_SUPPORTED")
    if call.method == EXTENDED_CARD:
        raise a2a_error("UNSUPPORTED_OPERATION", "there is no extended agent card")
    operation = OPERATIONS.get(call.method)
    if operation is None:
        raise a2a_error("METHOD_NOT_FOUND", f"A2A 1.0 has no method {call.method[:60]!r}")
    params = Params(call.params, size_bytes=size_bytes)
    if operation == "call":
        _check_message(params)
    meta = {**_meta(call.method, operation, params), "extensions": extensions}
    return Asked(call=call, operation=operation, params=params, traceparent=traceparent, meta=meta)


class Inbound:
    """Makes requests of what was asked."""

    def __init__(self, *, clock: Clock, ids: Ids, limits: Limits) -> None:
        self._clock = clock
        self._ids = ids
        self._limits = limits

    def request(
        self, asked: Asked, identity: Identity, *, target: str, capability: Capability | None, meta: Mapping[str, Json]
    ) -> Request:
        """The request, within the time the identity, the target and the limits leave. Raises: DeadlineExceeded."""
        return Request(
            id=self._ids.new("req"),
            principal=identity.principal,
            capability=target,
            operation=asked.operation,
            budget=Budget(deadline_s=self._deadline_s(asked, identity, capability), depth=self._limits.depth),
            body=asked.params,
            protocol="a2a",
            labels=identity.labels,
            traceparent=asked.traceparent or identity.traceparent,
            run_id=identity.run_id,
            step_id=identity.step_id,
            phase=identity.phase,
            credential=identity.credential,
            meta={**asked.meta, **meta},
        )

    def _deadline_s(self, asked: Asked, identity: Identity, capability: Capability | None) -> float:
        workflow = capability is not None and capability.kind == "workflow"
        longest_s = self._limits.run_timeout_s if workflow or asked.streaming else self._limits.call_timeout_s
        if capability is not None and capability.timeout_s is not None:
            longest_s = capability.timeout_s
        if identity.deadline_at_us:
            left_s = (identity.deadline_at_us - self._clock.now_us()) / 1_000_000
            if left_s <= 0:
                raise DeadlineExceeded("the step this credential was made for is over")
            longest_s = min(longest_s, left_s)
        return self._clock.monotonic_s() + longest_s


def page_size_of(asked: Asked) -> int:
    """How many tasks a page was asked to have."""
    size = asked.meta.get("page_size")
    return size if isinstance(size, int) and size else DEFAULT_PAGE


def _meta(method: str, operation: Operation, params: Params) -> dict[str, Json]:
    """Raises: InvalidRequest."""
    members = params.members
    if operation == "task.list":
        return _list_meta(members)
    if operation != "call":
        length = _count(_value(members["historyLength"])) if "historyLength" in members else None
        return {"task": _task_id(members), "stream": method in STREAMING, "history_length": length}
    message = params.message
    configuration = _object(members, "configuration")
    return {
        "stream": method in STREAMING,
        "message_id": json_text(message.get("messageId")),
        "context_id": optional_id(message.get("contextId")),
        "task": optional_id(message.get("taskId")),
        "return_immediately": configuration.get("returnImmediately") is True,
        "history_length": _count(configuration.get("historyLength")),
    }


def _list_meta(members: Mapping[str, Raw]) -> dict[str, Json]:
    meta = {ours: _value(members[theirs]) for theirs, ours in _LISTED if theirs in members}
    size = meta.get("page_size")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= LARGEST_PAGE):
        raise _invalid("pageSize", f"an integer between 1 and {LARGEST_PAGE}")
    if meta.get("status") not in (None, "", "TASK_STATE_UNSPECIFIED"):
        meta["status"] = state_from_json(meta["status"]).value
    else:
        meta.pop("status", None)
    if "context_id" in meta:
        meta["context_id"] = optional_id(meta["context_id"])
    if "history_length" in meta:
        meta["history_length"] = _count(meta["history_length"])
    return meta


def _check_message(params: Params) -> None:
    """A2A 1.0, section 4.1.4. Upstream agents check again; workflows have only this."""
    message = params.message
    message_id, parts = message.get("messageId"), json_list(message.get("parts"))
    if not isinstance(message_id, str) or not 0 < len(message_id) <= LONGEST_MESSAGE_ID:
        raise _invalid("message.messageId", f"a text of 1 to {LONGEST_MESSAGE_ID} characters")
    if message.get("role", "ROLE_USER") not in ("ROLE_USER", "ROLE_AGENT"):
        raise _invalid("message.role", "ROLE_USER")
    if not parts:
        raise _invalid("message.parts", "an array of at least one part")
    for part in parts:
        part_from_json(part)
    configuration = _object(params.members, "configuration")
    if configuration.get("taskPushNotificationConfig"):
        raise a2a_error("PUSH_NOTIFICATION_NOT_SUPPORTED")
    for metadata in (json_object(message.get("metadata")), _object(params.members, "metadata")):
        if DELEGATION in metadata:
            # Passed on, it would let the agent act with a token that was made for somebody else.
            raise a2a_error("INVALID_PARAMS", f"metadata[{DELEGATION!r}] is for the gateway alone to set")


def _task_id(members: Mapping[str, Raw]) -> str:
    if "id" not in members:
        raise _invalid("id", "the id of a task")
    return valid_id(_value(members["id"]))


def _object(members: Mapping[str, Raw], name: str) -> JsonObject:
    raw = members.get(name)
    return {} if raw is None else json_object(decode_strictly(bytes(raw)))


def _value(raw: Raw) -> Json:
    return decode_value(bytes(raw))


def _count(value: Json) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _invalid("historyLength", "an integer of at least 0")
    return value


def _invalid(place: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"{place} has to be {expected}", detail={"a2a": "INVALID_PARAMS", "field": place})
