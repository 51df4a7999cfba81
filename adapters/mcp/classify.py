"""What a POST to the MCP door is: one JSON-RPC message, of which era, and whether header and body agree. Pure.

The usual message is settled by comparing bytes. Whatever is unusual is decoded first, and then gets the answer the SDK
would give. Knows nothing of who sent it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from msgspec import Raw

from adapters.mcp.headers import NAMED_BY, check_envelope
from adapters.mcp.refusals import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    NULL,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
    RpcRefusal,
)
from adapters.mcp.wire import (
    CLIENT_CAPABILITIES_KEY,
    CLIENT_INFO_KEY,
    HANDSHAKE,
    IDEMPOTENCY_KEY,
    LOG_LEVEL_KEY,
    MODERN,
    VERSION_KEY,
    Era,
    as_text,
    decode_value,
)
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object

VERSION_HEADER = b"mcp-protocol-version"
METHOD_HEADER = b"mcp-method"
NAME_HEADER = b"mcp-name"
PARAM_PREFIX = b"mcp-param-"
MODERN_BYTES = MODERN.encode()
SUPPORTED: list[Json] = [MODERN]
"""Every revision a request can name for itself; the others are agreed on by `initialize`."""

_HANDSHAKE_BYTES = frozenset(version.encode() for version in HANDSHAKE)
_QUOTED_MODERN = b'"%b"' % MODERN_BYTES
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS = bytes(each for each in range(256) if each not in b"{}[]")
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_ROUTING = frozenset((VERSION_HEADER, METHOD_HEADER, NAME_HEADER))

Headers = dict[bytes, bytes]
ABSENT = Raw()


class Envelope(msgspec.Struct, gc=False):
    """A JSON-RPC message as far as the door has to understand it. No id: a notification."""

    jsonrpc: Literal["2.0"]
    method: str = ""
    id: Raw = ABSENT
    params: dict[str, Raw] | None = None
    result: Raw = ABSENT
    error: Raw = ABSENT


class Meta(msgspec.Struct, gc=False):
    """The members of `params._meta` the door reads, each raw JSON, `ABSENT` where it is not there."""

    version: Raw = msgspec.field(name=VERSION_KEY, default=ABSENT)
    capabilities: Raw = msgspec.field(name=CLIENT_CAPABILITIES_KEY, default=ABSENT)
    client_info: Raw = msgspec.field(name=CLIENT_INFO_KEY, default=ABSENT)
    log_level: Raw = msgspec.field(name=LOG_LEVEL_KEY, default=ABSENT)
    progress_token: Raw = msgspec.field(name="progressToken", default=ABSENT)
    traceparent: Raw = ABSENT
    idempotency_key: Raw = msgspec.field(name=IDEMPOTENCY_KEY, default=ABSENT)


NO_META = Meta()

_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_meta = msgspec.json.Decoder(Meta).decode
_decode_raw = msgspec.json.Decoder(Raw).decode


class Message:
    """One JSON-RPC request or notification."""

    __slots__ = ("id", "meta", "method", "params", "size_bytes")

    def __init__(self, method: str, request_id: bytes, params: dict[str, Raw], meta: Meta, size_bytes: int) -> None:
        self.method = method
        self.id = request_id
        """Raw JSON, a string or an integer; empty for a notification."""
        self.params = params
        self.meta = meta
        self.size_bytes = size_bytes


NOTHING_SAID = Message("", b"", {}, NO_META, 0)


class NotOneMessage(RpcRefusal):
    """What came is JSON, and no message."""


def era_of(version: bytes | None) -> Era | None:
    """The era the version header names; None where there is no header, which only the body can settle.

    A version nobody knows counts as modern: that era has an answer for it.
    """
    if version == MODERN_BYTES:
        return "modern"
    if version is None:
        return None
    return "legacy" if version in _HANDSHAKE_BYTES else "modern"


@dataclass(frozen=True, slots=True)
class Reply:
    """A JSON-RPC response, which only legacy clients may post; both outcomes raw, empty where it is the other."""

    id: str
    result: bytes
    error: bytes


def message_from(body: bytes, era: Era, depth: int) -> Message | Reply:
    """The one message in a body.

    Raises: RpcRefusal: not JSON, not one message, or nested deeper than `depth`.
    """
    try:
        envelope = _decode_envelope(body)
        if not body.isascii():
            body.decode()  # msgspec does not look inside strings it skips
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _malformed(body, era, error) from error
    if body.count(b"{") + body.count(b"[") > depth and _too_deep(body, depth):
        raise RpcRefusal(INVALID_REQUEST, f"the body is nested deeper than {depth} levels", http=400)
    request_id = bytes(envelope.id)
    if not envelope.method or not _is_id(request_id):
        if era == "legacy" and not envelope.method and (envelope.result is not ABSENT or envelope.error is not ABSENT):
            return Reply(as_text(envelope.id) or "", bytes(envelope.result), bytes(envelope.error))
        raise _not_one_message(era, request_id if _is_id(request_id) else b"")
    params = envelope.params or {}
    return Message(envelope.method, request_id, params, _meta_of(params, request_id), len(body))


def check_modern(message: Message, headers: Headers, lines: Iterable[tuple[bytes, bytes]]) -> None:
    """Hold header and body of a modern request against each other (MCP 2026-07-28, transports, "headers").

    `headers` holds the last of each name, `lines` all of them. Raises: RpcRefusal: they disagree, a routing header
    comes twice, the envelope is incomplete, or the version is not spoken here.
    """
    meta = message.meta
    if (
        meta.version is not ABSENT
        and bytes(meta.version) == _QUOTED_MODERN
        and headers.get(VERSION_HEADER) == MODERN_BYTES
        and meta.capabilities is not ABSENT
        and headers.get(METHOD_HEADER) == message.method.encode()
        and _name_agrees(message, headers)
    ):
        return
    _run_ladder(message, lines)


def check_notification(headers: Headers) -> None:
    """A modern notification is taken and dropped. Raises: RpcRefusal: its version is not spoken here."""
    requested = headers.get(VERSION_HEADER, b"")
    if requested != MODERN_BYTES:
        raise _unsupported(requested.decode("latin-1"))


def check_routing(lines: Sequence[tuple[bytes, bytes]]) -> None:
    """Raises: RpcRefusal: a mirroring header comes twice, so that first-copy and last-copy readers would disagree."""
    seen: set[bytes] = set()
    for name, _ in lines:
        if name in seen:
            raise RpcRefusal(HEADER_MISMATCH, f"the header {name.decode('latin-1')} comes more than once", http=400)
        if name in _ROUTING or name.startswith(PARAM_PREFIX):
            seen.add(name)


def _name_agrees(message: Message, headers: Headers) -> bool:
    key = NAMED_BY.get(message.method)
    if key is None:
        return True
    value, header = message.params.get(key), headers.get(NAME_HEADER)
    # A plain header never starts with the sentinel `=?base64?`, and its JSON form is itself between quotes.
    return (
        value is not None
        and header is not None
        and bytes(value) == b'"%b"' % header
        and header.isascii()
        and b"\\" not in header
        and not header.startswith(b"=?")
    )


def _run_ladder(message: Message, lines: Iterable[tuple[bytes, bytes]]) -> None:
    params = _shallow(message)
    # White space around a value is no part of it (RFC 9110, 5.5), and not every HTTP server takes it away.
    headers = {name.decode("latin-1"): value.strip(b" \t").decode("latin-1") for name, value in lines}
    requested = headers.get("mcp-protocol-version", "")
    if message.meta.version is ABSENT and requested != MODERN:
        raise _unsupported(requested)
    check_envelope(message.method, params, headers)
    if requested != MODERN:
        raise _unsupported(requested)


def _unsupported(requested: str) -> RpcRefusal:
    data: JsonObject = {"supported": SUPPORTED, "requested": requested}
    return RpcRefusal(UNSUPPORTED_VERSION, "Unsupported protocol version", data=data, http=400)


def _shallow(message: Message) -> JsonObject:
    """As much of the params as the ladder looks at."""
    wanted = {"_meta", NAMED_BY.get(message.method, "_meta")}
    try:
        return {key: decode_value(bytes(raw)) for key, raw in message.params.items() if key in wanted}
    except InvalidRequest as error:
        raise RpcRefusal(PARSE_ERROR, "not valid JSON", http=400) from error


def _meta_of(params: dict[str, Raw], request_id: bytes) -> Meta:
    raw = params.get("_meta")
    if raw is None:
        return NO_META
    try:
        return _decode_meta(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RpcRefusal(
            INVALID_PARAMS, "params._meta must be an object", http=400, request_id=request_id or NULL
        ) from error


def _is_id(raw: bytes) -> bool:
    """A string, an integer, or nothing at all (a notification)."""
    return raw.isdigit() or raw[:1] == b'"' or not raw or (raw[:1] == b"-" and raw[1:].isdigit())


def _malformed(body: bytes, era: Era, error: Exception) -> RpcRefusal:
    if not isinstance(error, msgspec.ValidationError):
        return RpcRefusal(PARSE_ERROR, "the body is not JSON, or is nested too deeply", http=400)
    try:
        raw = _decode_raw(body)
        members = json_object(decode_value(bytes(raw)))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, InvalidRequest):
        return RpcRefusal(PARSE_ERROR, "the body is not JSON, or is nested too deeply", http=400)
    request_id = members.get("id")
    known = isinstance(request_id, (str, int)) and not isinstance(request_id, bool)
    return _not_one_message(era, msgspec.json.encode(request_id) if known else b"")


def _not_one_message(era: Era, request_id: bytes) -> RpcRefusal:
    # Until 2025-11-25 the reference server calls it invalid params, from 2026-07-28 on an invalid request.
    code = INVALID_REQUEST if era == "modern" else INVALID_PARAMS
    said = "the body must be a single JSON-RPC 2.0 request or notification object"
    return NotOneMessage(code, said, http=400, request_id=request_id or NULL)


def _too_deep(body: bytes, depth: int) -> bool:
    """Whether brackets outside strings nest deeper than `depth`: each pass takes away the innermost pairs."""
    brackets = _STRING.sub(b"", body).translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(depth):
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) == len(brackets):
            break
        brackets = fewer
    return bool(brackets)
