"""Streams of legacy servers that break off in mid-call are taken up by their last event; no call is sent twice."""

import pytest

from adapters.mcp.wire import encode
from gateway.core.errors import DeadlineExceeded, UpstreamFailed
from gateway.core.model import Log
from tests.adapters.mcp.test_mcp_client_http import DONE, bench, legacy, message, modern, result
from tests.fakes_mcp_client import Seen, a_request, call, params, said, tool
from tests.fakes_upstreams import Exchange

pytestmark = pytest.mark.anyio


def piece(exchange: Exchange, raw: bytes) -> None:
    exchange.send(b"%x\r\n%b\r\n" % (len(raw), raw))


def line(number: int) -> bytes:
    return encode({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": number}})


class Breaking:
    """A server that answers a call over several connections: each ends behind its share of the events."""

    def __init__(self, *shares: tuple[bytes, ...], cut: bool = True, status: int = 200) -> None:
        self.shares = list(shares)
        self.cut = cut
        self.status = status
        self.asked: list[tuple[bytes, bytes]] = []
        """Method and `Last-Event-ID` of each request for the stream."""
        self.answer = b""

    def __call__(self, exchange: Exchange) -> None:
        self.asked.append((exchange.method, exchange.headers.get(b"last-event-id", b"")))
        if exchange.body:
            self.answer = result(exchange, DONE)
        elif self.status != 200:
            exchange.answer(b"", status=self.status)
            return
        exchange.stream()
        for each in self.shares.pop(0) if self.shares else ():
            piece(exchange, each.replace(b"ANSWER", self.answer))
        if self.cut:
            exchange.close()
        else:
            exchange.end()

    def behave(self, exchange: Exchange) -> None:
        if exchange.method == b"GET":
            self(exchange)
        else:
            legacy(self)(exchange)


@pytest.mark.parametrize("cut", [True, False])
async def test_a_broken_stream_is_read_on_from_its_last_whole_event(cut: bool) -> None:
    first = (b"id: a-1\ndata: %b\n\n" % line(1), b"id: a-2\ndata: ")
    second = (b"id: a-2\ndata: %b\n\n" % line(2),)
    server = Breaking(first, second, (b"id: a-3\ndata: ANSWER\n\n",), cut=cut)
    seen = Seen()
    async with bench(server.behave) as (raw, upstream):
        assert said(await upstream.call(a_request(params("legacy")), tool(), seen)) == DONE
    assert server.asked == [(b"POST", b""), (b"GET", b"a-1"), (b"GET", b"a-2")]
    assert {each.headers[b"mcp-session-id"] for each in raw.exchanges if each.method == b"GET"} == {b"s1"}
    assert [each.text for each in seen.events if isinstance(each, Log)] == ["1", "2"]


async def test_a_server_that_closes_after_priming_is_asked_again_when_it_said() -> None:
    server = Breaking((b"id: p\nretry: 150\ndata:\n\n",), (), (b"id: q\ndata: ANSWER\n\n",), cut=False)
    async with bench(server.behave) as (_, upstream):
        assert said(await call(upstream, tool(), a_request(params("legacy")))) == DONE
    assert [last for _, last in server.asked] == [b"", b"p", b"p"]


@pytest.mark.parametrize(
    "server",
    [Breaking((b"data: %b\n\n" % line(1),)), Breaking((b"id: 1\ndata: %b\n\n" % line(1),), status=405)],
    ids=["no ids", "no such stream"],
)
async def test_what_cannot_be_taken_up_fails_the_call_once(server: Breaking) -> None:
    async with bench(server.behave) as (raw, upstream):
        with pytest.raises(UpstreamFailed):
            await call(upstream, tool(effect="read"), a_request(params("legacy")))
    assert sum(message(each).get("method") == "tools/call" for each in raw.exchanges if each.body) == 1


async def test_a_stream_that_never_gets_on_ends_with_the_callers_time_or_tries() -> None:
    server = Breaking((b"id: 1\nretry: 60000\ndata:\n\n",), cut=False)
    async with bench(server.behave) as (_, upstream):
        with pytest.raises(DeadlineExceeded):
            await call(upstream, tool(), a_request(params("legacy"), within_s=2))
    server = Breaking((b"id: 1\nretry: 0\ndata:\n\n",), cut=False)
    async with bench(server.behave) as (_, upstream):
        with pytest.raises(UpstreamFailed):
            await call(upstream, tool(), a_request(params("legacy")))
    assert len(server.asked) == 6


async def test_a_modern_stream_is_never_taken_up() -> None:
    server = Breaking((b"id: 1\ndata: %b\n\n" % line(1),))
    async with bench(modern(server)) as (_, upstream):
        with pytest.raises(UpstreamFailed):
            await call(upstream, tool(), a_request(params("modern")))
    assert server.asked == [(b"POST", b"")]
