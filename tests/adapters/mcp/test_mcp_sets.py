"""Sets: what is chosen is there, under the set's names and words; what is settled is out of sight and reach."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.mcp.names import NamesMode
from adapters.mcp.not_offered import NotOffered, not_offered
from adapters.mcp.offers import Offers
from adapters.mcp.presets import Preset, problems, with_descriptions, without_arguments
from adapters.mcp.set_settings import SetSettings
from adapters.mcp.views import MOST_TOLD
from adapters.mcp.wire import Params
from gateway.core.errors import Denied, InvalidRequest, NotFound
from gateway.core.json import Json, JsonObject
from gateway.core.model import Request
from tests.fakes_mcp_door import Caller, Reply, ShopGateway, agent, failing, opened, prompt, resource, tool, workflow

pytestmark = pytest.mark.anyio

SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "order": {"type": "string", "description": "Its number."},
        "amount": {"type": "integer", "maximum": 100},
        "currency": {"type": "string", "enum": ["EUR", "USD"], "x-mcp-header": "Currency"},
        "note": {"type": "string"},
    },
    "required": ["order", "currency"],
    "additionalProperties": False,
}
DESK = {
    "instructions": "Refunds only.",
    "tools": {
        "refund": {
            "tool": "orders/refund",
            "title": "Refund",
            "description": "Refunds in Euro.",
            "arguments": {
                "currency": {"value": "EUR"},
                "note": {"hidden": True},
                "order": {"description": "Such as A-1."},
            },
        },
        "helper": {"agent": "refunds"},
    },
    "prompts": {"hello": {"prompt": "orders/greet", "arguments": {"tone": "kind"}}},
    "include": ["tool:stock/*", "resource:orders/*", "tool:orders/refund"],
}


def shop() -> ShopGateway:
    return ShopGateway(
        tool("refund", schema=SCHEMA),
        tool("steal"),
        tool("count", "stock"),
        agent("refunds"),
        workflow("help"),
        prompt("greet"),
        resource("file:///a"),
    )


def offers(**sets: Any) -> Offers:
    return Offers(sets={name: SetSettings.model_validate(each) for name, each in sets.items()})


def arguments_of(request: Request) -> Any:
    assert isinstance(request.body, Params)
    return json.loads(bytes(request.body.members["arguments"]))


def text_of(reply: Reply) -> str:
    text: str = reply.json["result"]["content"][0]["text"]
    return text


async def test_a_set_has_what_it_chose_in_its_own_words_and_nothing_of_what_is_settled() -> None:
    async with opened(shop(), offers=offers(desk=DESK)) as door:
        caller = Caller(door, path="/mcp/sets/desk")
        tools = {each["name"]: each for each in (await caller.ask("tools/list")).json["result"]["tools"]}
        prompts = (await caller.ask("prompts/list")).json["result"]["prompts"]
        resources = (await caller.ask("resources/list")).json["result"]["resources"]
        about = (await caller.ask("server/discover")).json["result"]
    assert sorted(tools) == ["helper", "refund", "stock__count"]
    assert tools["refund"] == {
        "name": "refund",
        "title": "Refund",
        "description": "Refunds in Euro.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "order": {"type": "string", "description": "Such as A-1."},
                "amount": {"type": "integer", "maximum": 100},
            },
            "required": ["order"],
            "additionalProperties": False,
        },
    }
    assert prompts == [{"name": "hello", "arguments": []}]
    assert [each["uri"] for each in resources] == ["file:///a"]
    assert about["instructions"] == "Refunds only."


async def test_a_call_is_judged_as_the_real_tool_with_everything_that_is_settled() -> None:
    gateway = shop()
    async with opened(gateway, offers=offers(desk=DESK)) as door:
        caller = Caller(door, path="/mcp/sets/desk")
        await caller.ask("tools/call", {"name": "refund", "arguments": {"order": "A-1", "amount": 7}})
        await caller.ask("prompts/get", {"name": "hello"})
        await caller.ask("tools/call", {"name": "helper", "arguments": {"message": "Hello"}})
    refund, greet, helper = gateway.requests
    assert (refund.capability, greet.capability, helper.capability) == (
        "tool:orders/refund",
        "prompt:orders/greet",
        "agent:refunds",
    )
    assert arguments_of(refund) == {"order": "A-1", "amount": 7, "currency": "EUR"}
    assert refund.body.content().structured == {"order": "A-1", "amount": 7, "currency": "EUR"}
    assert isinstance(refund.body, Params)
    assert refund.body.headers == ((b"mcp-param-currency", b"EUR"),)
    assert arguments_of(greet) == {"tone": "kind"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"order": "A-1", "currency": "USD"}, "There is no argument currency"),
        ({"order": "A-1", "note": "x"}, "There is no argument note"),
        ({}, "Order must be given"),
        ({"order": "A-1", "amount": 700}, "Amount: 700 is greater than the maximum of 100"),
        ({"order": "A-1", "other": 1}, "The arguments do not fit the tool's schema"),
    ],
)
async def test_what_is_settled_is_out_of_reach_and_the_real_schema_holds(arguments: Any, said: str) -> None:
    gateway = shop()
    async with opened(gateway, offers=offers(desk=DESK)) as door:
        reply = await Caller(door, path="/mcp/sets/desk").ask("tools/call", {"name": "refund", "arguments": arguments})
    assert gateway.requests == []
    assert reply.json["result"]["isError"] is True
    assert said in text_of(reply)
    assert "EUR" not in text_of(reply)


@pytest.mark.parametrize("name", ["orders__refund", "orders__steal", "steal", "orders/steal", "tool:orders/steal"])
async def test_beside_what_it_chose_a_set_leads_nowhere(name: str) -> None:
    gateway = shop()
    async with opened(gateway, offers=offers(desk=DESK)) as door:
        reply = await Caller(door, path="/mcp/sets/desk").ask("tools/call", {"name": name})
        read = await Caller(door, path="/mcp/sets/desk").ask("resources/read", {"uri": "orders/file:///b"})
    assert reply.json["error"]["code"] == -32602
    assert read.json["error"]["code"] == -32602
    assert not {each.capability for each in gateway.requests} & gateway.capabilities.keys()


async def test_what_the_caller_may_not_use_is_not_in_it_and_still_refused_with_the_reason() -> None:
    gateway = shop()
    gateway.hidden["bob"] = frozenset({"tool:orders/refund"})
    gateway.runs["tool:orders/refund"] = failing(Denied("no", detail={"policy": "access", "rule": "guest.deny[0]"}))
    async with opened(gateway, offers=offers(desk=DESK)) as door:
        bob = Caller(door, key="bob", path="/mcp/sets/desk")
        tools = [each["name"] for each in (await bob.ask("tools/list")).json["result"]["tools"]]
        refused = await bob.ask("tools/call", {"name": "refund", "arguments": {"order": "A-1"}})
    assert "refund" not in tools
    assert "guest.deny[0]" in text_of(refused)
    assert arguments_of(gateway.requests[-1])["currency"] == "EUR"


@pytest.mark.parametrize("path", ["/mcp/sets/none", "/mcp/sets/theirs"])
async def test_a_set_that_is_not_there_is_not_there(path: str) -> None:
    sets = offers(desk=DESK, theirs={**DESK, "tenant": "acme"})
    async with opened(shop(), offers=sets) as door:
        reply = await Caller(door, path=path).ask("tools/list")
        called = await Caller(door, path=path).ask("tools/call", {"name": "refund"})
    assert reply.status == 404
    assert "there is no set called" in reply.json["error"]["message"]
    assert called.json["error"]["code"] == -32602


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"currency": {"value": "CHF"}}, "the value of currency does not fit"),
        ({"curency": {"value": "EUR"}}, "the tool has no argument curency"),
        ({"order": {"hidden": True}}, "the tool needs order, which the set hides"),
    ],
)
async def test_what_a_set_gets_wrong_is_named_and_costs_only_itself(arguments: Any, said: str) -> None:
    refund = {"tool": "orders/refund", "arguments": arguments}
    hello = {"prompt": "orders/greet", "arguments": {"tune": "kind"}}
    tools = {"refund": refund, "again": refund, "count": {"tool": "stock/count"}}
    desk = offers(desk={"tools": tools, "prompts": {"hello": hello}})
    async with opened(shop(), offers=desk) as door:
        caller = Caller(door, path="/mcp/sets/desk")
        result = (await caller.ask("tools/list")).json["result"]
        prompts = (await caller.ask("prompts/list")).json["result"]
    assert ([each["name"] for each in result["tools"]], prompts["prompts"]) == (["count"], [])
    told = result["_meta"]["drawbridge/gaps"]["sets/desk"]
    assert told == prompts["_meta"]["drawbridge/gaps"]["sets/desk"]
    reasons = told.split("; ")
    assert [each.partition(": ")[0] for each in reasons] == ["refund", "again", "hello"]
    assert said in reasons[0] and said in reasons[1]
    assert reasons[2] == "hello: the prompt has no argument tune"
    for_everybody = list(not_offered(desk, shop().capabilities.values(), "default"))
    assert [f"{each.name}: {each.reason}" for each in for_everybody] == reasons
    assert {each.scope for each in for_everybody} == {"sets/desk"}
    assert list(not_offered(desk, shop().capabilities.values(), "acme")) == []


async def test_of_names_that_are_refused_every_one_is_named() -> None:
    both = [tool(name, owner) for name in ("find", "lose", *map(str, range(20))) for owner in ("orders", "stock")]
    gateway = ShopGateway(*both, prompt("greet"), prompt("greet", "stock"))
    gateway.missing = {"stock": "timed out"}
    refusing = Offers(names="refuse", sets=offers(two={"include": ["tool:orders/*"]}).sets)
    async with opened(gateway, offers=refusing) as door:
        caller = Caller(door)
        gaps = (await caller.ask("prompts/list")).json["result"]["_meta"]["drawbridge/gaps"]
    assert gaps["orders"].count(": not listed") == MOST_TOLD
    assert gaps["orders"].endswith("; and 13 more")
    assert gaps["stock"].startswith("timed out; ")
    everything = list(not_offered(refusing, gateway.capabilities.values(), "default"))
    assert [each.name for each in everything if each.scope] == []
    assert len(everything) == 2 * 23
    assert (
        NotOffered(scope="", name="prompt:stock/greet", reason="greet is offered by orders, stock: not listed")
        in everything
    )


async def test_a_set_names_the_gaps_of_its_own_servers_only() -> None:
    gateway = shop()
    gateway.missing = {"orders": "timed out", "elsewhere": "down"}
    async with opened(gateway, offers=offers(desk=DESK, all={})) as door:
        desk = (await Caller(door, path="/mcp/sets/desk").ask("tools/list")).json["result"]
        everything = (await Caller(door, path="/mcp/sets/all").ask("tools/list")).json["result"]
    assert desk["_meta"]["drawbridge/gaps"] == {"orders": "timed out"}
    assert set(everything["_meta"]["drawbridge/gaps"]) == {"orders", "elsewhere"}
    assert len(everything["tools"]) == 5


async def test_names_need_no_prefix_where_nothing_else_has_them_if_so_wanted() -> None:
    gateway = ShopGateway(tool("find"), tool("find", "stock"), tool("count", "stock"), tool("a__b"), agent("refunds"))
    listed: dict[str, list[str]] = {}
    for mode in ("prefix", "conflict", "refuse"):
        async with opened(gateway, offers=Offers(names=mode)) as door:
            result = (await Caller(door).ask("tools/list")).json["result"]
            listed[mode] = [each["name"] for each in result["tools"]]
            await Caller(door).ask("tools/call", {"name": listed[mode][-1]})
            gaps = result.get("_meta", {}).get("drawbridge/gaps", {})
            assert set(gaps) == ({"orders", "stock"} if mode == "refuse" else set())
    assert listed == {
        "prefix": ["agents__refunds", "orders__a__b", "orders__find", "stock__count", "stock__find"],
        "conflict": ["agents__refunds", "count", "orders__a__b", "orders__find", "stock__find"],
        "refuse": ["agents__refunds", "count", "orders__a__b"],
    }
    assert {each.capability for each in gateway.requests} <= gateway.capabilities.keys()


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("prefix", "Unknown tool: find; there is orders__find, stock__find"),
        ("conflict", "Unknown tool: find; there is orders__find, stock__find"),
        ("refuse", "Unknown tool: find; find is offered by orders, stock: not listed"),
    ],
)
async def test_a_name_several_have_is_answered_with_those_there_are(mode: NamesMode, said: str) -> None:
    gateway = ShopGateway(*(tool("find", owner) for owner in ("orders", "stock", "secret")), prompt("find", "stock"))
    gateway.hidden["ana"] = frozenset({"tool:secret/find"})
    gateway.change(tool("gone", "stock"))
    gateway.runs["tool:stock/gone"] = failing(NotFound("it is gone"))
    desk = {"include": ["prompt:*"], "tools": {"look": {"tool": "orders/find"}}}
    async with opened(gateway, offers=Offers(names=mode, sets=offers(desk=desk).sets)) as door:
        caller = Caller(door)
        await caller.initialize()
        modern = (await caller.ask("tools/call", {"name": "find"})).json["error"]["message"]
        legacy = (await caller.say("tools/call", {"name": "find"})).json["error"]["message"]
        nobody = (await caller.ask("tools/call", {"name": "lose"})).json["error"]["message"]
        renamed = (await Caller(door, path="/mcp/sets/desk").ask("tools/call", {"name": "find"})).json["error"][
            "message"
        ]
        prompted = (await caller.ask("prompts/get", {"name": "find"})).json
        gone = (await caller.ask("tools/call", {"name": "stock__gone" if mode == "prefix" else "gone"})).json
    assert gone["error"]["message"].startswith("Unknown tool: ") and ";" not in gone["error"]["message"]
    assert (modern, legacy) == (said, said)
    assert nobody == "Unknown tool: lose"
    assert renamed == "Unknown tool: find"
    if mode == "prefix":
        assert prompted["error"]["message"] == "Unknown prompt: find; there is stock__find"


# Schemas without what is settled


def test_a_schema_forgets_hidden_arguments_wherever_it_speaks_of_them() -> None:
    schema: JsonObject = {
        "$ref": "#/$defs/base",
        "allOf": [{"properties": {"kind": {"const": "a"}}, "required": ["kind", "x"]}],
        "oneOf": [
            {"properties": {"kind": {"const": "a"}, "x": {"type": "string"}}, "required": ["kind", "x"]},
            {"properties": {"kind": {"const": "b"}, "y": {"type": "string"}}, "required": ["kind", "y"]},
        ],
        "dependentRequired": {"kind": ["x"], "x": ["kind", "z"]},
        "if": {"properties": {"kind": {"const": "a"}}},
        "then": {"required": ["x"]},
        "default": {"kind": "a"},
        "$defs": {"base": {"properties": {"kind": {"enum": ["a", "b"]}, "z": {}}}},
    }
    shown = without_arguments(schema, frozenset({"kind"}), {"kind": "a"})
    assert shown == {
        "dependentRequired": {"x": ["z"]},
        "allOf": [
            {"properties": {"z": {}}},
            {"properties": {}, "required": ["x"]},
            {"anyOf": [{"properties": {"x": {"type": "string"}}, "required": ["x"]}]},
        ],
    }
    assert not any(problems(shown, {"x": "1", "z": 1}, frozenset()))
    assert any(problems(shown, {}, frozenset()))


def test_references_in_circles_and_to_elsewhere_end() -> None:
    schema: JsonObject = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    without_arguments(schema, frozenset({"x"}), {})
    assert not any(problems(schema, {}, frozenset()))
    assert not any(problems({"$ref": "http://169.254.169.254/x"}, {}, frozenset()))
    assert with_descriptions({"$ref": "#"}, {"a": "b"}) == {"$ref": "#"}


def test_a_servers_expressions_are_not_tried_here() -> None:
    schema: JsonObject = {"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    assert not any(problems(schema, {"a": "a" * 50 + "b"}, frozenset()))


def test_what_is_said_of_wrong_arguments_holds_nothing_that_is_settled() -> None:
    preset = Preset(
        fixed={"key": "s3cret"},
        hidden=frozenset({"key"}),
        schema={"properties": {"key": {"type": "integer"}}, "maxProperties": 1},
    )
    wrong: list[dict[str, Json]] = [{}, {"a": 1}]
    for arguments in wrong:
        with pytest.raises(InvalidRequest) as refused:
            preset.filled(arguments)
        assert "s3cret" not in refused.value.message


@pytest.mark.parametrize(
    "wrong",
    [
        {"tools": {"a.b": {"tool": "orders/refund"}}},
        {"tools": {"a": {"tool": "orders"}}},
        {"tools": {"a": {"tool": "orders/a", "agent": "b"}}},
        {"tools": {"a": {}}},
        {"prompts": {"a": {"prompt": "greet"}}},
        {"tools": {"a": {"tool": "orders/a", "arguments": {"x": {"value": 1, "hidden": True}}}}},
        {"tools": {"a": {"tool": "orders/a", "arguments": {"x": {"hidden": True, "description": "y"}}}}},
        {"search": True, "tools": {"call": {"tool": "orders/a"}}},
    ],
)
def test_a_set_that_contradicts_itself_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        SetSettings.model_validate(wrong)


def test_null_is_a_value() -> None:
    choice = SetSettings.model_validate({"tools": {"a": {"tool": "o/a", "arguments": {"x": {"value": None}, "y": {}}}}})
    arguments = choice.tools["a"].arguments
    assert (arguments["x"].fixed, arguments["y"].fixed) == (True, False)
