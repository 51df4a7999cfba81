"""MCP on the wire: JSON-RPC envelopes and payloads whose inner bytes stay as they came. Pure: no I/O, no event loop.

What the gateway does not have to understand stays `Raw`, so unknown members travel untouched and cost nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Raw

from gateway.core.content import Content, Part, PartKind, text_part
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, endless_number, json_list, json_object, json_text, strict_json

MODERN = "2026-07-28"
HANDSHAKE = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
LATEST_HANDSHAKE = HANDSHAKE[-1]
Era: TypeAlias = Literal["modern", "legacy"]

META_PREFIX = "io.modelcontextprotocol/"
VERSION_KEY = META_PREFIX + "protocolVersion"
CLIENT_INFO_KEY = META_PREFIX + "clientInfo"
CLIENT_CAPABILITIES_KEY = META_PREFIX + "clientCapabilities"
LOG_LEVEL_KEY = META_PREFIX + "logLevel"
SUBSCRIPTION_KEY = META_PREFIX + "subscriptionId"
TASKS_EXTENSION = META_PREFIX + "tasks"
IDEMPOTENCY_KEY = "drawbridge/idempotency-key"
"""In `params._meta`: the key under which a sink call happens once."""

_OF_THE_CALL = frozenset({IDEMPOTENCY_KEY, "progressToken", "traceparent", "tracestate", "baggage"})
"""Members of `_meta` that differ from call to call and say nothing about what is asked."""

_CALLED_WITH = frozenset({"name", "arguments", "_meta", "requestState", "inputResponses"})
"""Members of a call's parameters; the last two are told by `Request.continuation`."""

_PROTOCOLS_OWN = frozenset({"_meta", "requestState", "inputResponses"})
"""Members of any request's parameters that are no arguments."""

_members = msgspec.json.Decoder(dict[str, Raw])
_value = msgspec.json.Decoder()
encode = msgspec.json.Encoder().encode


ASKED: Mapping[str, str] = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}
"""What a server may ask a client for while it answers, by method: the capability that a client needs for it."""
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
"""The first a modern server says on a stream that tells of changes."""
FOLLOWED = "mcp/followed"
"""Text of the event that says that a resource is followed from now on; whoever had followed it before may have missed
something."""
REFUSED = "mcp/refused"
"""In `Request.meta`: which of a server's questions the client answered with an error, by key, each error as it came."""


class Client(Protocol):
    """A legacy client, as somebody sees it who wants to tell it something beside its calls."""

    def say(self, message: bytes) -> None:
        """Have it told when it next listens."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidBefore:
    """What a legacy client said once that a modern one says each time."""

    capabilities: JsonObject
    """Those that a server may make use of; see `askable`."""
    log_level: str
    level_set: str = ""
    """The lowest level of log lines it asked for; empty where it never did."""
    client: "Client | None" = None
    """Lives as long as the client's session."""
    roots: object = None
    """Stands for its roots as they are: another one once it said that they changed."""


class Params:
    """The `params` of a request as they came: a `Body` whose members are still raw JSON."""

    __slots__ = ("_content", "era", "headers", "members", "said_before", "size_bytes")

    def __init__(
        self,
        members: dict[str, Raw],
        *,
        era: Era,
        size_bytes: int = 0,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        said_before: "SaidBefore | None" = None,
    ) -> None:
        self.members = members
        self.era: Era = era
        """Of the client that sent them."""
        self.size_bytes = size_bytes
        self.headers = headers
        """`Mcp-Param-*` headers, to be forwarded (MCP 2026-07-28, transports, headers)."""
        self.said_before = said_before
        """By a legacy client, for its whole session; a modern one says it with each request."""
        self._content: Content | None = None

    def with_members(self, members: dict[str, Raw]) -> "Params":
        """The same client's, with other members."""
        return type(self)(
            members, era=self.era, size_bytes=self.size_bytes, headers=self.headers, said_before=self.said_before
        )

    def content(self) -> Content:
        """`structured` holds the arguments, `metadata` what the client says beside them; parts are empty."""
        if self._content is None:
            arguments = self.members.get("arguments")
            value = {} if arguments is None else decode_strictly(bytes(arguments))
            self._content = Content(structured=value, metadata=_said_beside(self.members))
        return self._content


class ReadParams(Params):
    """The `params` of `resources/read`, whose one argument is a member of its own."""

    __slots__ = ()

    def content(self) -> Content:
        """`structured` holds the `uri`, and nothing else: an `arguments` beside it is no part of a read."""
        if self._content is None:
            self._content = Content(structured={"uri": decode_value(bytes(self.members.get("uri", Raw(b"null"))))})
        return self._content


class MethodParams(Params):
    """The `params` of a method the gateway has no word for: all of them are arguments."""

    __slots__ = ()

    def content(self) -> Content:
        """`structured` holds every member but those of the protocol."""
        if self._content is None:
            said = {name: each for name, each in self.members.items() if name not in _PROTOCOLS_OWN}
            beside = {name: each for name, each in self.members.items() if name == "_meta"}
            self._content = Content(
                structured={name: decode_strictly(bytes(each)) for name, each in said.items()},
                metadata=_said_beside(beside),
            )
        return self._content


def askable(capabilities: JsonObject) -> JsonObject:
    """Of what a client declares, the part that servers may go by: what it can be asked for, and what it knows beside
    the revisions. Tasks are for the modern era alone, where each request declares them itself.
    """
    said: JsonObject = {name: json_object(each) for name, each in capabilities.items() if name in ASKED.values()}
    for name in ("extensions", "experimental"):
        more = {key: each for key, each in json_object(capabilities.get(name)).items() if key != TASKS_EXTENSION}
        if more:
            said[name] = more
    return said


class Answer:
    """The `result` of a response as it came: a `Body` of raw JSON."""

    __slots__ = ("_content", "era", "raw")

    def __init__(self, raw: bytes, *, era: Era) -> None:
        self.raw = raw
        self.era: Era = era
        """Of the server that sent it."""
        self._content: Content | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.raw)

    def content(self) -> Content:
        """Content blocks of a tool result, messages of a prompt or contents of a resource, as parts."""
        if self._content is None:
            self._content = content_from_result(json_object(decode_value(self.raw)))
        return self._content


class Frame:
    """A notification as it came: a `Body` of raw JSON-RPC."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    @property
    def size_bytes(self) -> int:
        return len(self.raw)

    def content(self) -> Content:
        return Content(structured=decode_value(self.raw))


class Notice(Frame):
    """A notification the gateway knows nothing of: no log line, and relayed whichever of those are wanted."""

    __slots__ = ()


def _said_beside(members: Mapping[str, Raw]) -> JsonObject:
    """What a server may go by although this revision knows nothing of it: in `_meta`, and as `params.NAME`."""
    meta = members.get("_meta")
    told = {} if meta is None else json_object(decode_strictly(bytes(meta), "_meta"))
    said: JsonObject = {
        name: each for name, each in told.items() if not name.startswith(META_PREFIX) and name not in _OF_THE_CALL
    }
    if others := members.keys() - _CALLED_WITH:
        said |= {f"params.{name}": decode_value(bytes(members[name])) for name in others}
    return said


def decode_value(raw: bytes) -> Json:
    """JSON to Python. Raises: InvalidRequest: not JSON, or nested too deeply."""
    try:
        value: Any = _value.decode(raw)
    except msgspec.ValidationError as error:
        # Of a value of any type, only a number can be beyond what is read.
        raise InvalidRequest(f"it cannot be read: {endless_number(raw)}") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest("not valid JSON") from error
    return value


def decode_strictly(raw: bytes, what: str = "the arguments") -> Json:
    """JSON to Python, for what is judged and then relayed as it came: both readers must find the same in it.

    Raises: InvalidRequest: see `strict_json`.
    """
    try:
        return strict_json(raw)
    except ValueError as error:
        raise InvalidRequest(f"{what} cannot be read: {error}") from error


def as_text(raw: Raw | None) -> str | None:
    """The string a raw value is; None where it is anything else, or nothing."""
    if not raw:
        return None
    value = bytes(raw)
    if value[:1] != b'"':
        return None
    if b"\\" not in value:
        return value[1:-1].decode()
    try:
        decoded = decode_value(value)
    except InvalidRequest:
        return None
    return decoded if isinstance(decoded, str) else None


def decode_members(raw: bytes) -> dict[str, Raw]:
    """The members of a JSON object, each still raw. Raises: InvalidRequest: not a JSON object."""
    try:
        return _members.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest("not a JSON object") from error


def content_from_result(result: Mapping[str, Json]) -> Content:
    """What a result of `tools/call`, `prompts/get` or `resources/read` says."""
    blocks = json_list(result.get("content")) or [
        json_object(message).get("content") for message in json_list(result.get("messages"))
    ]
    parts = [part_from_block(json_object(block)) for block in blocks]
    parts += [part_from_block({"type": "resource", "resource": each}) for each in json_list(result.get("contents"))]
    return Content(
        parts=tuple(parts), structured=result.get("structuredContent"), metadata=json_object(result.get("_meta"))
    )


def part_from_block(block: JsonObject) -> Part:
    """One content block as a part; kinds this gateway does not know come as data, whole."""
    kind = json_text(block.get("type"))
    if kind == "text":
        return text_part(json_text(block.get("text")))
    media_type = json_text(block.get("mimeType"))
    if kind in ("image", "audio"):
        return Part(kind="raw", raw=json_text(block.get("data")), media_type=media_type)
    if kind == "resource_link":
        return Part(
            kind="url", url=json_text(block.get("uri")), media_type=media_type, name=json_text(block.get("name"))
        )
    if kind == "resource":
        resource = json_object(block.get("resource"))
        named: PartKind = "text" if "text" in resource else "raw"
        return Part(
            kind=named,
            text=json_text(resource.get("text")),
            raw=json_text(resource.get("blob")),
            media_type=json_text(resource.get("mimeType")),
            name=json_text(resource.get("uri")),
        )
    return Part(kind="data", data=dict(block), media_type="application/json")


def block_from_part(part: Part) -> JsonObject:
    """A content block that says what the part says (MCP 2026-07-28, tools, "tool result")."""
    match part.kind:
        case "text":
            return {"type": "text", "text": part.text}
        case "data":
            return {"type": "text", "text": encode(part.data).decode()}
        case "url":
            return {
                "type": "resource_link",
                "uri": part.url,
                "name": part.name or part.url,
                "mimeType": part.media_type,
            }
        case "raw":
            if part.media_type.startswith(("image/", "audio/")):
                return {"type": part.media_type.partition("/")[0], "data": part.raw, "mimeType": part.media_type}
            resource: JsonObject = {"uri": part.name or "data:", "blob": part.raw, "mimeType": part.media_type}
            return {"type": "resource", "resource": resource}
