"""Resource templates on a real gateway: the URI that is read is the one that is judged."""

import json
from collections.abc import Generator
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from tests.e2e.conftest import Serve
from tests.e2e.gateways import Caller, Gateway, answer_in
from tests.fakes_upstreams import Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio

TEMPLATE = {"uriTemplate": "file://docs/{name}", "name": "doc"}
LISTS: dict[str, dict[str, Any]] = {
    "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"resources": {}}},
    "resources/list": {"resources": []},
    "resources/templates/list": {"resourceTemplates": [TEMPLATE]},
}


def behave(exchange: Exchange) -> None:
    asked = json.loads(exchange.body or b"{}")
    result = LISTS.get(asked.get("method")) or {
        "contents": [{"uri": asked["params"]["uri"], "text": "read"}],
        "ttlMs": 0,
        "cacheScope": "private",
    }
    said = {"jsonrpc": "2.0", "id": asked.get("id"), "result": {"resultType": "complete", **result}}
    exchange.answer(json.dumps(said).encode())


@pytest.fixture(scope="module")
def upstream(portal: BlockingPortal) -> Generator[RawServer]:
    with portal.wrap_async_context_manager(raw_server(behave)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(serve: Serve, upstream: RawServer) -> Gateway:
    return serve(
        {
            "servers": {"files": {"url": f"http://127.0.0.1:{upstream.port}/mcp"}},
            "roles": {"reader": {"allow": ["resource:files/file://docs/public*"]}},
            "principals": {"ana": {"roles": ["reader"], "key": "env:ANA_KEY"}},
        }
    )


async def read(gateway: Gateway, uri: str, **more: Any) -> dict[str, Any]:
    async with Caller(gateway, "ana") as ana:
        return answer_in(await ana.modern("resources/read", {"uri": uri, **more}))


async def test_a_template_is_read_where_a_rule_names_the_resource(gateway: Gateway) -> None:
    said = await read(gateway, "file://docs/public-prices")

    assert said["result"]["contents"] == [{"uri": "file://docs/public-prices", "text": "read"}]


@pytest.mark.parametrize("more", [{}, {"arguments": {"uri": "file://docs/public-prices"}}])
async def test_no_argument_beside_the_uri_changes_what_is_judged(gateway: Gateway, more: dict[str, Any]) -> None:
    said = await read(gateway, "file://docs/salaries", **more)

    assert said["error"]["data"]["reason"] == "DENIED_BY_POLICY"
    assert said["error"]["data"]["rule"] == "no-grant"
