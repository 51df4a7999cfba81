"""Legacy servers that were started again: they know no session of before, whichever status they say it with."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from adapters.mcp import client_sse
from adapters.mcp.client_http import McpHttpUpstream
from adapters.mcp.settings import ServerSettings
from gateway.core.errors import InvalidRequest, UpstreamFailed
from gateway.core.json import JsonObject, json_object
from gateway.core.model import Event
from tests.adapters.mcp.test_mcp_client_http import CHANGED, DONE, LEGACY, bench, error, legacy, message, result
from tests.adapters.mcp.test_mcp_client_sse import INIT, OldServer, event
from tests.fakes_mcp_client import a_request, call, params, parts, said, tool
from tests.fakes_mcp_door import together
from tests.fakes_upstreams import Exchange, raw_server

pytestmark = pytest.mark.anyio

ANNOUNCING: JsonObject = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}
UPDATED = b'{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"note://a"}}'
NO_SESSION = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"No valid session ID provided"}}'


class Restarting:
    """A server whose sessions are forgotten when `restart` is called; `status` answers whoever names one of them."""

    def __init__(self, status: int, *, streams: bool = True) -> None:
        self.status = status
        self.streams = streams
        self.number = 0
        self.own: list[bytes] = []
        """Sessions of whoever can be asked nothing: the gateway's own, and those of the tests' callers."""
        self.known: set[bytes] = set()
        self.opened: list[Exchange] = []
        self.subscribed: list[tuple[bytes, object]] = []
        self.stirred = anyio.Event()

    def restart(self) -> None:
        self.known.clear()
        for each in self.opened:
            each.close()

    def behave(self, exchange: Exchange) -> None:
        session, said = exchange.headers.get(b"mcp-session-id", b""), message(exchange)
        if said.get("method") == "server/discover":
            exchange.answer(b"Bad Request: no session", status=400, content_type="text/plain")
        elif said.get("method") == "initialize":
            self.number += 1
            self.known.add(b"s%d" % self.number)
            if not json_object(json_object(said["params"])["capabilities"]):
                self.own.append(b"s%d" % self.number)
            more = f"mcp-session-id: s{self.number}\r\n"
            exchange.answer(result(exchange, {**LEGACY, "capabilities": ANNOUNCING}), more=more)
        elif session not in self.known:
            exchange.answer(NO_SESSION, status=self.status)
        elif exchange.method == b"GET":
            if not self.streams:
                exchange.answer(b"", status=self.status)
                return
            self.opened.append(exchange)
            exchange.stream()
        elif "id" not in said:
            exchange.answer(b"", status=202)
        else:
            if said["method"] == "resources/subscribe":
                self.subscribed.append((session, said["params"]))
            exchange.answer(result(exchange, DONE if said["method"] == "tools/call" else {"tools": []}))
        self._stir()

    def _stir(self) -> None:
        woken, self.stirred = self.stirred, anyio.Event()
        woken.set()

    async def streaming(self, count: int) -> Exchange:
        """The stream opened as number `count`."""
        while len(self.opened) < count:
            await self.stirred.wait()
        return self.opened[count - 1]


@asynccontextmanager
async def attended(server: Restarting) -> AsyncGenerator[tuple[McpHttpUpstream, list[str]]]:
    changed: list[str] = []
    async with raw_server(server.behave) as raw:
        upstream = McpHttpUpstream("shop", ServerSettings(url=raw.url), parts(), lambda: changed.append("lists"))
        with anyio.fail_after(30):
            await upstream.capabilities()
            yield upstream, changed
        await upstream.aclose()


@pytest.mark.parametrize("status", [404, 400])
async def test_a_session_that_the_server_no_longer_knows_gives_way_to_one_that_is_heard(status: int) -> None:
    server, told = Restarting(status), anyio.Event()

    async def emit(event: Event) -> None:
        if getattr(event, "level", "") == "info":
            told.set()

    async with attended(server) as (upstream, changed), together() as group:
        server.restart()
        about = tool("note://a", kind="resource", name="resource:shop/note://a")
        group.start_soon(upstream.call, a_request(operation="subscribe"), about, emit)
        group.start_soon(upstream.attend)
        stream = await server.streaming(1)
        while not server.subscribed:
            await server.stirred.wait()
        stream.event(CHANGED)
        stream.event(UPDATED)
        await told.wait()
        assert (len(server.own), changed) == (2, ["lists"])
        assert server.subscribed == [(server.own[1], {"uri": "note://a"})]
        assert stream.headers[b"mcp-session-id"] == server.own[1]
        group.cancel_scope.cancel()


async def test_what_was_missed_while_a_server_was_started_again_is_read_again() -> None:
    server = Restarting(404)
    async with attended(server) as (upstream, changed), together() as group:
        group.start_soon(upstream.attend)
        await server.streaming(1)
        server.restart()
        stream = await server.streaming(2)
        while not changed:
            await anyio.wait_all_tasks_blocked()
        assert stream.headers[b"mcp-session-id"] == server.own[1]
        assert len(server.own) == 2
        group.cancel_scope.cancel()


@pytest.mark.parametrize("status", [404, 405])
async def test_a_server_without_such_a_stream_is_not_asked_for_it_again(status: int) -> None:
    server = Restarting(status, streams=False)
    async with attended(server) as (upstream, _):
        await upstream.attend()
    assert len(server.own) == (2 if status == 404 else 1), "once, where the session may be what is missing"


@pytest.mark.parametrize("status", [404, 400])
async def test_a_call_in_a_session_from_before_is_made_in_another(status: int) -> None:
    server = Restarting(status)
    async with attended(server) as (upstream, _):
        assert said(await call(upstream, tool(), a_request(params("legacy")))) == DONE
        server.restart()
        assert said(await call(upstream, tool(), a_request(params("legacy")))) == DONE
    assert len(server.own) == 3


async def test_a_call_that_is_wrong_is_not_made_again() -> None:
    calls: list[Exchange] = []

    def then(exchange: Exchange) -> None:
        calls.append(exchange)
        exchange.answer(error(exchange, -32602), status=400)

    async with bench(legacy(then)) as (_, upstream):
        with pytest.raises(InvalidRequest):
            await call(upstream, tool(), a_request(params("legacy")))
    assert len(calls) == 1


async def test_a_server_that_refuses_every_session_fails_the_call() -> None:
    def then(exchange: Exchange) -> None:
        exchange.answer(b"Bad Request", status=400, content_type="text/plain")

    async with bench(legacy(then)) as (server, upstream):
        with pytest.raises(UpstreamFailed):
            await call(upstream, tool(), a_request(params("legacy")))
        assert sum(message(each).get("method") == "tools/call" for each in server.exchanges) == 2


async def test_over_the_older_transport_a_stream_that_ended_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_sse, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setitem(INIT, "capabilities", ANNOUNCING)
    old, changed = OldServer(), [anyio.Event(), anyio.Event()]
    waiting = iter(changed)
    async with raw_server(old.behave) as raw:
        settings = ServerSettings.model_validate({"url": raw.url, "transport": "sse"})
        upstream = McpHttpUpstream("shop", settings, parts(), lambda: next(waiting).set())
        with anyio.fail_after(30):
            async with together() as group:
                group.start_soon(upstream.attend)
                await old.until("notifications/initialized")
                old.streams[0].close()
                await changed[0].wait()
                event(old.streams[1], CHANGED)
                await changed[1].wait()
                group.cancel_scope.cancel()
        await upstream.aclose()
