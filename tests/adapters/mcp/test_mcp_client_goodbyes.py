"""Sessions with legacy servers that make room for others, or were idle too long, are ended there; on raw sockets."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from adapters.mcp.client_callers import McpCallersUpstream
from adapters.mcp.client_http import McpHttpUpstream
from adapters.mcp.settings import ServerSettings
from gateway.core.json import JsonObject
from gateway.core.limits import Limits
from gateway.core.model import InputRequired
from tests.adapters.mcp.test_mcp_client_http import DONE, LEGACY, message, result
from tests.adapters.mcp.test_mcp_following import Names
from tests.fakes_mcp_client import LoopClock, a_request, call, params, parts, said, tool
from tests.fakes_mcp_door import together
from tests.fakes_upstreams import Exchange, raw_server

pytestmark = pytest.mark.anyio

QUESTION = b'{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?"}}'
ACCEPTED: JsonObject = {"action": "accept", "content": {}}


class Keeping:
    """A server that keeps every session until it is ended; `slow` says of calls whether the test answers them."""

    def __init__(self, *, slow: bool = False, silent: bool = False) -> None:
        self.opened: list[bytes] = []
        self.ended: list[bytes] = []
        self.calls: list[Exchange] = []
        self.slow = slow
        self.silent = silent
        """It does not answer to being told of an end."""
        self.stirred = anyio.Event()

    def behave(self, exchange: Exchange) -> None:
        said_to_it, session = message(exchange), exchange.headers.get(b"mcp-session-id", b"")
        method = said_to_it.get("method")
        if exchange.method == b"DELETE":
            self.ended.append(session)
            if not self.silent:
                exchange.answer(b"")
        elif exchange.method == b"GET" or method == "server/discover":
            exchange.answer(b"", status=405, content_type="text/plain")
        elif method == "initialize":
            self.opened.append(b"s%d" % len(self.opened))
            more = f"mcp-session-id: {self.opened[-1].decode()}\r\n"
            exchange.answer(result(exchange, LEGACY), more=more)
        elif method == "tools/call":
            self.calls.append(exchange)
            if not self.slow:
                exchange.answer(result(exchange, DONE))
        else:
            exchange.answer(b"", status=202)
        woken, self.stirred = self.stirred, anyio.Event()
        woken.set()

    async def until_ended(self, count: int) -> None:
        while len(self.ended) < count:
            await self.stirred.wait()

    async def until_called(self, count: int) -> None:
        while len(self.calls) < count:
            await self.stirred.wait()


@asynccontextmanager
async def watched(
    server: Keeping, *, sessions: int = 2, clock: LoopClock | None = None
) -> AsyncGenerator[McpHttpUpstream]:
    async with raw_server(server.behave) as raw:
        settings = ServerSettings.model_validate({"url": raw.url, "transport": "http"})
        upstream = McpHttpUpstream("shop", settings, parts(limits=Limits(sessions=sessions), clock=clock))
        with anyio.fail_after(60):
            async with together() as group:
                group.start_soon(upstream.watch)
                yield upstream
                group.cancel_scope.cancel()
        await upstream.aclose()


async def test_whoever_makes_room_is_ended_at_the_server_and_nobody_else() -> None:
    server = Keeping()
    async with watched(server) as upstream:
        for subject in ("ana", "bob", "cid"):
            assert said(await call(upstream, tool(), a_request(params("legacy"), subject=subject))) == DONE
        await server.until_ended(2)
        assert sorted(server.ended) == server.opened[:2]
        assert len(server.opened) == 4, "the gateway's own, and one for each of three"


async def test_a_call_under_way_or_waiting_is_not_cut_by_the_end_of_its_session() -> None:
    server = Keeping(slow=True)
    async with watched(server) as upstream, together() as group:
        answers: list[JsonObject] = []

        async def one() -> None:
            answers.append(said(await call(upstream, tool(), a_request(params("legacy"), subject="ana", within_s=60))))

        group.start_soon(one)
        await server.until_called(1)
        server.slow = False
        for subject in ("bob", "cid", "dan"):
            await call(upstream, tool(), a_request(params("legacy"), subject=subject))
        ana = server.calls[0].headers[b"mcp-session-id"]
        await server.until_ended(2)
        assert ana not in server.ended
        server.calls[0].answer(result(server.calls[0], DONE))
        await server.until_ended(3)
        assert (ana in server.ended, answers) == (True, [DONE])


async def test_a_call_that_waits_for_its_caller_keeps_its_session() -> None:
    server = Keeping(slow=True)
    async with watched(server) as upstream, together() as group:

        async def ask() -> None:
            await server.until_called(1)
            server.calls[0].stream(QUESTION)

        group.start_soon(ask)
        first = await call(upstream, tool(), a_request(params("modern"), subject="ana", within_s=60))
        assert isinstance(first, InputRequired)
        server.slow = False
        for subject in ("bob", "cid", "dan"):
            await call(upstream, tool(), a_request(params("legacy"), subject=subject))
        await server.until_ended(2)
        ana = server.calls[0].headers[b"mcp-session-id"]
        assert ana not in server.ended

        async def finish() -> None:
            server.calls[0].event(result(server.calls[0], DONE))
            server.calls[0].end()

        group.start_soon(finish)
        answer = params("modern", inputResponses={"question": ACCEPTED})
        again = a_request(answer, subject="ana", continuation=first.state, within_s=60)
        assert said(await call(upstream, tool(), again)) == DONE
        await server.until_ended(3)
        assert ana in server.ended


async def test_a_server_that_is_silent_about_it_holds_up_nobody() -> None:
    server = Keeping(silent=True)
    async with watched(server) as upstream:
        for number in range(6):
            assert said(await call(upstream, tool(), a_request(params("legacy"), subject=f"u{number}"))) == DONE
        await server.until_ended(1)


async def test_connections_of_callers_that_make_room_are_ended_in_the_background() -> None:
    server = Keeping()
    async with raw_server(server.behave) as raw:
        settings = ServerSettings.model_validate({"url": raw.url, "transport": "http"})
        limits = parts(limits=Limits(sessions=1))
        upstream = McpCallersUpstream("shop", settings, limits, lambda: None, Names())
        with anyio.fail_after(60):
            async with together() as group:
                group.start_soon(upstream.watch)
                for subject in ("ana", "bob"):
                    assert said(await call(upstream, tool(), a_request(params("legacy"), subject=subject))) == DONE
                await server.until_ended(2)  # its own, and that of the connection
                ana, bob = (each.headers[b"mcp-session-id"] for each in server.calls)
                assert (ana in server.ended, bob in server.ended) == (True, False)
                group.cancel_scope.cancel()
        await upstream.aclose()
