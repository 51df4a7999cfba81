"""A2A's errors and the core's, both ways. Pure.

A2A 1.0.1, section 5.4: a JSON-RPC error carries `google.rpc.ErrorInfo` in its data. An error that has a name in A2A
travels through the core as the GatewayError nearest to it, with that name under `detail["a2a"]`.
"""

from dataclasses import dataclass

from gateway.core.errors import GatewayError, InvalidRequest, NotFound, UpstreamFailed
from gateway.core.json import Json, JsonObject, canonical_json, json_list, json_object, json_text

A2A_DOMAIN = "a2a-protocol.org"
OUR_DOMAIN = "drawbridge"
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
LONGEST_TEXT = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One error A2A or JSON-RPC has a number for."""

    code: int
    error: type[GatewayError]
    text: str
    """What it says where nobody knows better."""


NAMED: dict[str, Named] = {
    "PARSE_ERROR": Named(code=-32700, error=InvalidRequest, text="the body is not valid JSON"),
    "INVALID_REQUEST": Named(code=-32600, error=InvalidRequest, text="not a JSON-RPC 2.0 request"),
    "METHOD_NOT_FOUND": Named(code=-32601, error=InvalidRequest, text="there is no such method"),
    "INVALID_PARAMS": Named(code=-32602, error=InvalidRequest, text="the parameters are invalid"),
    "TASK_NOT_FOUND": Named(code=-32001, error=NotFound, text="there is no such task"),
    "TASK_NOT_CANCELABLE": Named(code=-32002, error=InvalidRequest, text="the task cannot be canceled"),
    "PUSH_NOTIFICATION_NOT_SUPPORTED": Named(
        code=-32003, error=InvalidRequest, text="push notifications are not supported"
    ),
    "UNSUPPORTED_OPERATION": Named(code=-32004, error=InvalidRequest, text="this operation is not supported"),
    "CONTENT_TYPE_NOT_SUPPORTED": Named(code=-32005, error=InvalidRequest, text="this content type is not supported"),
    "INVALID_AGENT_RESPONSE": Named(code=-32006, error=UpstreamFailed, text="the agent's answer is invalid"),
    "EXTENDED_AGENT_CARD_NOT_CONFIGURED": Named(
        code=-32007, error=InvalidRequest, text="there is no extended agent card"
    ),
    "EXTENSION_SUPPORT_REQUIRED": Named(
        code=-32008, error=InvalidRequest, text="an extension the agent requires was not offered"
    ),
    "VERSION_NOT_SUPPORTED": Named(code=-32009, error=InvalidRequest, text="this A2A version is not supported"),
}
_NAME_OF = {named.code: name for name, named in NAMED.items()}


def a2a_error(name: str, message: str = "", **detail: Json) -> GatewayError:
    """The error A2A calls `name`, to be raised."""
    named = NAMED[name]
    return named.error(message or named.text, detail={"a2a": name, **detail})


def error_json(error: GatewayError) -> JsonObject:
    """The `error` member of a JSON-RPC answer, with one ErrorInfo in its data."""
    name = json_text(error.detail.get("a2a"))
    named = NAMED.get(name)
    metadata: JsonObject = {
        key: value if isinstance(value, str) else canonical_json(value).decode()
        for key, value in error.detail.items()
        if key != "a2a"
    }
    metadata["code"] = str(error.wire.code)
    if error.retry_after_s is not None:
        metadata["retryAfterSeconds"] = f"{error.retry_after_s:g}"
    info: JsonObject = {
        "@type": ERROR_INFO,
        "reason": error.wire.reason if named is None else name,
        "domain": OUR_DOMAIN if named is None else A2A_DOMAIN,
        "metadata": metadata,
    }
    return {"code": error.wire.jsonrpc if named is None else named.code, "message": error.message, "data": [info]}


def error_from_json(value: Json, agent: str = "the agent") -> GatewayError:
    """What a JSON-RPC error of `agent`'s means. Text is passed on only for A2A's own errors, because they are written
    for the caller; of any other it is the agent's inside."""
    fields = json_object(value)
    code = fields.get("code")
    name = _NAME_OF.get(code) if isinstance(code, int) else None
    if name in (None, "PARSE_ERROR", "INVALID_REQUEST"):
        shown = code if isinstance(code, int) else "without a code"
        return UpstreamFailed(f"{agent} failed with error {shown}", detail=_code_of(code))
    if name == "METHOD_NOT_FOUND":
        name = "UNSUPPORTED_OPERATION"
    said = clean_line(json_text(fields.get("message")))
    reason = next((json_text(json_object(each).get("reason")) for each in json_list(fields.get("data"))), "")
    error = a2a_error(name, f"the agent says: {said}" if said else "")
    if reason and reason != name:
        error.detail["agentReason"] = clean_line(reason)
    return error


def clean_line(text: str) -> str:
    """Foreign text on one line, printable, cut to a bound."""
    printable = "".join(character if character.isprintable() else " " for character in text[: 4 * LONGEST_TEXT])
    line = " ".join(printable.split())
    return line if len(line) <= LONGEST_TEXT else f"{line[: LONGEST_TEXT - 1]}…"


def _code_of(code: Json) -> dict[str, Json]:
    return {"agentCode": code} if isinstance(code, int) else {}
