"""Whatever changes what a caller may use - roles, grants, servers, a server's tools - each kind of client is told."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import anyio
import httpx2
import pytest
from anyio.abc import TaskGroup
from anyio.from_thread import BlockingPortal

from adapters.mcp.stdio_front import relay
from gateway.core.limits import Limits
from tests.e2e import lying
from tests.e2e.conftest import Serve
from tests.e2e.gateways import UP_WITHIN_S, Caller, Gateway, eventually, modern_request
from tests.fakes_upstreams import Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio

CHANGED = "notifications/tools/list_changed"
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "e2e", "version": "1"}}
Configuration: TypeAlias = dict[str, Any]


class Shop:
    """A server with some tools."""

    def __init__(self) -> None:
        self.tools = ["look", "refund"]

    def behave(self, exchange: Exchange) -> None:
        if lying.message(exchange)["method"] == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in self.tools]
            said: dict[str, Any] = {"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private"}
        else:
            said = {**lying.DISCOVERED, "capabilities": {"tools": {}}}
        exchange.answer(lying.answer(exchange, said))


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop()


@pytest.fixture(scope="module")
def upstream(portal: BlockingPortal, shop: Shop) -> Generator[RawServer]:
    with portal.wrap_async_context_manager(raw_server(shop.behave)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(serve: Serve, upstream: RawServer) -> Gateway:
    server = {"url": f"http://127.0.0.1:{upstream.port}/mcp"}
    return serve(
        {
            "servers": {"shop": server},
            "roles": {"reader": {"allow": ["tool:shop/look*", "tool:more/look"]}, "writer": {"allow": ["tool:shop/*"]}},
            "principals": {"ana": {"roles": ["reader"], "key": "env:ANA_KEY"}},
            "limits": {"refresh_s": 0.2},
        }
    )


def other_grants(configuration: Configuration) -> Configuration:
    roles = {**configuration["roles"], "reader": {"allow": ["tool:more/look"]}}
    return {**configuration, "roles": roles}


def other_roles(configuration: Configuration) -> Configuration:
    ana = {**configuration["principals"]["ana"], "roles": ["reader", "writer"]}
    return {**configuration, "principals": {"ana": ana}}


def another_server(configuration: Configuration) -> Configuration:
    return {**configuration, "servers": {**configuration["servers"], "more": configuration["servers"]["shop"]}}


CHANGES: list[tuple[Callable[[Configuration], Configuration], list[str]]] = [
    (other_roles, ["shop__look", "shop__refund"]),
    (another_server, ["more__look", "shop__look"]),
    (other_grants, []),
]


class Ears:
    """What each kind of client has been told, by kind."""

    def __init__(self) -> None:
        self.told: dict[str, list[str]] = {}

    def open(self, kind: str) -> Callable[[str], None]:
        return self.told.setdefault(kind, []).append

    async def all_told(self) -> None:
        await eventually(lambda: all(self.told.values()))

    def forget(self) -> None:
        for each in self.told.values():
            each.clear()


async def listen(gateway: Gateway, ana: Caller, hear: Callable[[str], None]) -> None:
    body, headers = modern_request("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    usual = [*_usual(ana), *headers]
    async with _client(gateway) as http, http.stream("POST", "/mcp", content=body, headers=usual) as answer:
        await _read(answer, hear)


async def get(gateway: Gateway, ana: Caller, hear: Callable[[str], None]) -> None:
    hello = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}).encode()
    async with _client(gateway) as http:
        opened = await http.post("/mcp", content=hello, headers=_usual(ana))
        session = ("mcp-session-id", opened.headers["mcp-session-id"])
        async with http.stream("GET", "/mcp", headers=[*_usual(ana), session]) as answer:
            await _read(answer, hear)


async def by_stdio(gateway: Gateway, ana: Caller, hear: Callable[[str], None]) -> None:
    async def lines() -> AsyncIterator[bytes]:
        yield json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}).encode()
        yield b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
        await anyio.sleep_forever()

    async def write(line: bytes) -> None:
        hear(json.loads(line).get("method", ""))

    url, credential = f"{gateway.url}/mcp", f"Bearer {ana.key}"
    await relay(lines(), write, endpoint_url=url, authorization=credential, limits=Limits())


def _usual(ana: Caller) -> list[tuple[str, str]]:
    accepted = ("accept", "application/json, text/event-stream")
    return [("authorization", f"Bearer {ana.key}"), ("content-type", "application/json"), accepted]


def _client(gateway: Gateway) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=UP_WITHIN_S)


async def _read(answer: httpx2.Response, hear: Callable[[str], None]) -> None:
    hear("open")
    async for line in answer.aiter_lines():
        if line.startswith("data: {"):
            hear(json.loads(line.removeprefix("data: ")).get("method", ""))


@asynccontextmanager
async def listening(gateway: Gateway, ana: Caller) -> AsyncGenerator[Ears]:
    ears = Ears()
    async with anyio.create_task_group() as group:
        _start(group, gateway, ana, ears)
        await ears.all_told()
        yield ears
        group.cancel_scope.cancel()


def _start(group: TaskGroup, gateway: Gateway, ana: Caller, ears: Ears) -> None:
    for each in (listen, get, by_stdio):
        group.start_soon(each, gateway, ana, ears.open(each.__name__))


async def told(ears: Ears, ana: Caller, wanted: list[str]) -> None:
    """Every client has been told, and finds this."""
    await eventually(lambda: all(CHANGED in each for each in ears.told.values()))
    with anyio.fail_after(UP_WITHIN_S):
        while await ana.tools() != wanted:  # noqa: ASYNC110 - another process gets there
            await anyio.sleep(0.05)


@pytest.mark.parametrize(("change", "wanted"), CHANGES)
async def test_every_client_is_told_what_a_reload_changed_for_it(
    change: Callable[[Configuration], Configuration], wanted: list[str], gateway: Gateway
) -> None:
    async with Caller(gateway, "ana") as ana, listening(gateway, ana) as ears:
        assert await ana.tools() == ["shop__look"]
        for configuration, expected in ((change(gateway.configuration), wanted), (gateway.configuration, BEFORE)):
            ears.forget()
            gateway.write(configuration)
            await told(ears, ana, expected)


BEFORE = ["shop__look"]


async def test_every_client_is_told_what_a_server_changed(gateway: Gateway, shop: Shop) -> None:
    async with Caller(gateway, "ana") as ana, listening(gateway, ana) as ears:
        ears.forget()
        shop.tools.append("look_closer")
        await told(ears, ana, ["shop__look", "shop__look_closer"])
