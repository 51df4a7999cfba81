"""What a legacy client's own revision has no word for, put into words it has. Pure.

Clients are strict about kinds of content: one block of a kind they do not know costs them the whole answer. Members
they do not know cost nothing, and pass as they came.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from adapters.mcp.wire import decode_value, encode
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

_SINCE: Mapping[str, str] = {"audio": "2025-03-26", "resource_link": "2025-06-18"}
"""Kinds of content that came after 2024-11-05, by the revision that brought them."""
_STRUCTURED_SINCE: Final = "2025-06-18"
_SEVERAL_BLOCKS_SINCE: Final = "2025-11-25"
"""Of a message for a model; before, it is one block."""
_TITLED_CHOICES_SINCE: Final = "2025-11-25"
_LATER: Mapping[str, frozenset[str]] = {
    version: frozenset(kind for kind, since in _SINCE.items() if version < since)
    for version in ("2024-11-05", "2025-03-26")
}
_NOTHING: Final = frozenset[str]()


def in_words_of(version: str, raw: bytes) -> bytes:
    """A result of `tools/call` or `prompts/get` for a client of this revision: later kinds of content are text that
    says what stands there, and so is structured content where nothing else says it.
    """
    later = _LATER.get(version, _NOTHING)
    if not later or not _may_hold(raw, later):
        return raw
    result = json_object(decode_value(raw))
    said = dict(result)
    if isinstance(said.get("content"), list):
        said["content"] = [_block(each, later) for each in json_list(said["content"])]
    if isinstance(said.get("messages"), list):
        said["messages"] = [_message(each, later) for each in json_list(said["messages"])]
    if "structuredContent" in said and version < _STRUCTURED_SINCE:
        said["content"] = _with_structured(json_list(said.get("content")), said["structuredContent"])
    return raw if said == result else encode(said)


def question_in_words_of(version: str, method: str, params: JsonObject) -> JsonObject:
    """What a server asks a client of this revision."""
    if method == "sampling/createMessage" and version < _SEVERAL_BLOCKS_SINCE:
        later = _LATER.get(version, _NOTHING)
        messages = [_message(each, later) for one in json_list(params.get("messages")) for each in _one_by_one(one)]
        return {**params, "messages": messages}
    if method == "elicitation/create" and version < _TITLED_CHOICES_SINCE:
        schema = params.get("requestedSchema")
        if isinstance(schema, dict) and isinstance(fields := schema.get("properties"), dict):
            said: JsonObject = {name: _field(each) for name, each in fields.items()}
            return {**params, "requestedSchema": {**schema, "properties": said}}
    return params


def _may_hold(raw: bytes, later: frozenset[str]) -> bool:
    """Whether there is anything to look for; a name may be written with escapes."""
    return b"\\u" in raw or b'"structuredContent"' in raw or any(b'"%b"' % each.encode() in raw for each in later)


def _message(message: Json, later: frozenset[str]) -> Json:
    if not isinstance(message, dict) or "content" not in message:
        return message
    return {**message, "content": _block(message["content"], later)}


def _block(block: Json, later: frozenset[str]) -> Json:
    if not isinstance(block, dict) or json_text(block.get("type")) not in later:
        return block
    told = _link(block) if block["type"] == "resource_link" else _recording(block)
    kept: JsonObject = {name: block[name] for name in ("annotations", "_meta") if isinstance(block.get(name), dict)}
    return {"type": "text", "text": told, **kept}


def _recording(block: JsonObject) -> str:
    data = json_text(block.get("data"))
    size_bytes = len(data) * 3 // 4 - data[-2:].count("=")
    kind = json_text(block.get("mimeType"), "of an unnamed type")
    return f"[Audio, {kind}, {size_bytes} bytes: this client's protocol version has no word for it.]"


def _link(block: JsonObject) -> str:
    size = block.get("size")
    parts = [
        json_text(block.get("title")) or json_text(block.get("name")) or "a resource",
        json_text(block.get("uri")),
        json_text(block.get("mimeType")),
        f"{size} bytes" if isinstance(size, int) and not isinstance(size, bool) else "",
    ]
    described = json_text(block.get("description"))
    return f"[Link to {', '.join(filter(None, parts))}{f': {described}' if described else ''}]"


def _with_structured(content: list[Json], structured: Json) -> list[Json]:
    if any(json_object(block).get("type") == "text" for block in content):
        return content
    return [*content, {"type": "text", "text": encode(structured).decode()}]


def _one_by_one(message: Json) -> Iterator[Json]:
    """A message of several blocks as several of one each."""
    if not isinstance(message, dict) or not isinstance(blocks := message.get("content"), list):
        yield message
        return
    for block in blocks:
        yield {**message, "content": block}


def _field(schema: Json) -> Json:
    """A choice whose options have titles, by the names of before."""
    if not isinstance(schema, dict) or not isinstance(choices := schema.get("oneOf"), list):
        return schema
    options = [json_object(each) for each in choices]
    said: JsonObject = {name: each for name, each in schema.items() if name != "oneOf"}
    return {
        **said,
        "enum": [each.get("const") for each in options],
        "enumNames": [json_text(each.get("title")) for each in options],
    }
