"""Faults and noise at both faces of MCP: every call ends, in an answer or a clear error, and nobody hears another's."""

from itertools import count

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.mcp.client_http import McpHttpUpstream
from adapters.mcp.settings import ServerSettings
from adapters.mcp.wire import Answer, encode
from gateway.core.errors import GatewayError, UpstreamFailed
from gateway.core.json import JsonObject, json_object
from gateway.core.limits import Limits
from gateway.core.model import Complete, Emit, InputRequired, Progress, Request, Result
from tests.adapters.mcp.test_mcp_client_http import DONE, bench, legacy, message, modern, result
from tests.fakes_mcp_client import Seen, a_request, call, params, parts, said
from tests.fakes_mcp_client import tool as upstream_tool
from tests.fakes_mcp_door import Caller, ShopGateway, Visit, opened, together, tool
from tests.fakes_upstreams import Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio
NOISY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("framing", ["content-length: 40", "transfer-encoding: chunked", "content-length: 1"])
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_an_upstream_that_closes_between_header_and_body_fails_the_call(framing: str, kind: str) -> None:
    def close_early(exchange: Exchange) -> None:
        exchange.send(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{framing}\r\n\r\n".encode())
        exchange.close()

    async with bench(modern(close_early)) as (server, upstream):
        with pytest.raises(UpstreamFailed):
            await call(upstream, upstream_tool(), a_request(params("modern")))
        server.behave = modern(lambda exchange: exchange.answer(result(exchange, DONE)))
        assert said(await call(upstream, upstream_tool(), a_request(params("modern")))) == DONE


async def test_an_upstream_that_restarts_in_mid_call_costs_that_call_and_no_other() -> None:
    sessions = count(1)
    known: set[bytes] = set()

    def behave(exchange: Exchange) -> None:
        """Sessions are those of the current life of the server."""
        if exchange.body and message(exchange).get("method") == "initialize":
            known.add(b"s%d" % next(sessions))
            legacy(answer, session=max(known, key=len).decode())(exchange)
        elif exchange.headers.get(b"mcp-session-id", max(known, default=b"")) not in known:
            exchange.answer(b"", status=404)
        else:
            legacy(answer)(exchange)

    def answer(exchange: Exchange) -> None:
        exchange.answer(result(exchange, DONE))

    def restart(exchange: Exchange) -> None:
        if exchange.body and message(exchange).get("method") == "tools/call":
            known.clear()
            for connection in server.connections:
                connection.abort()
            server.behave = behave
        else:
            behave(exchange)

    async with raw_server(restart) as server:
        upstream = McpHttpUpstream("shop", ServerSettings(url=server.url), parts())
        try:
            with anyio.fail_after(60):
                with pytest.raises(UpstreamFailed):
                    await call(upstream, upstream_tool(), a_request(params("legacy"), subject="ana"))
                for subject in ("ana", "bob", "ana"):
                    answered = await call(upstream, upstream_tool(), a_request(params("legacy"), subject=subject))
                    assert said(answered) == DONE
        finally:
            await upstream.aclose()
    assert _calls(server) == 4 + 1  # one that was refused unread because its session was of the life before


def _calls(server: RawServer) -> int:
    return sum(bool(each.body) and message(each).get("method") == "tools/call" for each in server.exchanges)


async def test_a_list_that_changes_while_it_is_read_is_read_to_its_end_and_announced() -> None:
    changes: list[None] = []

    def listing(exchange: Exchange) -> None:
        cursor = json_object(message(exchange).get("params")).get("cursor")
        names = ("a", "b") if cursor is None else ("b", "c")  # "a" went, so that "b" is met again
        page: JsonObject = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]}
        if cursor is None:
            page["nextCursor"] = "2"
        changed = encode({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        exchange.stream(changed, result(exchange, {"resultType": "complete", **page}))
        exchange.end()

    async with raw_server(modern(listing)) as server:
        upstream = McpHttpUpstream("shop", ServerSettings(url=server.url), parts(), lambda: changes.append(None))
        try:
            with anyio.fail_after(60):
                found = await upstream.capabilities()
        finally:
            await upstream.aclose()
    assert [each.local for each in found.capabilities] == ["a", "b", "c"]
    assert found.about["dropped_count"] == 1
    pages = [message(each) for each in server.exchanges if each.body and message(each)["method"] == "tools/list"]
    assert len(changes) == len(pages) == 4, "the list is read as by a client that can be asked, too"


LINES = st.sampled_from(
    [
        *(b"data: ANSWER", b"data: PROGRESS", b"data: ", b"data", b"data: {", b"event: message", b"event: ping", b":x"),
        *(
            b"id: 1",
            b"id",
            b"retry: 1",
            b"retry: x",
            b"\xff\xfe",
            b"",
            b"",
            b"",
            b'data: {"jsonrpc":"2.0"}',
            b"data: ASK",
        ),
        b'data: {"jsonrpc":"2.0","id":99,"result":{}}',
    ]
) | st.binary(max_size=12)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@NOISY
@given(st.lists(st.tuples(LINES, ENDS), max_size=14), st.integers(1, 40), st.booleans(), st.booleans())
def test_no_stream_of_an_upstream_hangs_a_call_or_breaks_it_otherwise_than_it_may(
    lines: list[tuple[bytes, bytes]], size: int, old: bool, ended: bool
) -> None:
    def noise(exchange: Exchange) -> None:
        if not exchange.body:
            exchange.answer(b"", status=405)
            return
        ask = encode({"jsonrpc": "2.0", "id": 5, "method": "elicitation/create", "params": {}})
        progress = encode({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}})
        raw = b"".join(line + end for line, end in lines)
        raw = raw.replace(b"ANSWER", result(exchange, DONE)).replace(b"PROGRESS", progress).replace(b"ASK", ask)
        exchange.stream()
        for start in range(0, len(raw), size):
            exchange.send(b"%x\r\n%b\r\n" % (len(raw[start : start + size]), raw[start : start + size]))
        exchange.end() if ended else exchange.close()

    async def once() -> None:
        limits = Limits(result_bytes=10_000, event_bytes=1000)
        async with bench((legacy if old else modern)(noise), limits=limits) as (_, upstream):
            try:
                answered = await upstream.call(a_request(params("modern")), upstream_tool(), Seen())
            except GatewayError:
                return
            assert isinstance(answered, InputRequired) or said(answered) == DONE

    anyio.run(once)


WORDS = st.sampled_from(
    [
        "",
        "*/*",
        "application/json",
        "text/event-stream",
        "2025-11-25",
        "2026-07-28",
        "1-0",
        "SESSION",
        "tools/call",
        "?",
    ]
) | st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=12)
NAMES = st.sampled_from(
    [
        *("accept", "content-type", "content-length", "mcp-protocol-version", "mcp-session-id", "last-event-id"),
        *("mcp-method", "mcp-name", "mcp-param-a", "authorization", "traceparent", "x-forwarded-user"),
    ]
)


@NOISY
@given(
    st.sampled_from(["GET", "POST", "DELETE", "PUT", "OPTIONS"]),
    st.lists(st.tuples(NAMES, WORDS), max_size=6),
    st.sampled_from(["/mcp", "/mcp/orders", "/mcp/sets/x", "/mcp/a/b", "/mcp/"]),
)
def test_no_headers_bring_the_door_down(method: str, headers: list[tuple[str, str]], path: str) -> None:
    async def once() -> None:
        async with opened(ShopGateway(tool("refund"))) as door:
            caller = Caller(door)
            await caller.initialize()
            lines = [(b"authorization", b"Bearer ana"), (b"content-type", b"application/json")]
            for name, value in headers:
                lines.append((name.encode(), value.replace("SESSION", caller.session).encode("latin-1")))
            body = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
            visit = Visit(method, path, lines, [body])
            if method == "GET":
                visit.left.set()
            reply = await caller.send(visit)
            assert reply.status < 500
            assert reply.status or method == "GET"

    anyio.run(once)


class Gossip:
    """A tool that holds every call until all are there, then tells each its own, the last first."""

    def __init__(self, expected: int) -> None:
        self.left = expected
        self.turns: list[anyio.Event] = []

    async def __call__(self, request: Request, emit: Emit) -> Result:
        mark = request.body.content().structured
        turn = anyio.Event()
        self.turns.append(turn)
        self.left -= 1
        if not self.left:
            self.turns.pop().set()
        await turn.wait()
        said = f"{request.principal.subject} {json_object(mark)['mark']}"
        await emit(Progress(progress=1, message=said))
        if self.turns:
            self.turns.pop().set()
        return Complete(body=Answer(encode({"content": [{"type": "text", "text": said}]}), era="legacy"))


async def test_interleaved_sessions_with_equal_ids_and_tokens_hear_their_own_only() -> None:
    gateway = ShopGateway(tool("refund"))
    ids, callers = (1, "1", 2), [("ana", 0), ("ana", 1), ("bob", 2), ("bob", 3)]
    gateway.runs["tool:orders/refund"] = Gossip(len(ids) * len(callers))
    visits: list[tuple[str, Visit, object]] = []
    async with opened(gateway) as door, together() as group:
        for key, number in callers:
            caller = Caller(door, key=key)
            await caller.initialize()
            for request_id in ids:
                mark = f"{number}/{request_id!r}"
                call: JsonObject = {"name": "orders__refund", "arguments": {"mark": mark}}
                call["_meta"] = {"progressToken": "same"}
                visit = caller.legacy("tools/call", call, request_id=request_id)
                visits.append((f"{key} {mark}", visit, request_id))
                group.start_soon(caller.send, visit)
    for expected, visit, request_id in visits:
        progress, answer = visit.reply.events
        assert (progress["params"]["message"], progress["params"]["progressToken"]) == (expected, "same")
        assert (answer["id"], answer["result"]["content"][0]["text"]) == (request_id, expected)
