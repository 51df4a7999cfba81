"""The upstream face against HTTP servers that lie, hang, cut and repeat, on real sockets."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

import anyio
import pytest

from adapters.mcp.client_http import McpHttpUpstream
from adapters.mcp.settings import ServerSettings
from adapters.mcp.wire import decode_value, encode
from gateway.core.errors import (
    DeadlineExceeded,
    GatewayError,
    InvalidRequest,
    NotFound,
    Unavailable,
    UpstreamFailed,
)
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.labels import Labels
from gateway.core.limits import Limits, Usage
from gateway.core.model import Complete, Log, Progress
from tests.fakes_mcp_client import LoopClock, Seen, a_request, call, params, parts, said, tool
from tests.fakes_upstreams import Behave, Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio

MODERN: JsonObject = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
LEGACY: JsonObject = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "old"}}
DONE: JsonObject = {"content": [], "isError": False}


def message(exchange: Exchange) -> JsonObject:
    return json_object(decode_value(exchange.body or b"{}"))


def result(exchange: Exchange, value: Json) -> bytes:
    return encode({"jsonrpc": "2.0", "id": message(exchange)["id"], "result": value})


def error(exchange: Exchange, code: int, text: str = "no", data: Json = None) -> bytes:
    said: JsonObject = {"code": code, "message": text}
    if data is not None:
        said["data"] = data
    return encode({"jsonrpc": "2.0", "id": message(exchange)["id"], "error": said})


def modern(then: Behave) -> Behave:
    """A modern server that answers calls as `then` does."""

    def behave(exchange: Exchange) -> None:
        if message(exchange).get("method") == "server/discover":
            exchange.answer(result(exchange, MODERN))
        else:
            then(exchange)

    return behave


def legacy(then: Behave, session: str = "s1") -> Behave:
    """A legacy server with sessions that answers calls as `then` does."""

    def behave(exchange: Exchange) -> None:
        method = message(exchange).get("method")
        if method == "server/discover":
            exchange.answer(b"Bad Request: no session", status=400, content_type="text/plain")
        elif method == "initialize":
            exchange.answer(result(exchange, LEGACY), more=f"mcp-session-id: {session}\r\n")
        elif method in ("notifications/initialized", "notifications/cancelled", None):
            exchange.answer(b"", status=202)
        else:
            then(exchange)

    return behave


@asynccontextmanager
async def bench(
    behave: Behave | None, *, limits: Limits | None = None, **settings: object
) -> AsyncGenerator[tuple[RawServer, McpHttpUpstream], None]:
    async with raw_server(behave) as server:
        configured = ServerSettings.model_validate({"url": server.url, **settings})
        upstream = McpHttpUpstream("shop", configured, parts(limits=limits, secrets={"env:TOKEN": "s3cret"}))
        try:
            with anyio.fail_after(60):
                yield server, upstream
        finally:
            await upstream.aclose()


async def test_a_modern_call_is_relayed_as_it_came_under_the_servers_own_name() -> None:
    async with bench(modern(lambda exchange: exchange.answer(result(exchange, DONE)))) as (server, upstream):
        body = params("modern", {"a": 1}, future={"x": None})
        body.headers = ((b"Mcp-Param-Region", b"eu"),)
        request = a_request(body, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
        answer = await call(upstream, tool("refund é"), request)
    sent = server.exchanges[-1]
    assert json_object(message(sent)["params"]) == {
        "name": "refund é",
        "arguments": {"a": 1},
        "future": {"x": None},
        "_meta": decode_value(bytes(body.members["_meta"])),
    }
    assert sent.headers[b"mcp-protocol-version"] == b"2026-07-28"
    assert sent.headers[b"mcp-method"] == b"tools/call"
    assert sent.headers[b"mcp-name"] == b"=?base64?cmVmdW5kIMOp?="
    assert sent.headers[b"mcp-param-region"] == b"eu"
    assert sent.headers[b"traceparent"] == request.traceparent.encode()
    assert b"mcp-session-id" not in sent.headers
    assert said(answer) == DONE


async def test_mirrored_arguments_are_supplied_for_callers_whose_protocol_has_none() -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    async with bench(modern(lambda exchange: exchange.answer(result(exchange, DONE)))) as (server, upstream):
        await call(upstream, tool(input_schema=schema), a_request(params("legacy", {"region": "eu"})))
        assert server.exchanges[-1].headers[b"mcp-param-region"] == b"eu"
        await call(upstream, tool(input_schema=schema), a_request(params("legacy", {})))
        assert b"mcp-param-region" not in server.exchanges[-1].headers


async def test_configured_headers_are_sent_with_the_secrets_they_name() -> None:
    headers = {"authorization": "env:TOKEN", "x-team": "shop"}
    async with bench(modern(lambda exchange: exchange.answer(result(exchange, DONE))), headers=headers) as (
        server,
        upstream,
    ):
        await call(upstream, tool(), a_request(params("modern")))
    assert {each.headers[b"authorization"] for each in server.exchanges} == {b"s3cret"}
    assert server.exchanges[-1].headers[b"x-team"] == b"shop"


async def test_a_missing_secret_makes_the_server_unavailable_without_a_word_to_it() -> None:
    async with bench(None, headers={"authorization": "env:MISSING"}) as (server, upstream):
        with pytest.raises(Unavailable) as failed:
            await call(upstream, tool(), a_request(params("modern")))
        assert server.exchanges == []
    assert "MISSING" not in json.dumps(failed.value.describe())
    assert "env:MISSING" in failed.value.for_operators


async def test_an_answer_of_an_unknown_kind_passes_through_untouched() -> None:
    strange: JsonObject = {
        "resultType": "novel",
        "novelty": {"id": "t1"},
        "structuredContent": None,
        "_meta": {"n": None},
    }
    async with bench(modern(lambda exchange: exchange.answer(result(exchange, strange)))) as (_, upstream):
        assert said(await call(upstream, tool(), a_request(params("modern")))) == strange


async def test_a_result_reports_its_usage_in_its_meta() -> None:
    told: JsonObject = {**DONE, "_meta": {"usage": {"input_tokens": 4, "output_tokens": 2}, "cost_usd": 0.25}}
    async with bench(modern(lambda exchange: exchange.answer(result(exchange, told)))) as (_, upstream):
        answer = await call(upstream, tool(), a_request(params("modern")))
    assert isinstance(answer, Complete)
    assert said(answer) == told
    assert answer.usage == Usage(tokens=6, input_tokens=4, output_tokens=2, cost_usd=Decimal("0.25"))


@pytest.mark.parametrize("meta", [None, [], "tokens", {"usage": {"input_tokens": "many tokens"}}], ids=str)
async def test_meta_that_reports_nothing_costs_nothing(meta: Json) -> None:
    told: JsonObject = {**DONE, "_meta": meta}
    async with bench(modern(lambda exchange: exchange.answer(result(exchange, told)))) as (_, upstream):
        answer = await call(upstream, tool(), a_request(params("modern")))
    assert isinstance(answer, Complete)
    assert answer.usage == Usage()


async def test_a_trusted_server_adds_no_label() -> None:
    async with bench(modern(lambda exchange: exchange.answer(result(exchange, DONE))), trust="trusted") as (
        _,
        upstream,
    ):
        labels = Labels(untrusted=frozenset({"server:web"}))
        answer = await call(upstream, tool(), a_request(params("modern"), labels=labels))
        assert isinstance(answer, Complete)
        assert answer.labels == labels


async def test_notifications_become_events_with_their_own_bytes_and_the_answer_comes_last() -> None:
    progress = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.5}}'
    line = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"warning","data":{"a":1}}}'
    strange = b'{"jsonrpc":"2.0","method":"notifications/vendor/x","params":{"z":null}}'
    broken = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":"half"}}'

    def behave(exchange: Exchange) -> None:
        exchange.stream(progress, line, strange, broken, result(exchange, DONE))
        exchange.end()

    seen = Seen()
    async with bench(modern(behave)) as (server, upstream):
        await upstream.call(a_request(params("modern")), tool(), seen)
        await upstream.call(a_request(params("modern")), tool(), seen)
        assert len(server.connections) == 1
    assert [each.native.raw for each in seen.events[:4]] == [progress, line, strange, broken]  # type: ignore[union-attr]
    assert isinstance(seen.events[0], Progress)
    assert [(each.level, each.text) for each in seen.events[1:4] if isinstance(each, Log)] == [
        ("warning", '{"a":1}'),
        ("debug", "notifications/vendor/x"),
        ("debug", "notifications/progress"),
    ]


async def test_a_slow_reader_of_events_slows_the_server_down() -> None:
    line = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"%b"}}' % (
        b"x" * 100_000
    )

    def behave(exchange: Exchange) -> None:
        exchange.stream(*[line] * 300)
        exchange.event(result(exchange, DONE))
        exchange.end()

    go = anyio.Event()
    count = 0

    async def slowly(event: object) -> None:
        nonlocal count
        count += 1
        await go.wait()

    async with bench(modern(behave)) as (server, upstream), anyio.create_task_group() as calls:
        calls.start_soon(upstream.call, a_request(params("modern")), tool(), slowly)
        while count == 0:
            await anyio.wait_all_tasks_blocked()
        await anyio.wait_all_tasks_blocked()
        assert server.exchanges[-1].transport.get_write_buffer_size() > 10_000_000
        go.set()
    assert count == 300


def text(body: bytes, content_type: str = "application/json", status: int = 200) -> Behave:
    return lambda exchange: exchange.answer(body, content_type=content_type, status=status)


def cut_stream(exchange: Exchange) -> None:
    exchange.stream()
    exchange.close()


def ended_stream(exchange: Exchange) -> None:
    exchange.stream(b'{"jsonrpc":"2.0","method":"notifications/x"}')
    exchange.end()


def twice(exchange: Exchange) -> None:
    exchange.stream(result(exchange, DONE), result(exchange, DONE))
    exchange.end()


def other_id_in_stream(exchange: Exchange) -> None:
    exchange.stream(b'{"jsonrpc":"2.0","id":99999,"result":{}}')


def huge_event(exchange: Exchange) -> None:
    exchange.stream(b'{"jsonrpc":"2.0","method":"notifications/x","params":"' + b"x" * 20_000 + b'"}')


def endless_stream(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    exchange.send(b"989680\r\ndata: " + b"x" * 10_000_000)


LIES: dict[str, Behave] = {
    "html": text(b"<html>Welcome</html>", "text/html"),
    "html that says json": text(b"<html>Welcome</html>"),
    "no body": text(b""),
    "an array": text(b"[]"),
    "no result": text(b'{"jsonrpc":"2.0","id":2}'),
    "null": text(b"null"),
    "another id": text(b'{"jsonrpc":"2.0","id":99999,"result":{}}'),
    "an id of another type": lambda exchange: exchange.answer(
        encode({"jsonrpc": "2.0", "id": str(message(exchange)["id"]), "result": {}})
    ),
    "two answers": lambda exchange: exchange.answer(result(exchange, DONE) * 2),
    "a result that is no object": lambda exchange: exchange.answer(result(exchange, [1])),
    "a result of wrong types": lambda exchange: exchange.answer(result(exchange, {"isError": "yes"})),
    "both": lambda exchange: exchange.answer(
        encode({"jsonrpc": "2.0", "id": message(exchange)["id"], "result": {}, "error": {"code": 1, "message": "x"}})
    ),
    "broken utf-8": lambda exchange: exchange.answer(
        b'{"jsonrpc":"2.0","id":%d,"result":{"content":"\xff"}}' % message(exchange)["id"]
    ),
    "too deep": lambda exchange: exchange.answer(
        b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (message(exchange)["id"], b"[" * 100_000 + b"]" * 100_000)
    ),
    "a request": text(b'{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}'),
    "accepted": text(b"", status=202),
    "redirect": lambda exchange: exchange.answer(b"", status=307, more="location: http://127.0.0.1/\r\n"),
    "not found": text(b"", "text/plain", 404),
    "unauthorized": text(b'{"error":"invalid_token"}', status=401),
    "server error": text(b"<html>oops</html>", "text/html", 500),
    "gateway error": text(b"", "text/html", 502),
    "unavailable": text(b"", "text/html", 503),
    "100 MB": lambda exchange: exchange.answer(b"x" * 10_000_000),
    "cut stream": cut_stream,
    "ended stream": ended_stream,
    "answered twice": twice,
    "another id in the stream": other_id_in_stream,
    "huge event": huge_event,
    "endless stream": endless_stream,
    "closed": lambda exchange: exchange.close(),
    "reset": lambda exchange: exchange.reset(),
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_upstream_that_lies_fails_the_call_clearly(lie: str) -> None:
    limits = Limits(result_bytes=1_000_000, event_bytes=10_000)
    async with bench(modern(LIES[lie]), limits=limits) as (server, upstream):
        with pytest.raises(UpstreamFailed) as failure:
            await call(upstream, tool(), a_request(params("modern")))
        assert failure.value.message.startswith("shop ")
        assert "127.0.0.1" not in failure.value.message
        assert sum(message(each).get("method") == "tools/call" for each in server.exchanges) == 1
        # And everybody else is unharmed.
        server.behave = modern(lambda exchange: exchange.answer(result(exchange, DONE)))
        assert said(await call(upstream, tool(), a_request(params("modern")))) == DONE


def silence(exchange: Exchange) -> None: ...


def half_a_body(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{")


@pytest.mark.parametrize(
    "hang", [silence, Exchange.stream, half_a_body], ids=["before", "in the stream", "in the body"]
)
async def test_an_upstream_that_hangs_meets_the_callers_deadline(hang: Callable[[Exchange], None]) -> None:
    async with bench(modern(hang)) as (server, upstream):
        with pytest.raises(DeadlineExceeded):
            await call(upstream, tool(), a_request(params("modern"), within_s=3))
        await server.exchanges[-1].gone.wait()


async def test_a_tools_own_timeout_ends_a_call_before_its_budget_does() -> None:
    async with bench(modern(lambda exchange: None)) as (_, upstream):
        with pytest.raises(DeadlineExceeded):
            await call(upstream, tool(timeout_s=3), a_request(params("modern"), within_s=60))


async def test_an_upstream_that_hangs_when_asked_who_it_is_meets_the_deadline_of_everybody_waiting() -> None:
    async with bench(None) as (server, upstream), anyio.create_task_group() as calls:

        async def one() -> None:
            with pytest.raises(DeadlineExceeded):
                await call(upstream, tool(), a_request(params("modern"), within_s=3))

        for _ in range(3):
            calls.start_soon(one)
        await server.next()


async def test_nobody_there_is_unavailable() -> None:
    async with raw_server() as server:
        url = server.url
    upstream = McpHttpUpstream("shop", ServerSettings(url=url), parts())
    with pytest.raises(Unavailable):
        await upstream.capabilities()
    await upstream.aclose()


async def test_asked_too_often_is_unavailable_and_says_when() -> None:
    async with bench(
        modern(lambda exchange: exchange.answer(b"", status=429, content_type="text/plain", more="retry-after: 7\r\n"))
    ) as (_, upstream):
        with pytest.raises(Unavailable) as failure:
            await call(upstream, tool(), a_request(params("modern")))
        assert failure.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("code", "kind"), [(-32602, InvalidRequest), (-32002, NotFound), (-32603, UpstreamFailed), (4711, UpstreamFailed)]
)
@pytest.mark.parametrize("status", [200, 400])
async def test_the_servers_error_is_kept_word_for_word(code: int, kind: type[GatewayError], status: int) -> None:
    behave = modern(lambda exchange: exchange.answer(error(exchange, code, "no order", {"order": 7}), status=status))
    async with bench(behave) as (_, upstream):
        with pytest.raises(kind) as failure:
            await call(upstream, tool(), a_request(params("modern")))
        assert type(failure.value) is kind
        assert failure.value.detail["upstream"] == {"code": code, "message": "no order", "data": {"order": 7}}
        assert failure.value.sources == {"server:shop"}


async def test_closing_a_modern_call_is_its_cancellation() -> None:
    async with bench(modern(lambda exchange: exchange.stream())) as (server, upstream):
        async with anyio.create_task_group() as calls:
            calls.start_soon(call, upstream, tool(), a_request(params("modern")))
            while len(server.exchanges) < 2:
                await anyio.wait_all_tasks_blocked()
            calls.cancel_scope.cancel()
        await server.exchanges[1].gone.wait()
        assert len(server.exchanges) == 2


@pytest.mark.parametrize("how", ["canceled", "deadline"])
async def test_a_legacy_server_is_told_that_a_call_is_no_longer_wanted(how: str) -> None:
    async with bench(legacy(lambda exchange: exchange.stream())) as (server, upstream):
        async with anyio.create_task_group() as calls:

            async def one() -> None:
                with pytest.raises(DeadlineExceeded):
                    await call(upstream, tool(), a_request(params("modern"), within_s=5))

            calls.start_soon(one)
            while not server.exchanges or message(server.exchanges[-1]).get("method") != "tools/call":
                await server.next()
            if how == "canceled":
                calls.cancel_scope.cancel()
        called, told = server.exchanges[-2:]
        assert message(told)["method"] == "notifications/cancelled"
        assert json_object(message(told)["params"])["requestId"] == message(called)["id"]
        assert told.headers[b"mcp-session-id"] == b"s1"


async def test_each_caller_has_a_legacy_session_of_their_own() -> None:
    numbers = iter(range(100))

    def behave(exchange: Exchange) -> None:
        legacy(lambda each: each.answer(result(each, DONE)), session=f"s{next(numbers)}")(exchange)

    async with bench(behave) as (server, upstream):
        for subject in ("ana", "bob", "ana", "bob"):
            await call(upstream, tool(), a_request(params("legacy"), subject=subject))
        calls = [each for each in server.exchanges if message(each)["method"] == "tools/call"]
        ana, bob, *again = [each.headers[b"mcp-session-id"] for each in calls]
        assert ana != bob
        assert again == [ana, bob]
        assert {each.headers[b"mcp-protocol-version"] for each in calls} == {b"2025-06-18"}
    ended = {each.headers[b"mcp-session-id"] for each in server.exchanges if each.method == b"DELETE"}
    assert {ana, bob} <= ended


async def test_the_session_used_longest_ago_makes_room() -> None:
    behave = legacy(lambda exchange: exchange.answer(result(exchange, DONE)))
    async with bench(behave, limits=Limits(sessions=2)) as (server, upstream):
        for subject in ("ana", "bob", "cid", "ana"):
            await call(upstream, tool(), a_request(params("legacy"), subject=subject))
        opened = sum(message(each)["method"] == "initialize" for each in server.exchanges)
        assert opened == 5  # the gateway's own, then ana's, bob's, cid's, and ana's again


async def test_a_session_the_server_forgot_is_opened_again_once() -> None:
    forgotten = {b"s1"}

    def then(exchange: Exchange) -> None:
        if exchange.headers[b"mcp-session-id"] in forgotten:
            exchange.answer(error(exchange, -32600, "Session not found"), status=404)
        else:
            exchange.answer(result(exchange, DONE))

    sessions = iter(["s1", "s1", "s2"])

    def behave(exchange: Exchange) -> None:
        fresh = exchange.body and message(exchange)["method"] == "initialize"
        legacy(then, session=next(sessions) if fresh else "")(exchange)

    async with bench(behave) as (server, upstream):
        assert said(await call(upstream, tool(), a_request(params("legacy")))) == DONE
        calls = [each for each in server.exchanges if message(each)["method"] == "tools/call"]
        assert [each.headers[b"mcp-session-id"] for each in calls] == [b"s1", b"s2"]


async def test_a_session_forgotten_again_and_again_fails_the_call() -> None:
    behave = legacy(lambda exchange: exchange.answer(b"", status=404, content_type="text/plain"))
    async with bench(behave) as (server, upstream):
        with pytest.raises(UpstreamFailed):
            await call(upstream, tool(), a_request(params("legacy")))
        assert sum(message(each)["method"] == "tools/call" for each in server.exchanges) == 2


async def test_a_server_that_asks_the_gateway_is_answered_and_goes_on() -> None:
    def then(exchange: Exchange) -> None:
        exchange.stream(
            b'{"jsonrpc":"2.0","id":"p","method":"ping"}',
            b'{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{}}',
            result(exchange, DONE),
        )
        exchange.end()

    def behave(exchange: Exchange) -> None:
        legacy(then)(exchange)

    async with bench(behave) as (server, upstream):
        assert said(await call(upstream, tool(), a_request(params("legacy")))) == DONE
        answers = [
            message(each) for each in server.exchanges if "id" in message(each) and "method" not in message(each)
        ]
    assert [(each["id"], "result" in each, "error" in each) for each in answers] == [
        ("p", True, False),
        (7, False, True),
    ]


async def test_a_server_that_changed_its_era_is_asked_again() -> None:
    async with bench(modern(lambda exchange: exchange.answer(result(exchange, DONE)))) as (server, upstream):
        await call(upstream, tool(), a_request(params("modern")))

        def then(exchange: Exchange) -> None:
            exchange.answer(result(exchange, DONE))

        def old(exchange: Exchange) -> None:
            if exchange.headers.get(b"mcp-protocol-version") == b"2026-07-28":
                exchange.answer(error(exchange, -32022, data={"supported": ["2025-06-18"]}), status=400)
            else:
                legacy(then)(exchange)

        server.behave = old
        assert said(await call(upstream, tool(), a_request(params("modern")))) == DONE
        assert server.exchanges[-1].headers[b"mcp-session-id"] == b"s1"


def unknown_method(exchange: Exchange) -> None:
    exchange.answer(error(exchange, -32601))


def discovered(value: Json) -> Behave:
    return lambda exchange: exchange.answer(result(exchange, value))


@pytest.mark.parametrize(
    "answer",
    [
        text(b"", "text/plain", 404),
        text(b"<html></html>", "text/html", 405),
        text(b'{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"no session"}}', status=400),
        unknown_method,
        discovered({"supportedVersions": ["2025-06-18"]}),
        discovered({}),
    ],
    ids=["404", "html", "SDK 1.x", "unknown method", "discovers as legacy", "says nothing"],
)
async def test_whoever_does_not_discover_is_asked_to_initialize(answer: Behave) -> None:
    def behave(exchange: Exchange) -> None:
        if exchange.body and message(exchange)["method"] == "server/discover":
            answer(exchange)
        else:
            legacy(lambda each: each.answer(result(each, {"tools": []})))(exchange)

    async with bench(behave) as (_, upstream):
        assert (await upstream.capabilities()).about["era"] == "legacy"


async def test_a_server_that_refuses_the_version_it_names_itself_is_asked_once_more() -> None:
    refused = 0

    def behave(exchange: Exchange) -> None:
        nonlocal refused
        if message(exchange)["method"] == "server/discover" and not refused:
            refused += 1
            exchange.answer(error(exchange, -32022, data={"supported": ["2026-07-28"]}), status=400)
        else:
            modern(lambda each: each.answer(result(each, {"tools": []})))(exchange)

    async with bench(behave) as (_, upstream):
        assert (await upstream.capabilities()).about["era"] == "modern"


async def test_a_server_that_refuses_every_version_it_names_is_no_modern_one() -> None:
    def behave(exchange: Exchange) -> None:
        if exchange.body and message(exchange)["method"] == "server/discover":
            exchange.answer(error(exchange, -32022, data={"supported": ["2026-07-28"]}), status=400)
        else:
            legacy(lambda each: each.answer(result(each, {"tools": []})))(exchange)

    async with bench(behave) as (server, upstream):
        assert (await upstream.capabilities()).about["era"] == "legacy"
        asked = [message(each).get("method") for each in server.exchanges]
        assert asked.count("server/discover") == 2


async def test_a_server_of_no_known_version_fails() -> None:
    def behave(exchange: Exchange) -> None:
        exchange.answer(result(exchange, {"protocolVersion": "1999-01-01"}))

    async with bench(behave) as (_, upstream):
        with pytest.raises(UpstreamFailed):
            await upstream.capabilities()


async def test_a_change_announced_inside_a_call_is_told_and_not_relayed() -> None:
    changed: list[str] = []

    def behave(exchange: Exchange) -> None:
        exchange.stream(b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}', result(exchange, DONE))
        exchange.end()

    async with raw_server(modern(behave)) as server:
        upstream = McpHttpUpstream("shop", ServerSettings(url=server.url), parts(), lambda: changed.append("tools"))
        seen = Seen()
        await upstream.call(a_request(params("modern")), tool(), seen)
        assert (changed, seen.events) == (["tools"], [])
        await upstream.aclose()


async def test_a_sealed_state_expires() -> None:
    clock = LoopClock()

    def behave(exchange: Exchange) -> None:
        exchange.answer(
            result(exchange, {"resultType": "input_required", "inputRequests": {}, "requestState": "inner"})
        )

    async with raw_server(modern(behave)) as server:
        upstream = McpHttpUpstream("shop", ServerSettings(url=server.url), parts(clock=clock))
        first = await call(upstream, tool(), a_request(params("modern")))
        again = a_request(params("modern"), continuation=first.state)  # type: ignore[union-attr]
        await call(upstream, tool(), again)
        assert json_object(message(server.exchanges[-1])["params"])["requestState"] == "inner"
        clock.ahead_us = 601_000_000
        with pytest.raises(InvalidRequest):
            await call(upstream, tool(), again)
        await upstream.aclose()


CHANGED = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_change_announced_between_calls_is_told(era: str) -> None:
    announcing: JsonObject = {"tools": {"listChanged": True}}

    def behave(exchange: Exchange) -> None:
        method = message(exchange).get("method")
        if method == "server/discover" and era == "modern":
            exchange.answer(result(exchange, {**MODERN, "capabilities": announcing}))
        elif method == "initialize":
            exchange.answer(result(exchange, {**LEGACY, "capabilities": announcing}), more="mcp-session-id: s1\r\n")
        elif method == "subscriptions/listen" or exchange.method == b"GET":
            exchange.stream(b'{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged"}')
        else:
            legacy(silence)(exchange)

    changed = anyio.Event()
    async with raw_server(behave) as server:
        upstream = McpHttpUpstream("shop", ServerSettings(url=server.url), parts(), changed.set)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(upstream.watch)
                exchange = await server.next()
                while exchange.method != b"GET" and message(exchange).get("method") != "subscriptions/listen":
                    exchange = await server.next()
                await anyio.wait_all_tasks_blocked()
                assert not changed.is_set()
                exchange.event(CHANGED)
                await changed.wait()
                assert exchange.headers.get(b"mcp-session-id", b"") == (b"s1" if era == "legacy" else b"")
                tasks.cancel_scope.cancel()
        await upstream.aclose()


@pytest.mark.parametrize("status", [0, 404, 405])
async def test_a_server_that_tells_of_no_changes_is_not_watched(status: int) -> None:
    announcing: JsonObject = {"tools": {"listChanged": status > 0}}

    def behave(exchange: Exchange) -> None:
        if message(exchange)["method"] == "server/discover":
            exchange.answer(result(exchange, {**MODERN, "capabilities": announcing}))
        else:
            exchange.answer(b"", status=status, content_type="text/plain")

    async with bench(behave) as (_, upstream):
        await upstream.watch()


@pytest.mark.parametrize("stage", ["discover", "initialize", "session"])
async def test_a_call_that_was_never_sent_says_so(stage: str) -> None:
    def behave(exchange: Exchange) -> None:
        method = message(exchange).get("method")
        second = sum(message(each).get("method") == "initialize" for each in server.exchanges) > 1
        if method == "initialize" and (stage != "session" or second):
            exchange.answer(b"<html></html>", content_type="text/html")
        elif method == "server/discover" and stage == "discover":
            exchange.close()
        else:
            legacy(silence)(exchange)

    async with bench(behave) as (server, upstream):
        with pytest.raises(Unavailable) as failure:
            await call(upstream, tool(), a_request(params("modern")))
        assert failure.value.detail["sent"] is False
