"""Lists, discovery and streams of changes through the MCP door."""

from typing import Any

import anyio
import pytest

from adapters.mcp.exchange import Pace
from adapters.mcp.wire import FOLLOWED
from gateway.core.errors import Unauthenticated
from gateway.core.json import JsonObject
from gateway.core.limits import Limits
from gateway.core.model import Capability, CapabilityKind, Emit, Log, Principal, Request, Result, principal
from gateway.core.ports.gateway import Identity
from tests.fakes_mcp_door import (
    BOB,
    Badges,
    Caller,
    Reply,
    ShopGateway,
    agent,
    opened,
    prompt,
    resource,
    template,
    together,
    tool,
    workflow,
)

pytestmark = pytest.mark.anyio


def names(reply: Reply, kind: str = "tools", key: str = "name") -> list[str]:
    return [each[key] for each in reply.json["result"][kind]]


async def test_only_the_name_of_a_definition_is_changed() -> None:
    gateway = ShopGateway(tool("refund", future={"kept": None}, outputSchema={"type": "array"}, name2=1.0))
    async with opened(gateway) as door:
        reply = await Caller(door).ask("tools/list")
    assert reply.json["result"]["tools"] == [
        {
            "name": "orders__refund",
            "description": "does refund",
            "inputSchema": {"type": "object"},
            "future": {"kept": None},
            "outputSchema": {"type": "array"},
            "name2": 1.0,
        }
    ]


async def test_a_list_holds_what_its_caller_may_call_and_nothing_else() -> None:
    gateway = ShopGateway(tool("refund"), tool("look"), agent("refunds"), workflow("help"))
    gateway.hidden["bob"] = frozenset({"tool:orders/refund", "workflow:help"})
    async with opened(gateway) as door:
        ana = await Caller(door).ask("tools/list")
        bob = await Caller(door, key="bob").ask("tools/list")
    assert names(ana) == ["agents__refunds", "orders__look", "orders__refund", "workflows__help"]
    assert names(bob) == ["agents__refunds", "orders__look"]


async def test_a_modern_list_says_for_whom_and_how_long_it_holds_and_a_legacy_one_does_not() -> None:
    async with opened(ShopGateway(tool("refund"))) as door:
        caller = Caller(door)
        await caller.initialize()
        modern = (await caller.ask("tools/list")).json["result"]
        legacy = (await caller.say("tools/list")).json["result"]
    assert (modern["resultType"], modern["cacheScope"]) == ("complete", "private")
    assert modern["ttlMs"] > 0
    assert set(legacy) == {"tools"}


async def test_an_agent_is_a_tool_that_takes_a_message() -> None:
    schema: JsonObject = {"type": "object", "properties": {"order": {"type": "string"}}}
    own = Capability(
        name="agent:own", kind="agent", owner="own", local="own", title="Own", input_schema=schema, output_schema=schema
    )
    async with opened(ShopGateway(agent("refunds"), own)) as door:
        reply = await Caller(door).ask("tools/list")
    mine, plain = reply.json["result"]["tools"]
    assert mine == {
        "name": "agents__own",
        "title": "Own",
        "description": "The agent own.",
        "inputSchema": schema,
        "outputSchema": schema,
    }
    assert plain["description"] == "handles refunds"
    assert plain["inputSchema"]["required"] == ["message"]
    assert set(plain["inputSchema"]["properties"]) == {"message", "data"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/mcp/orders", ["refund"]),
        ("/mcp/agents", ["refunds"]),
        ("/mcp/workflows", ["help"]),
        ("/mcp", ["agents__refunds", "orders__refund", "stock__count", "workflows__help"]),
        ("/mcp/", ["agents__refunds", "orders__refund", "stock__count", "workflows__help"]),
    ],
)
async def test_an_endpoint_of_its_own_offers_plain_names(path: str, expected: list[str]) -> None:
    gateway = ShopGateway(tool("refund"), tool("count", "stock"), agent("refunds"), workflow("help"))
    async with opened(gateway) as door:
        caller = Caller(door, path=path)
        reply = await caller.ask("tools/list")
        await caller.ask("tools/call", {"name": expected[0]})
    assert names(reply) == expected
    assert gateway.requests[0].capability in gateway.capabilities


@pytest.mark.parametrize("method", ["tools/list", "server/discover"])
async def test_an_endpoint_nobody_offers_anything_at_does_not_exist(method: str) -> None:
    async with opened(ShopGateway(tool("refund"))) as door:
        reply = await Caller(door, path="/mcp/nothing").ask(method)
    assert reply.status == 404


@pytest.mark.parametrize("path", ["/mcpx", "/mcp/a/b", "/", "/agents/x"])
async def test_other_paths_are_not_the_doors(path: str) -> None:
    async with opened(ShopGateway()) as door:
        assert (await Caller(door, path=path).ask("tools/list")).status == 404


async def test_what_is_missing_is_named() -> None:
    gateway = ShopGateway(tool("refund"))
    gateway.missing = {"stock": "timed out", "orders": "stale"}
    async with opened(gateway) as door:
        everywhere = (await Caller(door).ask("tools/list")).json["result"]
        here = (await Caller(door, path="/mcp/stock").ask("tools/list")).json["result"]
        gateway.missing = {}
        later = (await Caller(door).ask("tools/list")).json["result"]
    assert everywhere["_meta"]["drawbridge/gaps"] == {"stock": "timed out", "orders": "stale"}
    assert here["_meta"]["drawbridge/gaps"] == {"stock": "timed out"}
    assert "_meta" not in later


async def test_what_is_missing_of_servers_a_caller_may_see_nothing_of_is_not_named() -> None:
    gateway = ShopGateway(tool("refund"))
    gateway.missing = {"stock": "timed out", "orders": "stale"}
    gateway.hidden["bob"] = frozenset({"stock"})
    async with opened(gateway) as door:
        everywhere = (await Caller(door, key="bob").ask("tools/list")).json["result"]
        there = await Caller(door, key="bob", path="/mcp/stock").ask("tools/list")
    assert everywhere["_meta"]["drawbridge/gaps"] == {"orders": "stale"}
    assert there.status == 404


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_pages_lead_through_the_whole_list(era: str) -> None:
    gateway = ShopGateway(*(tool(f"t{number}") for number in range(5)))
    async with opened(gateway, limits=Limits(page_size=2)) as door:
        caller = Caller(door)
        await caller.initialize()
        ask = caller.ask if era == "modern" else caller.say
        found: list[str] = []
        params: JsonObject = {}
        for _ in range(3):
            reply = await ask("tools/list", params)
            found += names(reply)
            params = {"cursor": reply.json["result"].get("nextCursor")}
    assert found == [f"orders__t{number}" for number in range(5)]
    assert params == {"cursor": None}


@pytest.mark.parametrize("cursor", ["", "AAAA", "x" * 1000, 7, {"a": 1}])
async def test_a_cursor_made_up_is_refused(cursor: Any) -> None:
    gateway = ShopGateway(*(tool(f"t{number}") for number in range(3)))
    async with opened(gateway, limits=Limits(page_size=2)) as door:
        reply = await Caller(door).ask("tools/list", {"cursor": cursor})
    assert (reply.status, reply.json["error"]["code"]) == (400, -32602)


async def test_a_cursor_holds_for_its_caller_and_its_version_only() -> None:
    gateway = ShopGateway(*(tool(f"t{number}") for number in range(3)))
    async with opened(gateway, limits=Limits(page_size=2)) as door:
        caller = Caller(door)
        cursor = (await caller.ask("tools/list")).json["result"]["nextCursor"]
        for_bob = await Caller(door, key="bob").ask("tools/list", {"cursor": cursor})
        for_prompts = await caller.ask("prompts/list", {"cursor": cursor})
        mine = await caller.ask("tools/list", {"cursor": cursor})
        gateway.change(tool("t9"))
        stale = await caller.ask("tools/list", {"cursor": cursor})
    assert names(mine) == ["orders__t2"]
    assert [each.json["error"]["code"] for each in (for_bob, for_prompts, stale)] == [-32602] * 3


async def test_the_next_page_may_be_asked_of_another_gateway() -> None:
    first, second = (ShopGateway(*(tool(f"t{number}") for number in range(3))) for _ in range(2))
    second.change()
    limits = Limits(page_size=2)
    async with opened(first, limits=limits) as here, opened(second, limits=limits) as there:
        cursor = (await Caller(here).ask("tools/list")).json["result"]["nextCursor"]
        rest = await Caller(there).ask("tools/list", {"cursor": cursor})
    assert names(rest) == ["orders__t2"]


async def test_a_warm_list_asks_nobody_again() -> None:
    gateway = ShopGateway(*(tool(f"t{number}") for number in range(50)))
    async with opened(gateway) as door:
        caller = Caller(door)
        first = await caller.ask("tools/list")
        asked = gateway.listings
        second = await caller.ask("tools/list")
    assert gateway.listings == asked
    assert first.body == second.body


async def test_lists_are_recorded() -> None:
    gateway = ShopGateway(tool("refund"))
    async with opened(gateway) as door:
        await Caller(door).ask("tools/list")
    (record,) = gateway.records
    assert (record.operation, record.phase, record.protocol, record.tenant) == ("tools/list", "event", "mcp", "default")


async def test_discovery_tells_what_is_served() -> None:
    gateway = ShopGateway(tool("refund"), prompt("reply", "stock"))
    gateway.abouts = {
        "stock": {
            "capabilities": {"completions": {}, "extensions": {"io.x/ui": {}, "io.modelcontextprotocol/tasks": {}}}
        },
        "orders": {"instructions": "refund with care"},
    }
    async with opened(gateway) as door:
        everywhere = (await Caller(door).ask("server/discover")).json["result"]
        here = (await Caller(door, path="/mcp/orders").ask("server/discover")).json["result"]
    assert everywhere["supportedVersions"] == ["2026-07-28"]
    assert everywhere["capabilities"]["completions"] == {}
    assert everywhere["capabilities"]["extensions"] == {"io.x/ui": {}, "io.modelcontextprotocol/tasks": {}}
    assert everywhere["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "drawbridge"
    assert "refund with care" not in everywhere["instructions"]
    assert here["instructions"] == "refund with care"
    assert "completions" not in here["capabilities"]


LISTEN: JsonObject = {
    "notifications": {"toolsListChanged": True, "promptsListChanged": True, "resourceSubscriptions": ["x"]}
}
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


async def test_a_subscription_is_acknowledged_and_tells_of_what_its_caller_sees() -> None:
    gateway = ShopGateway(tool("refund"))
    gateway.hidden["ana"] = frozenset({"tool:orders/secret"})
    async with opened(gateway) as door, together() as group:
        caller = Caller(door)
        visit = caller.modern("subscriptions/listen", LISTEN)
        group.start_soon(caller.send, visit)
        await visit.until(b"acknowledged")
        gateway.change(tool("secret"))
        await visit.until(b"keep-alive")
        gateway.change(resource("file:///not-asked-for"))
        gateway.change(tool("open"))
        await visit.until(b"tools/list_changed")
        gateway.change(prompt("reply"))
        await visit.until(b"prompts/list_changed")
        door.stop()
    acknowledged, tools, prompts, last = visit.reply.events
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
    assert acknowledged["params"]["notifications"] == {"toolsListChanged": True, "promptsListChanged": True}
    assert [each["method"] for each in (tools, prompts)] == [
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
    ]
    assert {each["params"]["_meta"][SUBSCRIPTION] for each in (acknowledged, tools, prompts)} == {1}
    assert last["result"]["_meta"][SUBSCRIPTION] == 1
    assert visit.reply.complete


async def test_a_subscription_ends_with_its_client() -> None:
    async with opened(ShopGateway(tool("refund")), limits=Limits(streams=4)) as door:
        caller = Caller(door)
        for _ in range(6):
            async with together() as group:
                visit = caller.modern("subscriptions/listen", LISTEN)
                group.start_soon(caller.send, visit)
                await visit.until(b"acknowledged")
                visit.left.set()


async def test_streams_are_bounded_for_one_caller_and_for_all() -> None:
    async with (
        opened(ShopGateway(tool("refund")), limits=Limits(streams=4)) as door,
        together() as group,
    ):
        caller = Caller(door)
        visit = caller.modern("subscriptions/listen", LISTEN)
        group.start_soon(caller.send, visit)
        await visit.until(b"acknowledged")
        refused = await caller.ask("subscriptions/listen", LISTEN)
        other = Caller(door, key="bob")
        second = other.modern("subscriptions/listen", LISTEN)
        group.start_soon(other.send, second)
        await second.until(b"acknowledged")
        door.stop()
    assert refused.json["error"]["code"] == 1429
    assert refused.headers[b"retry-after"] == b"5"


async def test_a_subscription_ends_when_its_credential_does() -> None:
    badges = Badges()
    gateway = ShopGateway(tool("refund"))
    async with opened(gateway, badges=badges, pace=Pace(keep_alive_s=0.01)) as door, together() as group:
        caller = Caller(door)
        visit = caller.modern("subscriptions/listen", LISTEN)
        group.start_soon(caller.send, visit)
        await visit.until(b"keep-alive")
        del badges.known[b"Bearer ana"]
    assert visit.reply.complete
    assert "result" in visit.reply.events[-1]


async def test_a_subscription_ends_when_its_caller_becomes_somebody_else() -> None:
    badges = Badges()
    async with (
        opened(ShopGateway(tool("refund")), badges=badges, pace=Pace(keep_alive_s=0.01)) as door,
        together() as group,
    ):
        caller = Caller(door)
        visit = caller.modern("subscriptions/listen", LISTEN)
        group.start_soon(caller.send, visit)
        await visit.until(b"acknowledged")
        badges.known[b"Bearer ana"] = Identity(principal=BOB)
    assert visit.reply.complete


PROMOTED = principal("ana", roles=frozenset({"lead"}))


class ByRole(ShopGateway):
    """What `hidden` hides it hides from roles."""

    def visible(
        self, principal: Principal, kinds: frozenset[CapabilityKind], owner: str = ""
    ) -> tuple[Capability, ...]:
        found = super().visible(principal, kinds, owner)
        return found if "lead" in principal.roles else tuple(each for each in found if each.local != "secret")


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_other_roles_are_told_as_changed_lists_and_the_stream_goes_on(era: str) -> None:
    badges, gateway = Badges(), ByRole(tool("refund"), tool("secret"))
    async with opened(gateway, badges=badges) as door, together() as group:
        caller = Caller(door)
        if era == "modern":
            visit = caller.modern("subscriptions/listen", LISTEN)
        else:
            await caller.initialize()
            visit = caller.visit(b"", method="GET", mcp_session_id=caller.session)
        group.start_soon(caller.send, visit)
        await visit.until(b"acknowledged" if era == "modern" else b": keep-alive")
        badges.known[b"Bearer ana"] = Identity(principal=PROMOTED)
        gateway.change()
        await visit.until(b"tools/list_changed")
        gateway.change(prompt("reply"))
        await visit.until(b"prompts/list_changed")
        door.stop()
    told = [each["method"] for each in visit.reply.events if "list_changed" in each.get("method", "")]
    assert told == ["notifications/tools/list_changed", "notifications/prompts/list_changed"]


@pytest.mark.parametrize("version", ["2024-11-05", "2025-11-25"])
async def test_a_session_is_told_what_changed_while_it_had_no_stream(version: str) -> None:
    gateway = ShopGateway(tool("refund"))
    async with opened(gateway) as door, together() as group:
        caller = Caller(door)
        await caller.initialize(version)
        gateway.change(tool("cancel"))
        for kind in ("tools", "prompts"):
            visit = caller.visit(b"", method="GET", mcp_session_id=caller.session)
            group.start_soon(caller.send, visit)
            await visit.until(b"list_changed")
            visit.left.set()
            await anyio.wait_all_tasks_blocked()
            assert [each["method"] for each in visit.reply.events] == [f"notifications/{kind}/list_changed"]
            gateway.change(prompt("reply"))


@pytest.mark.parametrize(
    "about", [{}, {"capabilities": {"resources": {"subscribe": True}}}], ids=["silent", "declared"]
)
async def test_nothing_is_told_of_a_resource_that_is_no_longer_seen(about: JsonObject) -> None:
    gateway = ShopGateway(resource("file:///a"), resource("file:///b"))
    gateway.abouts["orders"] = about
    tellers: dict[str, Emit] = {}
    following = {uri: anyio.Event() for uri in ("file:///a", "file:///b")}
    for uri in following:

        async def run(request: Request, emit: Emit, uri: str = uri) -> Result:
            await emit(Log(level="debug", text=FOLLOWED))
            tellers[uri] = emit
            following[uri].set()
            await anyio.sleep_forever()
            raise AssertionError

        gateway.runs[f"resource:orders/{uri}"] = run
    wanted: JsonObject = {"notifications": {"resourceSubscriptions": [*following]}}
    async with opened(gateway) as door, together() as group:
        caller = Caller(door)
        visit = caller.modern("subscriptions/listen", wanted)
        group.start_soon(caller.send, visit)
        for each in following.values():
            await each.wait()
        gateway.hidden["ana"] = frozenset({"resource:orders/file:///a"})
        gateway.change()
        for uri in following:
            await tellers[uri](Log(level="info", text="changed"))
        await visit.until(b"resources/updated")
        door.stop()
    assert [each["params"]["uri"] for each in visit.reply.events if "uri" in each.get("params", {})] == ["file:///b"]


@pytest.mark.parametrize("wanted", [None, [], "all"])
async def test_a_subscription_names_what_it_wants(wanted: Any) -> None:
    async with opened(ShopGateway()) as door:
        reply = await Caller(door).ask("subscriptions/listen", {"notifications": wanted})
    assert (reply.status, reply.json["error"]["code"]) == (400, -32602)


async def test_a_subscription_is_never_plain_json() -> None:
    async with opened(ShopGateway()) as door:
        caller = Caller(door)
        reply = await caller.send(caller.modern("subscriptions/listen", LISTEN, accept="application/json"))
    assert reply.status == 406


async def test_the_badges_refuse_strangers() -> None:
    with pytest.raises(Unauthenticated):
        await Badges().authenticate(b"")


async def test_templates_are_listed() -> None:
    async with opened(ShopGateway(template("db://{t}"))) as door:
        reply = await Caller(door).ask("resources/templates/list")
    assert names(reply, "resourceTemplates", "uriTemplate") == ["db://{t}"]
