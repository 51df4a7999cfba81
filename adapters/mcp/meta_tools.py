"""Three tools in place of many: search, describe, call. What they say is fixed, so that a client's cache of it holds.

`search` and `describe` look at what the caller's list would hold; `call` is taken for a call of the tool it names
before anything else looks at it, so that policies, records and headers know of nothing but that.
"""

from collections.abc import Callable, Mapping

from msgspec import Raw

from adapters.mcp.entries import Entry, definition_bytes, definition_of
from adapters.mcp.refusals import INVALID_PARAMS, RpcRefusal
from adapters.mcp.uris import Outward
from adapters.mcp.wire import Era, decode_members, decode_value, encode
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.ports.tool_search import ToolDocument, ToolIndex

FOUND = 10
"""Tools one search tells of, unless asked for another number."""
MOST_FOUND = 50
MOST_DESCRIBED = 20
_SHORT = 160
"""Characters of a description a search tells."""

_LIMIT: JsonObject = {"type": "integer", "minimum": 1, "maximum": MOST_FOUND, "description": f"By default {FOUND}."}
TOOLS: tuple[JsonObject, ...] = (
    {
        "name": "search",
        "description": "Finds tools by what they are for. Begin here; then `describe` those that fit, and `call` one.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "What is to be done, in words."},
                "limit": _LIMIT,
            },
            "required": ["query"],
        },
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "describe",
        "description": "The whole definitions of tools, with the schema of their arguments.",
        "inputSchema": {
            "type": "object",
            "properties": {"names": {"type": "array", "items": {"type": "string"}, "maxItems": MOST_DESCRIBED}},
            "required": ["names"],
        },
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "call",
        "description": "Calls a tool that `search` found, with arguments as `describe` tells them.",
        "inputSchema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}},
            "required": ["name"],
        },
    },
)
DEFINITIONS = tuple(encode(tool) for tool in TOOLS)
INSTRUCTIONS = (
    "There are more tools than are listed: `search` finds them, `describe` tells what they take, `call` calls one."
)


def documents(entries: Mapping[str, Entry]) -> list[ToolDocument]:
    """What an index is made of."""
    return [_document(name, entry) for name, entry in entries.items()]


def unwrapped(params: dict[str, Raw]) -> None:
    """Turn the parameters of `call` into those of a call of the tool it names. Raises: RpcRefusal."""
    given = decode_members(bytes(params.get("arguments", Raw(b"{}"))))
    if not isinstance(decode_value(bytes(given.get("name", Raw(b"null")))), str):
        raise RpcRefusal(INVALID_PARAMS, "call takes the name of a tool, as a text, and its arguments, as an object")
    params["name"] = given["name"]
    params["arguments"] = given.get("arguments", Raw(b"{}"))


async def searched(index: ToolIndex, entries: Mapping[str, Entry], arguments: JsonObject, era: Era) -> bytes:
    """The result of `search`. Raises: RpcRefusal: wrong arguments; GatewayError: the index does not answer."""
    query, limit = arguments.get("query"), arguments.get("limit", FOUND)
    if not isinstance(query, str):
        raise RpcRefusal(INVALID_PARAMS, "search takes a query, as a text")
    wanted = limit if isinstance(limit, int) and not isinstance(limit, bool) else FOUND
    names = await index.search(query, max(1, min(wanted, MOST_FOUND)))
    found: list[Json] = [{"name": name, "description": _short(entries[name])} for name in names if name in entries]
    said: JsonObject = {"tools": found, "of": len(entries)}
    if not found:
        said["hint"] = "Nothing fits; try other words for what is to be done."
    return _result(encode(said), era)


def described(
    entries: Mapping[str, Entry], arguments: JsonObject, era: Era, outward: Callable[[str], Outward | None]
) -> bytes:
    """The result of `describe`; `outward`: see `View`. Raises: RpcRefusal: wrong arguments."""
    names = json_list(arguments.get("names"))[:MOST_DESCRIBED]
    if not names or not all(isinstance(each, str) for each in names):
        raise RpcRefusal(INVALID_PARAMS, "describe takes names of tools, as a list of texts")
    known = [json_text(each) for each in names if each in entries]
    unknown: list[Json] = [each for each in names if each not in entries]
    tools = b",".join(definition_bytes(entries[name], era, outward(entries[name].capability.owner)) for name in known)
    rest = b',"unknown":%b' % encode(unknown) if unknown else b""
    return _result(b'{"tools":[%b]%b}' % (tools, rest), era)


def _document(name: str, entry: Entry) -> ToolDocument:
    shown = definition_of(entry.capability) if entry.shown is None else entry.shown
    properties = json_object(json_object(shown.get("inputSchema")).get("properties"))
    arguments = [f"{each} {json_text(json_object(schema).get('description'))}" for each, schema in properties.items()]
    return ToolDocument(
        name=name,
        title=json_text(shown.get("title")),
        description=json_text(shown.get("description")),
        arguments=" ".join(arguments),
    )


def _short(entry: Entry) -> str:
    shown = definition_of(entry.capability) if entry.shown is None else entry.shown
    text = " ".join(json_text(shown.get("description")).split())
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"


def _result(said: bytes, era: Era) -> bytes:
    result: JsonObject = {"resultType": "complete"} if era == "modern" else {}
    return encode({**result, "content": [{"type": "text", "text": said.decode()}], "isError": False})
