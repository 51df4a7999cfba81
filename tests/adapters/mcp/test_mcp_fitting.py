"""One definition with something wrong in it never costs a client the list: strict clients of each revision read on."""

from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp_types.methods import parse_server_result
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS

from adapters.mcp.fitting import fitted
from adapters.mcp.wire import HANDSHAKE, MODERN
from gateway.core.json import Json, JsonObject
from gateway.core.model import Capability, CapabilityKind
from tests.fakes_mcp_door import Caller, ShopGateway, opened, tool

pytestmark = pytest.mark.anyio

LISTED: dict[CapabilityKind, tuple[str, str, str]] = {
    "tool": ("tools/list", "tools", "name"),
    "prompt": ("prompts/list", "prompts", "name"),
    "resource": ("resources/list", "resources", "uri"),
    "template": ("resources/templates/list", "resourceTemplates", "uriTemplate"),
}
WHOLE: JsonObject = {
    "name": "refund",
    "title": "Refund",
    "description": "Refunds.",
    "icons": [{"src": "data:,", "sizes": ["any"], "theme": "dark", "vendor": 1}],
    "annotations": {"title": "R", "readOnlyHint": False, "vendor": None},
    "execution": {"taskSupport": "optional"},
    "inputSchema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "$defs": {"b": True}},
    "outputSchema": {"type": "object", "anyOf": [{}]},
    "_meta": {"vendor": None},
    "future": [None],
}
BROKEN: list[JsonObject] = [
    {"outputSchema": {"type": "array", "items": {}}},
    {"outputSchema": {"anyOf": [{"type": "object"}]}},
    {"outputSchema": None},
    {"inputSchema": None},
    {"inputSchema": {}},
    {"inputSchema": {"properties": {"a": {}}}},
    {"inputSchema": {"type": ["object", "null"]}},
    {"inputSchema": {"type": "object", "properties": {"a": True, "b": 7}, "required": [1, "a"]}},
    {"inputSchema": {"type": "object", "properties": [], "required": "a", "$schema": 7}},
    {"annotations": "x"},
    {"annotations": {"title": None, "readOnlyHint": "yes", "vendor": 1}},
    {"title": None, "description": [], "_meta": None, "icons": [{}, 7, {"src": "data:,", "sizes": "any"}]},
    {"execution": {"taskSupport": "perhaps"}},
]


async def tools_at(version: str, gateway: ShopGateway) -> list[Any]:
    """What a strict client of a revision makes of the list."""
    async with opened(gateway) as door:
        caller = Caller(door)
        if version == MODERN:
            result = (await caller.ask("tools/list")).json["result"]
        else:
            await caller.initialize(version)
            result = (await caller.say("tools/list")).json["result"]
    parse_server_result("tools/list", version, result)
    return result["tools"]


@pytest.mark.parametrize("version", [*HANDSHAKE, MODERN])
async def test_a_broken_tool_empties_nobodys_list(version: str) -> None:
    tools = [Capability(**_parts(f"t{number}", each)) for number, each in enumerate(BROKEN)]
    found = await tools_at(version, ShopGateway(tool("whole", future=[None]), *tools))
    assert len(found) == len(BROKEN) + 1
    assert found[-1] == {
        "name": "orders__whole",
        "description": "does whole",
        "inputSchema": {"type": "object"},
        "future": [None],
    }


def _parts(name: str, broken: JsonObject) -> dict[str, Any]:
    definition: JsonObject = {**WHOLE, **broken, "name": name}
    return {"name": f"tool:orders/{name}", "kind": "tool", "owner": "orders", "local": name, "definition": definition}


def test_a_whole_definition_stays_as_it_is() -> None:
    for era in ("modern", "legacy"):
        assert fitted(WHOLE, "tool", "x", era) == WHOLE


def test_only_what_is_wrong_is_left_out() -> None:
    broken: JsonObject = {
        **WHOLE,
        "annotations": {"title": 7, "readOnlyHint": True},
        "icons": [{"src": 1}, {"src": "data:,", "theme": "blue"}],
        "outputSchema": {"type": "array"},
    }
    mended = {**WHOLE, "annotations": {"readOnlyHint": True}, "icons": [{"src": "data:,"}]}
    assert fitted(broken, "tool", "x", "modern") == {**mended, "outputSchema": {"type": "array"}}
    del mended["outputSchema"]
    assert fitted(broken, "tool", "x", "legacy") == mended


def test_schemas_older_clients_have_no_word_for_are_spelled_out() -> None:
    open_schema: JsonObject = {"type": "object", "properties": {"a": True, "b": False, "c": {}}}
    said = fitted({"name": "t", "inputSchema": open_schema}, "tool", "t", "legacy")
    assert said["inputSchema"] == {"type": "object", "properties": {"a": {}, "b": {"not": {}}, "c": {}}}
    assert fitted({"name": "t", "inputSchema": open_schema}, "tool", "t", "modern")["inputSchema"] == open_schema


def test_a_resource_without_a_name_is_called_by_its_uri() -> None:
    assert fitted({"uri": "note://a", "size": "x"}, "resource", "note://a", "modern") == {
        "name": "note://a",
        "uri": "note://a",
    }


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-2, 2) | st.sampled_from(["", "x", "object", "user"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "title", "src", "name", "properties", "required", "audience", "priority"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
MEMBERS = st.sampled_from(
    [
        *("title", "description", "icons", "annotations", "execution", "inputSchema", "outputSchema", "_meta"),
        *("arguments", "mimeType", "size", "future"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*LISTED]), st.dictionaries(MEMBERS, ANYTHING, max_size=5))
def test_whatever_a_definition_holds_every_revision_reads_it(kind: CapabilityKind, members: dict[str, Json]) -> None:
    method, listed, named = LISTED[kind]
    for version in KNOWN_PROTOCOL_VERSIONS:
        said = fitted({**members, named: "x"}, kind, "x", "modern" if version == MODERN else "legacy")
        result: JsonObject = {listed: [said], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        parse_server_result(method, version, cast("dict[str, Any]", result))
