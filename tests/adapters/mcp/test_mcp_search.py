"""Three tools in place of many: what they find, tell and call."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import pytest

from adapters.mcp.exchange import Pace
from adapters.mcp.offers import Offers
from adapters.mcp.set_settings import SetSettings
from adapters.mcp.wire import Params
from adapters.mcp.word_index import WordIndex
from gateway.core.errors import Denied, Unavailable
from gateway.core.json import Json, JsonObject
from gateway.core.limits import Limits
from gateway.core.ports.tool_search import ToolDocument
from tests.fakes_mcp_door import Caller, Reply, ShopGateway, agent, failing, opened, tool, workflow

pytestmark = pytest.mark.anyio

MIRRORED: JsonObject = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}


def shop() -> ShopGateway:
    return ShopGateway(
        tool("refund", schema=MIRRORED, description="Pays an order back to whoever paid for it. " + "x" * 300),
        tool("countStock", "stock", description="How many of an article there are.", title="Inventory"),
        tool("send_mail", "mail", description="Sends a letter."),
        agent("refunds"),
        workflow("help"),
    )


def offers(**more: Any) -> Offers:
    return Offers(sets={"lean": SetSettings(search=True, **more)})


def said(reply: Reply) -> Any:
    return json.loads(reply.json["result"]["content"][0]["text"])


async def ask(caller: Caller, name: str, arguments: Any) -> Reply:
    return await caller.ask("tools/call", {"name": name, "arguments": arguments})


async def test_the_list_is_three_tools_and_stays_as_it_is() -> None:
    gateway = shop()
    async with opened(gateway, offers=offers()) as door:
        caller = Caller(door, path="/mcp/sets/lean")
        before = await caller.ask("tools/list")
        gateway.change(tool("more"))
        after = await caller.ask("tools/list")
        about = (await caller.ask("server/discover")).json["result"]
    assert [each["name"] for each in before.json["result"]["tools"]] == ["search", "describe", "call"]
    assert before.json["result"]["tools"] == after.json["result"]["tools"]
    assert "`search` finds them" in about["instructions"]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("pay back", "orders__refund"),
        ("refunding an order", "orders__refund"),
        ("inventory", "stock__countStock"),
        ("stock", "stock__countStock"),
        ("LETTERS", "mail__send_mail"),
        ("region", "orders__refund"),
        ("handles", "agents__refunds"),
    ],
)
async def test_tools_are_found_by_their_words(query: str, first: str) -> None:
    async with opened(shop(), offers=offers()) as door:
        found = said(await ask(Caller(door, path="/mcp/sets/lean"), "search", {"query": query}))
    assert found["tools"][0]["name"] == first
    assert found["of"] == 5
    assert all(len(each["description"]) <= 160 for each in found["tools"])


@pytest.mark.parametrize("query", ["", "???", 'x" OR "y', "*", "zzzz", "NEAR(qq ww)", "a" * 10_000, "\x00"])
async def test_a_query_that_finds_nothing_or_is_no_query_is_answered(query: str) -> None:
    async with opened(shop(), offers=offers()) as door:
        found = said(await ask(Caller(door, path="/mcp/sets/lean"), "search", {"query": query}))
    assert found["tools"] == []
    assert "hint" in found


async def test_a_search_finds_only_what_its_caller_may_use_and_as_many_as_it_asks_for() -> None:
    gateway = shop()
    gateway.hidden["bob"] = frozenset({"tool:orders/refund"})
    async with opened(gateway, offers=offers()) as door:
        bob = said(await ask(Caller(door, key="bob", path="/mcp/sets/lean"), "search", {"query": "refund"}))
        one = said(await ask(Caller(door, path="/mcp/sets/lean"), "search", {"query": "refund order", "limit": 1}))
    assert [each["name"] for each in bob["tools"]] == ["agents__refunds"]
    assert len(one["tools"]) == 1


async def test_what_is_found_is_described_in_full() -> None:
    async with opened(shop(), offers=offers()) as door:
        caller = Caller(door, path="/mcp/sets/lean")
        told = said(await ask(caller, "describe", {"names": ["orders__refund", "nope"]}))
    assert told["unknown"] == ["nope"]
    assert told["tools"][0]["inputSchema"] == MIRRORED
    assert len(told["tools"][0]["description"]) > 300


async def test_a_call_is_one_of_the_real_tool_with_its_headers() -> None:
    gateway = shop()
    gateway.runs["tool:stock/countStock"] = failing(Denied("no", detail={"policy": "access", "rule": "x.deny[0]"}))
    async with opened(gateway, offers=offers()) as door:
        caller = Caller(door, path="/mcp/sets/lean")
        await ask(caller, "call", {"name": "orders__refund", "arguments": {"region": "eu"}})
        await ask(caller, "call", {"name": "workflows__help"})
        refused = await ask(caller, "call", {"name": "stock__countStock", "arguments": {}})
        unknown = await ask(caller, "call", {"name": "orders__nope"})
    first = gateway.requests[0]
    assert [each.capability for each in gateway.requests[:2]] == ["tool:orders/refund", "workflow:help"]
    assert isinstance(first.body, Params)
    assert first.body.content().structured == {"region": "eu"}
    assert first.body.headers == ((b"mcp-param-region", b"eu"),)
    assert "x.deny[0]" in refused.json["result"]["content"][0]["text"]
    assert unknown.json["error"]["code"] == -32602
    assert [each.operation for each in gateway.records] == []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("search", {}),
        ("search", {"query": 7}),
        ("describe", {"names": []}),
        ("describe", {"names": [7]}),
        ("call", {}),
        ("call", {"name": 7}),
        ("call", {"name": "orders__refund", "arguments": "text"}),
        ("orders__refund", {}),
    ],
)
async def test_wrong_arguments_are_refused(name: str, arguments: Any) -> None:
    gateway = shop()
    async with opened(gateway, offers=offers()) as door:
        reply = await ask(Caller(door, path="/mcp/sets/lean"), name, arguments)
    assert reply.json["error"]["code"] == -32602
    assert gateway.requests == []


async def test_looking_is_noted_and_legacy_clients_look_as_well() -> None:
    gateway = shop()
    async with opened(gateway, offers=offers()) as door:
        caller = Caller(door, path="/mcp/sets/lean")
        await caller.initialize()
        reply = await caller.say("tools/call", {"name": "search", "arguments": {"query": "refund"}})
        await caller.say("tools/call", {"name": "call", "arguments": {"name": "orders__refund"}})
    assert "resultType" not in reply.json["result"]
    assert [each.operation for each in gateway.records] == ["initialize", "tools/call"]
    assert [each.capability for each in gateway.requests] == ["tool:orders/refund"]


class Backwards:
    """A search that has its own opinion, and is down when told."""

    def __init__(self, options: Mapping[str, Json]) -> None:
        self.options = options
        self.documents: Sequence[ToolDocument] = ()

    async def index(self, documents: Sequence[ToolDocument]) -> "Backwards":
        if self.options.get("down"):
            raise Unavailable("the index is down")
        self.documents = documents
        return self

    async def search(self, query: str, limit: int) -> Sequence[str]:
        return ["gone", *sorted((each.name for each in self.documents), reverse=True)[:limit]]


@pytest.mark.parametrize("down", [False, True])
async def test_another_engine_may_find_and_fail(down: bool) -> None:
    settings = SetSettings(search=True, engine="backwards", options={"down": down})
    own = Offers(sets={"lean": settings}, engines={"backwards": Backwards})
    async with opened(shop(), offers=own) as door:
        reply = await ask(Caller(door, path="/mcp/sets/lean"), "search", {"query": "x", "limit": 1})
    if down:
        assert reply.json["result"]["isError"] is True
    else:
        assert [each["name"] for each in said(reply)["tools"]] == ["workflows__help"]


class Stuck(Backwards):
    async def search(self, query: str, limit: int) -> Sequence[str]:
        await anyio.sleep_forever()
        return ()


async def test_an_engine_that_hangs_meets_the_deadline_of_a_call() -> None:
    own = Offers(sets={"lean": SetSettings(search=True, engine="stuck")}, engines={"stuck": Stuck})
    pace = Pace(attend_after_s=0.01, keep_alive_s=0.02, overdue_s=0.0)
    async with opened(shop(), offers=own, limits=Limits(call_timeout_s=0.05), pace=pace) as door:
        caller = Caller(door, path="/mcp/sets/lean")
        reply = await ask(caller, "search", {"query": "x"})
    assert b'"code":1504' in reply.body


async def test_an_index_is_made_once_and_anew_when_the_tools_change() -> None:
    gateway = shop()
    async with opened(gateway, offers=offers()) as door:
        caller = Caller(door, path="/mcp/sets/lean")
        assert said(await ask(caller, "search", {"query": "later"}))["tools"] == []
        gateway.change(tool("later"))
        assert said(await ask(caller, "search", {"query": "later"}))["tools"] != []


async def test_equal_fits_are_told_in_one_order() -> None:
    documents = [ToolDocument(name=f"t{n}", title="", description="same", arguments="") for n in range(5)]
    assert await WordIndex(documents).search("same", 3) == ["t0", "t1", "t2"]
