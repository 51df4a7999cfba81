"""What an MCP server sends, read as far as a client must: what it answers, and what kind of answer it is. Pure.

Everything else stays raw. Two tiny decodes make up the whole cost of reading an answer, whatever its size.
"""

from typing import Literal

import msgspec
from msgspec import Raw

from adapters.mcp.wire import Frame, Notice, decode_value, encode
from gateway.core.errors import GatewayError, InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.limits import NOTHING_USED, Usage
from gateway.core.model import Event, Log, Progress
from gateway.core.usage import usage_in

LIST_CHANGED = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/resources/list_changed",
        "notifications/prompts/list_changed",
    }
)
BETWEEN = frozenset({"notifications/cancelled", "notifications/initialized", "notifications/roots/list_changed"})
"""Between a server and the gateway: a caller would take them for its own requests, or has them to say itself."""
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
UNSUPPORTED_VERSION = -32022
RESOURCE_NOT_FOUND = -32002
"""Until 2025-11-25; since then -32602."""

NotMcp = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, InvalidRequest)
"""What decoding raises when the bytes are not what the protocol says."""


class Message(msgspec.Struct, gc=False):
    """A JSON-RPC message from a server; absent members are empty."""

    id: Raw = Raw()
    method: str = ""
    params: Raw = Raw()
    result: Raw = Raw()
    error: Raw = Raw()

    @property
    def kind(self) -> Literal["answer", "request", "notification"]:
        if not self.method:
            return "answer"
        return "request" if self.id else "notification"


class Outcome(msgspec.Struct, gc=False):
    """What a result says of itself."""

    isError: bool | None = False
    resultType: str | None = "complete"
    requestState: str | None = None
    meta: Raw = msgspec.field(default=Raw(), name="_meta")


class RpcError(msgspec.Struct, gc=False):
    """A JSON-RPC error object."""

    code: int
    message: str = ""
    data: Raw = Raw()

    def to_json(self) -> JsonObject:
        """Code, message and, where there is some, data: for the caller, as the server said it."""
        said: JsonObject = {"code": self.code, "message": self.message}
        if self.data:
            said["data"] = decode_value(bytes(self.data))
        return said


class _ProgressParams(msgspec.Struct, gc=False):
    progressToken: Raw = Raw()
    progress: float = 0.0
    total: float | None = None
    message: str | None = None


class _LogParams(msgspec.Struct, gc=False):
    level: str = "info"
    data: Raw = Raw()


decode_message = msgspec.json.Decoder(Message).decode
decode_outcome = msgspec.json.Decoder(Outcome).decode
_decode_error = msgspec.json.Decoder(RpcError).decode
_decode_progress = msgspec.json.Decoder(_ProgressParams).decode
_decode_log = msgspec.json.Decoder(_LogParams).decode


def usage_from_meta(meta: Raw) -> Usage:
    """What a result's `_meta` reports of tokens and cost. Looked into only where the words are there at all."""
    raw = bytes(meta)
    if b"oken" not in raw and b"cost" not in raw and b"gen_ai" not in raw:
        return NOTHING_USED
    try:
        return usage_in(json_object(decode_value(raw)))
    except NotMcp:
        return NOTHING_USED


def error_from_raw(raw: Raw) -> RpcError:
    """A server's error; one that is malformed counts as its internal error."""
    try:
        error = _decode_error(raw)
        error.to_json()
    except NotMcp:
        return RpcError(code=-32603)
    return error


def message_in(raw: bytes) -> Message | None:
    """The message these bytes are; None where they are none."""
    try:
        return decode_message(raw)
    except NotMcp:
        return None


def rpc_error(raw: bytes) -> RpcError | None:
    """The error in a message that refuses a request; None where the bytes are no such message."""
    try:
        error = _decode_error(decode_message(raw).error)
        error.to_json()
    except NotMcp:
        return None
    return error


def event_from_notification(message: Message, raw: bytes) -> Event:
    """A notification as an event that carries its own bytes; what is unknown or malformed looks like a log line."""
    frame = Frame(raw)
    try:
        if message.method == "notifications/progress":
            said = _decode_progress(message.params)
            return Progress(progress=said.progress, total=said.total, message=said.message or "", native=frame)
        if message.method == "notifications/message":
            line = _decode_log(message.params)
            data: Json = decode_value(bytes(line.data)) if line.data else ""
            return Log(level=line.level, text=data if isinstance(data, str) else encode(data).decode(), native=frame)
    except NotMcp:
        return Log(level="debug", text=message.method, native=frame)
    return Log(level="debug", text=message.method, native=Notice(raw))


def params_of(message: Message) -> JsonObject:
    """A notification's parameters; nothing where they cannot be read."""
    return json_object(_read(message.params))


def own_answer(message: Message) -> JsonObject:
    """What the gateway itself says to a server that asks it: it is alive, and it can do nothing else."""
    said: JsonObject = {"jsonrpc": "2.0", "id": _read(message.id)}
    if message.method == "ping":
        said["result"] = {}
    else:
        said["error"] = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
    return said


def _read(raw: Raw) -> Json:
    try:
        return decode_value(bytes(raw)) if raw else None
    except InvalidRequest:
        return None


def progress_token(message: Message) -> int | None:
    """The token of a progress notification, if it is one this side gave out: an integer."""
    try:
        token = decode_value(bytes(_decode_progress(message.params).progressToken))
    except NotMcp:
        return None
    return token if isinstance(token, int) and not isinstance(token, bool) else None


def supported_versions(error: GatewayError) -> frozenset[str]:
    """The versions a server names that refuses the one it was asked in; none where it failed for another reason."""
    refused = json_object(error.detail.get("upstream"))
    if refused.get("code") != UNSUPPORTED_VERSION:
        return frozenset()
    return frozenset(map(json_text, json_list(json_object(refused.get("data")).get("supported"))))
