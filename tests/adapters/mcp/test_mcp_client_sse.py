"""The upstream face over HTTP+SSE (MCP 2024-11-05) against servers on real sockets that lie, cut and repeat."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from msgspec import Raw

from adapters.mcp.client_http import McpHttpUpstream
from adapters.mcp.settings import ServerSettings
from adapters.mcp.wire import CLIENT_CAPABILITIES_KEY, FOLLOWED, Params, decode_value, encode
from gateway.core.errors import DeadlineExceeded, GatewayError, UpstreamFailed
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.limits import Limits
from gateway.core.model import Capability, Complete, Event, InputRequired, Log, Progress
from tests.fakes_mcp_client import Seen, a_request, call, params, parts, said, tool
from tests.fakes_mcp_door import together
from tests.fakes_upstreams import Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio

INIT: JsonObject = {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": {"name": "old"}}
DONE: JsonObject = {"content": [], "isError": False}
QUESTION: JsonObject = {"method": "elicitation/create", "params": {"message": "How many?", "requestedSchema": {}}}
OPEN = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class OldServer:
    """A server over HTTP+SSE; `then` is told of every call, and answers by `say` or not at all."""

    def __init__(self, then: "Then | None" = None, endpoint: str = "/post?s={}", *, hangs: bool = False) -> None:
        """`hangs`: it leaves open what is posted to the address of its stream."""
        self.hangs = hangs
        self.then = then or answer
        self.endpoint = endpoint
        self.streams: list[Exchange] = []
        self.posted: list[Posted] = []
        self.news = anyio.Event()

    def behave(self, exchange: Exchange) -> None:
        if exchange.method == b"GET":
            self.streams.append(exchange)
            exchange.send(OPEN)
            if self.endpoint:
                event(exchange, self.endpoint.format(len(self.streams) - 1).encode(), b"endpoint")
        elif not exchange.target.startswith(b"/post?s="):
            if not self.hangs:
                exchange.answer(b"Method Not Allowed", status=405, content_type="text/plain")
        else:
            self._take(Posted(self.streams[int(exchange.target[8:])], exchange))

    def _take(self, posted: "Posted") -> None:
        posted.exchange.answer(b"Accepted", status=202, content_type="text/plain")
        self.posted.append(posted)
        woken, self.news = self.news, anyio.Event()
        woken.set()
        if posted.method == "initialize":
            posted.answer(INIT)
        elif posted.method == "tools/call":
            self.then(self, posted)
        elif posted.method.startswith("resources/"):
            posted.answer({})

    async def until(self, method: str) -> "Posted":
        """The first message with this method, or the first answer, where it is empty."""
        while True:
            for posted in self.posted:
                if posted.method == method:
                    return posted
            await self.news.wait()


class Posted:
    """A message as it came, and the stream its answer goes by."""

    def __init__(self, stream: Exchange, exchange: Exchange) -> None:
        self.stream = stream
        self.exchange = exchange
        self.message = json_object(decode_value(exchange.body))
        self.method = json_text(self.message.get("method"))

    def answer(self, result: Json, number: Json = None) -> None:
        number = self.message.get("id") if number is None else number
        event(self.stream, encode({"jsonrpc": "2.0", "id": number, "result": result}))

    def say(self, message: JsonObject) -> None:
        event(self.stream, encode({"jsonrpc": "2.0", **message}))


Then = Callable[[OldServer, Posted], None]


def answer(old: OldServer, posted: Posted) -> None:
    posted.answer(DONE)


def event(stream: Exchange, data: bytes, name: bytes = b"message") -> None:
    raw = b"event: %b\r\ndata: %b\r\n\r\n" % (name, data)
    stream.send(b"%x\r\n%b\r\n" % (len(raw), raw))


@asynccontextmanager
async def bench(
    old: OldServer, *, limits: Limits | None = None, silent_s: float = 30.0, **settings: object
) -> AsyncGenerator[tuple[RawServer, McpHttpUpstream], None]:
    async with raw_server(old.behave) as server:
        configured = ServerSettings.model_validate({"url": server.url, **settings})
        upstream = McpHttpUpstream("shop", configured, parts(limits=limits), silent_s=silent_s)
        try:
            with anyio.fail_after(60):
                yield server, upstream
        finally:
            await upstream.aclose()


@pytest.mark.parametrize(("transport", "before"), [("auto", 2), ("sse", 0)])
async def test_the_older_transport_is_found_or_said(transport: str, before: int) -> None:
    old = OldServer()
    async with bench(old, transport=transport) as (server, upstream):
        assert said(await call(upstream, tool(), a_request(params("modern")))) == DONE
    assert [each.method for each in server.exchanges[: before + 1]] == [b"POST"] * before + [b"GET"]


async def test_an_older_server_that_leaves_posts_open_is_found_by_its_stream() -> None:
    async with bench(OldServer(hangs=True), transport="auto", silent_s=0.1) as (server, upstream):
        assert said(await call(upstream, tool(), a_request(params("modern")))) == DONE
        await server.exchanges[0].gone.wait()  # nobody waits for it any more


async def test_a_server_that_neither_answers_nor_streams_fails_in_the_time_the_call_has() -> None:
    async with bench(OldServer(endpoint="", hangs=True), transport="auto", silent_s=0.1) as (_, upstream):
        with pytest.raises(DeadlineExceeded) as failure:
            await call(upstream, tool(), a_request(params("modern"), within_s=3))
    assert failure.value.detail["sent"] is False


async def test_the_older_transport_is_not_looked_for_where_the_newer_is_said() -> None:
    old = OldServer()
    async with bench(old, transport="http") as (_, upstream):
        with pytest.raises(GatewayError):
            await call(upstream, tool(), a_request())
    assert not old.streams


async def test_each_caller_has_a_stream_of_their_own_and_the_oldest_makes_room() -> None:
    old = OldServer()
    async with bench(old, transport="sse", limits=Limits(sessions=2)) as (_, upstream):
        for subject in ("ana", "bob", "ana"):
            await call(upstream, tool(), a_request(params("legacy"), subject=subject))
        calls = [each.exchange.target for each in old.posted if each.method == "tools/call"]
        assert (len(old.streams), calls[0] == calls[2], calls[0] == calls[1]) == (3, True, False)
        await old.streams[0].gone.wait()  # the gateway's own, used longest ago
        assert not old.streams[1].gone.is_set()
    for stream in old.streams:
        await stream.gone.wait()


async def test_calls_of_one_session_get_their_own_answers_and_events_whatever_their_order() -> None:
    held: list[Posted] = []

    def then(old: OldServer, posted: Posted) -> None:
        held.append(posted)
        if len(held) < 2:
            return
        for each in reversed(held):
            params = json_object(each.message["params"])
            token = json_object(params["_meta"])["progressToken"]
            said: JsonObject = {"progressToken": token, "progress": json_object(params["arguments"])["n"]}
            each.say({"method": "notifications/progress", "params": said})
            each.answer({"content": [], "structuredContent": params["arguments"]})

    found: dict[int, tuple[JsonObject, list[float]]] = {}
    async with bench(OldServer(then), transport="sse") as (_, upstream):

        async def one(number: int) -> None:
            seen = Seen()
            body = params("legacy", {"n": number}, meta={"progressToken": "same"})
            result = await upstream.call(a_request(body), tool(), seen)
            steps = [each.progress for each in seen.events if isinstance(each, Progress)]
            found[number] = (json_object(said(result)["structuredContent"]), steps)

        async with together() as group:
            group.start_soon(one, 1)
            group.start_soon(one, 2)
    assert found == {1: ({"n": 1}, [1]), 2: ({"n": 2}, [2])}


def end(old: OldServer, posted: Posted) -> None:
    posted.stream.end()


def cut(old: OldServer, posted: Posted) -> None:
    posted.stream.reset()


def answer_twice(old: OldServer, posted: Posted) -> None:
    number = posted.message["id"]
    both = [encode({"jsonrpc": "2.0", "id": number, "result": {"content": [], "n": each}}) for each in (1, 2)]
    raw = b"".join(b"data: %b\n\n" % each for each in both)
    posted.stream.send(b"%x\r\n%b\r\n" % (len(raw), raw))


def send_too_much(old: OldServer, posted: Posted) -> None:
    posted.stream.send(b"6\r\ndata: \r\n")
    mebibyte = b" " * (1024 * 1024)
    for _ in range(100):
        posted.stream.send(b"%x\r\n%b\r\n" % (len(mebibyte), mebibyte))


def send_no_json(old: OldServer, posted: Posted) -> None:
    event(posted.stream, b"<html>")


def answer_neither(old: OldServer, posted: Posted) -> None:
    posted.say({"id": posted.message["id"]})


LIES = (end, cut, answer_twice, send_too_much, send_no_json, answer_neither)


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: str(lie.__name__))
async def test_a_stream_that_lies_fails_the_call_and_the_next_one_is_answered(
    lie: Then,
) -> None:
    old = OldServer(lie)
    async with bench(old, transport="sse", limits=Limits(result_bytes=2_000_000)) as (_, upstream):
        with pytest.raises(UpstreamFailed):
            await call(upstream, tool(), a_request(params("legacy")))
        old.then = answer
        assert said(await call(upstream, tool(), a_request(params("legacy")))) == DONE
    calls = [each for each in old.posted if each.method == "tools/call"]
    assert len(calls) == 2  # what may have been done is not sent twice


async def test_a_read_whose_stream_was_cut_is_asked_again_in_a_new_session() -> None:
    def once(old: OldServer, posted: Posted) -> None:
        old.then = answer
        posted.stream.reset()

    async with bench(OldServer(once), transport="sse") as (_, upstream):
        assert said(await call(upstream, tool(effect="read"), a_request(params("legacy")))) == DONE


async def test_an_answer_to_another_id_is_nobodys() -> None:
    def then(old: OldServer, posted: Posted) -> None:
        for number in (999_999, "x", -1, 0):
            posted.answer({"content": [], "wrong": True}, number=number)
        posted.answer(DONE)

    async with bench(OldServer(then), transport="sse") as (_, upstream):
        assert said(await call(upstream, tool(), a_request(params("legacy")))) == DONE


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://evil.example/post",
        "//evil.example/post",
        "https://127.0.0.1/post",
        "http://127.0.0.1:1/p",
        "ftp://a",
        "",
    ],
)
async def test_an_endpoint_on_another_host_is_never_posted_to(endpoint: str) -> None:
    old = OldServer(endpoint=endpoint)
    async with bench(old, transport="sse") as (server, upstream):
        with pytest.raises(GatewayError) as failure:
            await call(upstream, tool(), a_request(within_s=2))
        assert "evil" not in failure.value.message
        assert failure.value.detail["sent"] is False
        assert {each.method for each in server.exchanges} == {b"GET"}
        await old.streams[0].gone.wait()


async def test_a_stream_that_begins_with_something_else_is_none() -> None:
    old = OldServer(endpoint="")
    async with bench(old, transport="sse") as (_, upstream), together() as group:

        async def one() -> None:
            with pytest.raises(GatewayError):
                await call(upstream, tool(), a_request())

        group.start_soon(one)
        while not old.streams:
            await anyio.lowlevel.checkpoint()
        event(old.streams[0], b"{}")
        await old.streams[0].gone.wait()


@pytest.mark.parametrize("how", ["deadline", "cancel"])
async def test_a_call_given_up_is_withdrawn(how: str) -> None:
    old = OldServer(lambda old, posted: None)
    async with bench(old, transport="sse") as (_, upstream):
        async with together() as group:

            async def one() -> None:
                with pytest.raises(DeadlineExceeded):
                    await call(upstream, tool(), a_request(params("legacy"), within_s=3))

            if how == "deadline":
                group.start_soon(one)
            else:
                group.start_soon(call, upstream, tool(), a_request(params("legacy")))
            called = await old.until("tools/call")
            if how == "cancel":
                group.cancel_scope.cancel()
        withdrawn = await old.until("notifications/cancelled")
    assert json_object(withdrawn.message["params"])["requestId"] == called.message["id"]
    assert withdrawn.exchange.target == called.exchange.target


async def test_a_question_reaches_its_caller_and_the_answer_its_call() -> None:
    def then(old: OldServer, posted: Posted) -> None:
        posted.say({"id": "q1", **QUESTION})

    old = OldServer(then)
    async with bench(old, transport="sse") as (_, upstream):
        able: JsonObject = {CLIENT_CAPABILITIES_KEY: {"elicitation": {}}}
        body = params("modern", meta=able)
        first = await call(upstream, tool(), a_request(body))
        assert isinstance(first, InputRequired)
        answers: JsonObject = {"question": {"action": "accept", "content": {"copies": 3}}}
        again = params("modern", meta=able, inputResponses=answers, requestState=first.state)

        async def finish() -> None:
            told = await old.until("")
            assert told.message == {"jsonrpc": "2.0", "id": "q1", "result": answers["question"]}
            (await old.until("tools/call")).answer(DONE)

        async with together() as group:
            group.start_soon(finish)
            result = await call(upstream, tool(), a_request(again, continuation=first.state))
    assert isinstance(result, Complete)
    assert said(result) == DONE


@pytest.mark.parametrize("watched", [True, False])
async def test_what_nobody_can_be_asked_is_answered_by_the_gateway(watched: bool) -> None:
    def then(old: OldServer, posted: Posted) -> None:
        posted.say({"id": 7, "method": "ping"})
        posted.say({"id": 8, "method": "sampling/createMessage", "params": {}})

    old = OldServer(then)
    async with bench(old, transport="sse") as (_, upstream), together() as group:
        if watched:
            group.start_soon(upstream.watch)

        async def finish() -> None:
            while len([each for each in old.posted if not each.method]) < 2:
                await old.news.wait()
            (await old.until("tools/call")).answer(DONE)

        group.start_soon(finish)
        assert said(await call(upstream, tool(), a_request(params("legacy")))) == DONE
        group.cancel_scope.cancel()
    ping, sampling = [each.message for each in old.posted if not each.method]
    assert ping == {"jsonrpc": "2.0", "id": 7, "result": {}}
    assert json_object(sampling["error"])["code"] == -32601


async def test_a_change_announced_on_any_stream_is_told() -> None:
    changes: list[None] = []

    def then(old: OldServer, posted: Posted) -> None:
        posted.say({"method": "notifications/tools/list_changed"})
        posted.answer(DONE)

    async with raw_server(OldServer(then).behave) as server:
        settings = ServerSettings(url=server.url)
        upstream = McpHttpUpstream("shop", settings, parts(), lambda: changes.append(None))
        try:
            await call(upstream, tool(), a_request(params("legacy")))
        finally:
            await upstream.aclose()
    assert changes == [None]


async def test_more_notifications_than_a_slow_caller_takes_are_dropped_and_the_answer_is_not() -> None:
    line: JsonObject = {"method": "notifications/message", "params": {"level": "info", "data": "x" * 1000}}

    def then(old: OldServer, posted: Posted) -> None:
        for _ in range(2000):
            posted.say(line)
        posted.answer(DONE)

    seen = Seen()
    async with bench(OldServer(then), transport="sse", limits=Limits(event_bytes=50_000)) as (_, upstream):
        assert said(await upstream.call(a_request(params("legacy")), tool(), seen)) == DONE
    assert 0 < len(seen.events) <= 2000


async def test_a_resource_that_changed_is_told_to_whoever_watches_it() -> None:
    old = OldServer()
    watched = Capability(name="resource:shop/note://a", kind="resource", owner="shop", local="note://a")
    body = Params({"uri": Raw(b'"note://a"')}, era="legacy")
    told, changed = list[Event](), anyio.Event()

    async def hear(event: Event) -> None:
        told.append(event)
        if len(told) > 1:
            changed.set()

    async with bench(old, transport="sse") as (_, upstream), together() as group:
        group.start_soon(upstream.watch)
        group.start_soon(upstream.call, a_request(body, operation="subscribe", within_s=15), watched, hear)
        subscribed = await old.until("resources/subscribe")
        subscribed.say({"method": "notifications/resources/updated", "params": {"uri": "note://b"}})
        subscribed.say({"method": "notifications/resources/updated", "params": {"uri": "note://a"}})
        await changed.wait()
        group.cancel_scope.cancel()
    assert subscribed.message["params"] == {"uri": "note://a"}
    assert [each.text for each in told if isinstance(each, Log)] == [FOLLOWED, "notifications/resources/updated"]
