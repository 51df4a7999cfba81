"""What goes to an MCP server: a caller's parameters under the server's own name, with the `_meta` of its era. Pure.

Members that need not change are joined as the raw JSON they came as; nothing inside them is decoded or encoded again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import Raw

from adapters.mcp.tasks import OPERATIONS as TASKS
from adapters.mcp.tasks import TASK_ID
from adapters.mcp.wire import (
    CLIENT_CAPABILITIES_KEY,
    CLIENT_INFO_KEY,
    IDEMPOTENCY_KEY,
    LOG_LEVEL_KEY,
    META_PREFIX,
    MODERN,
    REFUSED,
    VERSION_KEY,
    Era,
    Params,
    askable,
    decode_members,
    decode_value,
    encode,
)
from gateway import __version__
from gateway.core.asked import askable_by, replies_in
from gateway.core.content import Body
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.model import Capability, Operation, Request

CLIENT_INFO: JsonObject = {"name": "drawbridge", "version": __version__}
"""Who the gateway says it is where no client of the modern era speaks for itself."""

METHODS: Mapping[Operation, str] = {
    "call": "tools/call",
    "get": "prompts/get",
    "read": "resources/read",
    "complete": "completion/complete",
    **{operation: method for method, operation in TASKS.items()},
}
_OWN_META: dict[str, Raw] = {
    VERSION_KEY: Raw(encode(MODERN)),
    CLIENT_INFO_KEY: Raw(encode(CLIENT_INFO)),
    # The gateway answers no questions itself: who calls by another door can be asked what is said beside the request.
    CLIENT_CAPABILITIES_KEY: Raw(b"{}"),
}
_ONLY_MODERN = ("inputResponses", "requestState")
_PROGRESS = "progressToken"


@dataclass(slots=True, kw_only=True)
class Outgoing:
    """A request on its way to a server."""

    method: str
    members: dict[str, Raw]
    """Of `params`."""
    name: str = ""
    """What the `Mcp-Name` header mirrors; empty where the method names nothing."""


def own_meta(era: Era, able: "JsonObject | None" = None) -> JsonObject:
    """The `_meta` of a request the gateway makes in its own name, as a client that can be asked for `able`."""
    if era == "legacy":
        return {}
    return {VERSION_KEY: MODERN, CLIENT_INFO_KEY: CLIENT_INFO, CLIENT_CAPABILITIES_KEY: able or {}}


def outgoing(
    request: Request, capability: Capability, era: Era, state: str | None = None, task_id: str = ""
) -> Outgoing:
    """The request for a server of `era`; `state` is the server's own, opened, where this call resumes one; `task_id`
    its own where it is about a task.

    Raises: InvalidRequest: the operation is not one an MCP server knows, or the parameters do not fit it.
    """
    method = capability.local if request.operation == "method" else METHODS.get(request.operation)
    about_task = request.operation.startswith("task.")
    if method is None or (about_task and (era == "legacy" or not task_id)):
        raise InvalidRequest(f"an MCP server cannot be asked to {request.operation}")
    body = request.body
    if isinstance(body, Params):
        members, speaks = dict(body.members), body.era
    else:
        members, speaks = _members_from(body, request.operation, capability), None
    name = _address_task(members, task_id) if task_id else _address(members, request.operation, capability)
    if speaks != era:
        _translate(members, era, request)
    if request.continuation:
        _resume(members, state)
        if speaks is None:
            members["inputResponses"] = Raw(encode(replies_in(request.meta)))
    if request.idempotency_key and capability.idempotency:
        _add_key(members, capability.idempotency, request.idempotency_key)
    return Outgoing(method=method, members=members, name=name)


def swap_token(members: dict[str, Raw], token: int) -> Raw | None:
    """Replace the caller's progress token by ours, and give the caller's; None where it wants no progress."""
    raw = members.get("_meta")
    if raw is None or _PROGRESS.encode() not in bytes(raw):
        return None
    meta = decode_members(bytes(raw))
    theirs = meta.get(_PROGRESS)
    if theirs is not None:
        meta[_PROGRESS] = Raw(b"%d" % token)
        members["_meta"] = Raw(encode(meta))
    return theirs


def restore_token(raw: bytes, theirs: Raw) -> bytes:
    """A progress notification with the caller's own token in it again."""
    frame = decode_members(raw)
    params = decode_members(bytes(frame["params"]))
    params[_PROGRESS] = theirs
    frame["params"] = Raw(encode(params))
    return encode(frame)


def _address(members: dict[str, Raw], operation: Operation, capability: Capability) -> str:
    """Put the server's own name of the capability into the parameters, and give it."""
    if operation in ("call", "get"):
        members["name"] = Raw(encode(capability.local))
        return capability.local
    if operation == "read":
        if capability.kind == "template":
            return _uri(members)
        members["uri"] = Raw(encode(capability.local))
        return capability.local
    if operation == "method":
        return ""
    reference = decode_members(bytes(members.get("ref", Raw(b"{}"))))
    if capability.kind == "prompt":
        reference["name"] = Raw(encode(capability.local))
        members["ref"] = Raw(encode(reference))
    return ""


def _address_task(members: dict[str, Raw], task_id: str) -> str:
    members[TASK_ID] = Raw(encode(task_id))
    return task_id


def _members_from(body: Body, operation: Operation, capability: Capability) -> dict[str, Raw]:
    """Parameters for what came by no MCP door: the structured value, or the text as `message`."""
    content = body.content()
    value: Json = content.structured
    if value is None and content.text:
        value = {"message": content.text}
    if operation == "call":
        return {"arguments": Raw(encode({} if value is None else value))}
    if value is not None and not isinstance(value, dict):
        raise InvalidRequest("the input must be an object")
    if operation == "get":
        return {"arguments": Raw(encode(value))} if value else {}
    return {name: Raw(encode(member)) for name, member in (value or {}).items()}


def _translate(members: dict[str, Raw], era: Era, request: Request) -> None:
    """Make `_meta` what a server of `era` expects, keeping what both eras know."""
    raw = members.pop("_meta", None)
    meta = {} if raw is None else decode_members(bytes(raw))
    meta = {key: value for key, value in meta.items() if not key.startswith(META_PREFIX)}
    if era == "modern":
        meta |= _OWN_META
        if not isinstance(request.body, Params) and (able := client_capabilities(request)):
            meta[CLIENT_CAPABILITIES_KEY] = Raw(encode(able))
        said = request.body.said_before if isinstance(request.body, Params) else None
        if said is not None:
            meta |= {
                CLIENT_CAPABILITIES_KEY: Raw(encode(said.capabilities)),
                LOG_LEVEL_KEY: Raw(encode(said.log_level)),
            }
            _fill_in_refused(members, request.meta.get(REFUSED))
    else:
        if not request.continuation:
            for member in _ONLY_MODERN:
                members.pop(member, None)
    if request.traceparent and "traceparent" not in meta:
        meta["traceparent"] = Raw(encode(request.traceparent))
    if meta:
        members["_meta"] = Raw(encode(meta))


def _fill_in_refused(members: dict[str, Raw], refused: Json) -> None:
    """A modern server has no ear for an error instead of an answer; that nobody was found to ask it does understand.

    Raises: InvalidRequest: the question was none to a person, so there is no such answer either.
    """
    for key, said in json_object(refused).items():
        if json_object(said).get("method") != "elicitation/create":
            error = json_object(json_object(said).get("error"))
            raise InvalidRequest(f"the client refused what the server asked it for: {json_text(error.get('message'))}")
        responses = decode_members(bytes(members.get("inputResponses", Raw(b"{}"))))
        members["inputResponses"] = Raw(encode({**responses, key: {"action": "cancel"}}))


def client_capabilities(request: Request) -> JsonObject:
    """What of a client's capabilities a server can make use of; where it came by another protocol, what is said of it
    beside the request."""
    body = request.body
    if not isinstance(body, Params):
        return askable(askable_by(request.meta))
    if body.said_before is not None:
        return body.said_before.capabilities
    meta = decode_members(bytes(body.members.get("_meta", Raw(b"{}"))))
    return askable(json_object(decode_value(bytes(meta.get(CLIENT_CAPABILITIES_KEY, Raw(b"{}"))))))


def _resume(members: dict[str, Raw], state: str | None) -> None:
    """What the caller brought back is sealed; the server gets its own again."""
    members.pop("requestState", None)
    if state is not None:
        members["requestState"] = Raw(encode(state))


def _add_key(members: dict[str, Raw], way: str, key: str) -> None:
    holder = "_meta" if way == "meta" else "arguments"
    inside = decode_members(bytes(members.get(holder, Raw(b"{}"))))
    inside[IDEMPOTENCY_KEY if way == "meta" else way.partition(":")[2]] = Raw(encode(key))
    members[holder] = Raw(encode(inside))


def uri_of(request: Request, capability: Capability) -> str:
    """Which resource a request is about, in its server's words. Raises: InvalidRequest: it does not say."""
    if capability.kind == "resource":
        return capability.local
    return _uri(request.body.members if isinstance(request.body, Params) else {})


def _uri(members: dict[str, Raw]) -> str:
    uri = decode_value(bytes(members.get("uri", Raw(b"null"))))
    if not isinstance(uri, str):
        raise InvalidRequest("uri must be a string")
    return uri
