"""Payloads, whichever protocol they came by.

A `Body` stays in its protocol's own bytes for as long as nobody asks what it says. The adapter of the same protocol
recognises its own class and relays it untouched; anybody else reads `content()`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

PartKind = Literal["text", "data", "raw", "url"]
"""The four kinds of A2A 1.0's Part; MCP content blocks map onto them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of a payload; exactly the member named by `kind` counts."""

    kind: PartKind
    text: str = ""
    data: Json = None
    raw: str = ""
    """Base64."""
    url: str = ""
    media_type: str = ""
    name: str = ""
    metadata: Mapping[str, Json] = field(default_factory=dict[str, Json])


def text_part(text: str) -> Part:
    return Part(kind="text", text=text, media_type="text/plain")


def data_part(data: Json) -> Part:
    return Part(kind="data", data=data, media_type="application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a payload says, protocol aside."""

    parts: tuple[Part, ...] = ()
    structured: Json = None
    """The machine-readable value: MCP arguments or `structuredContent`; for A2A the first data part."""
    metadata: Mapping[str, Json] = field(default_factory=dict[str, Json])

    @property
    def text(self) -> str:
        """The text parts, one after another, a line break between."""
        return "\n".join(part.text for part in self.parts if part.kind == "text")

    @property
    def value(self) -> Json:
        """The structured value, or the text where there is none."""
        return self.text if self.structured is None else self.structured


EMPTY = Content()


def content_of(value: Json, *, text: str = "") -> Content:
    """Content that carries a JSON value: a string as text, anything else as data, `text` beside it for people."""
    if isinstance(value, str):
        return Content(parts=(text_part(value),))
    parts = (text_part(text),) if text else ()
    return Content(parts=(*parts, data_part(value)), structured=value)


class Body(Protocol):
    """A payload in its protocol's own shape."""

    @property
    def size_bytes(self) -> int:
        """Bytes on the wire, or 0 where it never was on one."""
        ...

    def content(self) -> Content:
        """What it says; decoded at most once. Raises: InvalidRequest: the bytes do not say anything valid."""
        ...


@dataclass(frozen=True, slots=True)
class Plain:
    """A body that was made inside the gateway and belongs to no protocol."""

    said: Content
    size_bytes: int = 0

    def content(self) -> Content:
        return self.said


NOTHING: Body = Plain(EMPTY)


def plain(value: Json, *, text: str = "") -> Plain:
    """A body that carries a JSON value; see `content_of`."""
    return Plain(content_of(value, text=text))


def content_to_json(content: Content) -> JsonObject:
    """As it is kept: what is said, without what stands in its metadata."""
    parts: list[Json] = [_part_to_json(part) for part in content.parts]
    return {"parts": parts, "structured": content.structured}


def content_from_json(value: Json) -> Content:
    """See `content_to_json`."""
    fields = json_object(value)
    if not fields:
        return EMPTY
    parts = tuple(_part_from_json(json_object(part)) for part in json_list(fields.get("parts")))
    return Content(parts=parts, structured=fields.get("structured"))


def _part_to_json(part: Part) -> JsonObject:
    kept: JsonObject = {"kind": part.kind, part.kind: getattr(part, part.kind)}
    if part.media_type:
        kept["media_type"] = part.media_type
    if part.name:
        kept["name"] = part.name
    return kept


def _part_from_json(value: JsonObject) -> Part:
    media_type, name = json_text(value.get("media_type")), json_text(value.get("name"))
    match value.get("kind"):
        case "data":
            return Part(kind="data", data=value.get("data"), media_type=media_type, name=name)
        case "raw":
            return Part(kind="raw", raw=json_text(value.get("raw")), media_type=media_type, name=name)
        case "url":
            return Part(kind="url", url=json_text(value.get("url")), media_type=media_type, name=name)
        case _:
            return Part(kind="text", text=json_text(value.get("text")), media_type=media_type, name=name)
