"""Virtual servers through a real gateway: chosen, settled, changed while in use; and a server that is down beside."""

import json
import urllib.request
from collections.abc import Generator
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.from_thread import BlockingPortal

from tests.e2e import lying
from tests.e2e.conftest import Serve
from tests.e2e.gateways import Caller, Gateway, free_port, operator, text_of
from tests.fakes_upstreams import Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio

SCHEMA = {
    "type": "object",
    "properties": {"order": {"type": "string"}, "currency": {"enum": ["EUR", "USD"]}},
    "required": ["order", "currency"],
}
URI = "file:///readme"
PAGE = "file:///page"
"""Linked to, and listed by nobody."""


def behave(exchange: Exchange) -> None:
    """Two servers by their paths, alike: one tool, one resource of the same URI."""
    message = lying.message(exchange)
    cached = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    match message["method"]:
        case "server/discover":
            said: dict[str, Any] = {**lying.DISCOVERED, "capabilities": {"tools": {}, "resources": {}}}
        case "tools/list":
            said = {**cached, "tools": [{"name": "refund", "description": "Refunds.", "inputSchema": SCHEMA}]}
        case "resources/list":
            said = {**cached, "resources": [{"uri": URI, "name": "readme"}]}
        case "resources/templates/list":
            said = {**cached, "resourceTemplates": []}
        case "resources/read":
            said = {**cached, "contents": [{"uri": message["params"]["uri"], "text": exchange.target.decode()}]}
        case _:
            said = lying.spoken(json.dumps(message["params"]["arguments"]))
            said["content"].append({"type": "resource_link", "uri": PAGE, "name": "page"})
    exchange.answer(lying.answer(exchange, said))


def conflicts(gateway: Gateway) -> int:
    with urllib.request.urlopen(f"{gateway.url}/readyz", timeout=120) as ready:
        told: int = json.load(ready)["conflicts"]
        return told


@pytest.fixture(scope="module")
def upstream(portal: BlockingPortal) -> Generator[RawServer]:
    with portal.wrap_async_context_manager(raw_server(behave)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def configuration(upstream: RawServer) -> dict[str, Any]:
    root = f"http://127.0.0.1:{upstream.port}"
    refund = {"tool": "orders/refund", "arguments": {"currency": {"value": "EUR"}}}
    return {
        "gateway": {"names": "conflict"},
        "servers": {
            "orders": {"url": f"{root}/orders"},
            "stock": {"url": f"{root}/stock"},
            "down": {"url": f"http://127.0.0.1:{free_port()}/mcp"},
        },
        "sets": {
            "desk": {"tools": {"pay_back": refund, "gone": {"tool": "orders/none"}}},
            "odd": {"tools": {"refund": {"tool": "orders/refund", "arguments": {"curency": {"hidden": True}}}}},
        },
        "roles": {"all": {"allow": ["*"]}},
        "principals": {"ana": {"roles": ["all"], "key": "env:ANA_KEY"}},
        "limits": {"list_timeout_s": 2},
    }


@pytest.fixture(scope="module")
def gateway(serve: Serve, configuration: dict[str, Any]) -> Gateway:
    return serve(configuration)


async def test_a_set_is_used_and_changed_and_what_is_missing_is_named(
    gateway: Gateway, configuration: dict[str, Any]
) -> None:
    desk = "/mcp/sets/desk"
    async with Caller(gateway, "ana") as ana, operator(gateway) as olga:
        (tool,) = (await ana.modern("tools/list", {}, path=desk)).json()["result"]["tools"]
        assert (tool["name"], tool["inputSchema"]["properties"]) == ("pay_back", {"order": {"type": "string"}})
        call = {"name": "pay_back", "arguments": {"order": "A-1"}}
        said = (await ana.modern("tools/call", call, path=desk)).json()
        assert json.loads(text_of(said)) == {"order": "A-1", "currency": "EUR"}
        overruled = {"name": "pay_back", "arguments": {"order": "A-1", "currency": "USD"}}
        assert "There is no argument currency" in text_of((await ana.modern("tools/call", overruled, path=desk)).json())
        (record, *_) = await olga.records(call="tool:orders/refund", outcome="ok")
        assert record["capability"] == "tool:orders/refund"

        found = await to_thread.run_sync(lambda: gateway.drawbridge("doctor").stdout)
        assert "set desk: gone is tool:orders/none, which is not there" in found
        assert "server down: down" in found
        assert "/mcp/sets/odd: refund is not offered: the tool has no argument curency" in found
        assert await to_thread.run_sync(conflicts, gateway) == 1

        desk_again = {"desk": {"include": ["tool:stock/*"]}}
        gateway.write({**configuration, "gateway": gateway.configuration["gateway"], "sets": desk_again})
        with anyio.fail_after(120):
            while await ana.tools(desk) != ["refund"]:  # noqa: ASYNC110 - another process gets there
                await anyio.sleep(0.05)


async def test_one_server_that_is_down_costs_only_itself_and_what_two_offer_is_told_apart(gateway: Gateway) -> None:
    async with Caller(gateway, "ana") as ana:
        listed = (await ana.modern("tools/list", {})).json()["result"]
        assert [each["name"] for each in listed["tools"]] == ["orders__refund", "stock__refund"]
        assert set(listed["_meta"]["drawbridge/gaps"]) == {"down"}
        resources = (await ana.modern("resources/list", {})).json()["result"]["resources"]
        assert [each["uri"] for each in resources] == [f"orders+{URI}", f"stock+{URI}"]
        read = (await ana.modern("resources/read", {"uri": f"stock+{URI}"})).json()["result"]["contents"]
        assert read == [{"uri": f"stock+{URI}", "text": "/stock"}]
        call = {"name": "orders__refund", "arguments": {"order": "A-1", "currency": "EUR"}}
        link = (await ana.modern("tools/call", call)).json()["result"]["content"][1]["uri"]
        page = (await ana.modern("resources/read", {"uri": link})).json()["result"]["contents"]
        assert page == [{"uri": f"orders+{PAGE}", "text": "/orders"}]
        for odd in (PAGE, f"orders+file:///x/../{PAGE}", f"down+{PAGE}"):
            assert "error" in (await ana.modern("resources/read", {"uri": odd})).json()
