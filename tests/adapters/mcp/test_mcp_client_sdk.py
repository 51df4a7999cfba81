"""The upstream face against real servers of the official SDK: both eras over HTTP, HTTP+SSE, and stdio."""

import logging
import sys
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from msgspec import Raw

from adapters.mcp.client import server_upstream
from adapters.mcp.client_callers import McpCallersUpstream
from adapters.mcp.client_http import McpHttpUpstream
from adapters.mcp.client_stdio import McpStdioUpstream
from adapters.mcp.settings import ServerSettings, ToolSettings
from adapters.mcp.wire import Era, Frame, Params, decode_value, encode
from gateway.core.content import plain
from gateway.core.errors import DeadlineExceeded, InvalidRequest, NotFound, UpstreamFailed
from gateway.core.json import JsonObject, json_object
from gateway.core.labels import Labels
from gateway.core.model import Complete, InputRequired, Progress
from tests.fakes_mcp_client import Seen, a_request, call, found, params, parts, said, structured
from tests.fakes_mcp_servers import LegacyOnly, sdk_server, served

pytestmark = pytest.mark.anyio
CANCELED = threading.Event()
SCRIPT = Path(__file__).parents[2] / "fakes_mcp_servers.py"
ERAS: tuple[Era, ...] = ("modern", "legacy")


@pytest.fixture(scope="module")
def modern_url() -> Generator[str, None, None]:
    logging.getLogger("mcp").setLevel(logging.ERROR)
    with served(sdk_server(CANCELED).streamable_http_app()) as url:
        yield url


@pytest.fixture(scope="module")
def legacy_url() -> Generator[str, None, None]:
    with served(LegacyOnly(sdk_server(CANCELED).streamable_http_app())) as url:
        yield url


@pytest.fixture(scope="module")
def sse_url() -> Generator[str, None, None]:
    with served(sdk_server(CANCELED).sse_app(sse_path="/mcp")) as url:
        yield url


@pytest.fixture(params=["modern", "legacy", "sse", "stdio"])
def settings(request: pytest.FixtureRequest) -> ServerSettings:
    tools = {
        "seen_meta": ToolSettings(tags=("read",), idempotency="meta"),
        "refund": ToolSettings(idempotency="argument:key"),
    }
    if request.param == "stdio":
        return ServerSettings(command=(sys.executable, str(SCRIPT)), tools=tools)
    return ServerSettings(url=request.getfixturevalue(f"{request.param}_url"), tools=tools)


@asynccontextmanager
async def connected(
    settings: ServerSettings,
) -> AsyncGenerator[McpHttpUpstream | McpCallersUpstream | McpStdioUpstream, None]:
    upstream = server_upstream("shop", settings, parts())
    try:
        with anyio.fail_after(60):
            yield upstream
    finally:
        await upstream.aclose()


async def test_everything_a_server_offers_is_listed_as_it_gave_it(settings: ServerSettings) -> None:
    async with connected(settings) as upstream:
        listing = await upstream.capabilities()
    assert sorted(capability.name for capability in listing.capabilities) == [
        "prompt:shop/greet",
        "resource:shop/note://today",
        "resource:shop/note://{id}",
        "tool:shop/count",
        "tool:shop/fail",
        "tool:shop/refund",
        "tool:shop/renew",
        "tool:shop/report",
        "tool:shop/reserve",
        "tool:shop/seen_meta",
        "tool:shop/wait",
    ]
    refund = found(listing, "tool:shop/refund")
    assert (refund.effect, refund.tags, refund.idempotency) == ("sink", frozenset({"destructive"}), "argument:key")
    assert json_object(refund.definition.get("_meta")) == {"com.example/tier": "gold"}
    assert refund.input_schema == refund.definition["inputSchema"]
    assert found(listing, "tool:shop/seen_meta").effect == "read"
    assert found(listing, "prompt:shop/greet").effect == "read"
    assert listing.about["instructions"] == "Be kind."
    assert json_object(listing.about["serverInfo"])["name"] == "shop"
    versions = {"modern": "2026-07-28", "legacy": "2025-11-25"}
    assert listing.about["protocolVersion"] == versions[str(listing.about["era"])]


@pytest.mark.parametrize("era", ERAS)
async def test_arguments_and_answers_cross_every_pair_of_eras(settings: ServerSettings, era: Era) -> None:
    async with connected(settings) as upstream:
        refund = found(await upstream.capabilities(), "tool:shop/refund")
        result = await call(upstream, refund, a_request(params(era, {"order": "A 1é", "amount": 5})))
        assert isinstance(result, Complete)
        assert structured(result) == {"order": "A 1é", "amount": 5, "key": ""}
        assert not result.is_error
        assert result.labels == Labels(untrusted=frozenset({"server:shop"}))


async def test_a_call_from_inside_the_gateway_needs_no_protocol(settings: ServerSettings) -> None:
    async with connected(settings) as upstream:
        refund = found(await upstream.capabilities(), "tool:shop/refund")
        result = await call(upstream, refund, a_request(plain({"order": "1", "amount": 2})))
        assert structured(result)["amount"] == 2


async def test_an_idempotency_key_reaches_the_argument_or_the_metadata(settings: ServerSettings) -> None:
    async with connected(settings) as upstream:
        listing = await upstream.capabilities()
        refund, seen_meta = found(listing, "tool:shop/refund"), found(listing, "tool:shop/seen_meta")
        body = params("modern", {"order": "1", "amount": 2})
        assert structured(await call(upstream, refund, a_request(body, idempotency_key="k1")))["key"] == "k1"
        result = await call(upstream, seen_meta, a_request(params("legacy"), idempotency_key="k2"))
        assert json_object(structured(result)["meta"])["drawbridge/idempotency-key"] == "k2"


async def test_a_modern_client_speaks_for_itself_and_a_legacy_one_is_never_spoken_for(modern_url: str) -> None:
    async with connected(ServerSettings(url=modern_url)) as upstream:
        seen_meta = found(await upstream.capabilities(), "tool:shop/seen_meta")
        modern = json_object(structured(await call(upstream, seen_meta, a_request(params("modern"))))["meta"])
        legacy = json_object(structured(await call(upstream, seen_meta, a_request(params("legacy"))))["meta"])
    assert modern["io.modelcontextprotocol/clientInfo"] == {"name": "tester", "version": "9"}
    assert modern["io.modelcontextprotocol/clientCapabilities"] == {"elicitation": {"form": {}}}
    assert json_object(legacy["io.modelcontextprotocol/clientInfo"])["name"] == "drawbridge"
    assert legacy["io.modelcontextprotocol/clientCapabilities"] == {}


async def test_a_legacy_server_sees_nothing_of_the_modern_era(legacy_url: str) -> None:
    async with connected(ServerSettings(url=legacy_url)) as upstream:
        seen_meta = found(await upstream.capabilities(), "tool:shop/seen_meta")
        result = await call(upstream, seen_meta, a_request(params("modern", meta={"com.example/x": 1})))
        assert structured(result)["meta"] == {"com.example/x": 1}


@pytest.mark.parametrize("era", ERAS)
async def test_progress_comes_in_order_with_the_callers_own_token(settings: ServerSettings, era: Era) -> None:
    seen = Seen()
    async with connected(settings) as upstream:
        count = found(await upstream.capabilities(), "tool:shop/count")
        body = params(era, {"n": 3}, meta={"progressToken": "mine"})
        result = await upstream.call(a_request(body), count, seen)
    assert said(result)["content"] == [{"type": "text", "text": "counted 3"}]
    assert [(each.progress, each.total, each.message) for each in seen.events if isinstance(each, Progress)] == [
        (1, 3, "step 1"),
        (2, 3, "step 2"),
        (3, 3, "step 3"),
    ]
    for event in seen.events:
        assert isinstance(event.native, Frame)
        frame = json_object(decode_value(event.native.raw))
        assert json_object(frame["params"])["progressToken"] == "mine"


async def test_concurrent_calls_get_their_own_answers_and_events(settings: ServerSettings) -> None:
    results: dict[int, tuple[object, int]] = {}
    async with connected(settings) as upstream:
        count = found(await upstream.capabilities(), "tool:shop/count")

        async def one(number: int) -> None:
            seen = Seen()
            body = params("legacy", {"n": number}, meta={"progressToken": "same"})
            result = await upstream.call(a_request(body, subject=f"user{number % 2}"), count, seen)
            results[number] = (structured(result)["result"], len(seen.events))

        async with anyio.create_task_group() as calls:
            for number in range(1, 9):
                calls.start_soon(one, number)
    assert results == {number: (f"counted {number}", number) for number in range(1, 9)}


async def test_a_tools_own_failure_is_an_answer(settings: ServerSettings) -> None:
    async with connected(settings) as upstream:
        fail = found(await upstream.capabilities(), "tool:shop/fail")
        result = await call(upstream, fail, a_request())
        assert isinstance(result, Complete)
        assert result.is_error


async def test_resources_templates_and_prompts_are_read_by_their_own_names(settings: ServerSettings) -> None:
    async with connected(settings) as upstream:
        listing = await upstream.capabilities()
        today = await call(upstream, found(listing, "resource:shop/note://today"), a_request(operation="read"))
        note = await call(
            upstream,
            found(listing, "resource:shop/note://{id}"),
            a_request(Params({"uri": Raw(b'"note://7"')}, era="legacy"), operation="read"),
        )
        greeting = await call(
            upstream, found(listing, "prompt:shop/greet"), a_request(plain({"name": "Bo"}), operation="get")
        )
    assert isinstance(today, Complete)
    assert isinstance(note, Complete)
    assert isinstance(greeting, Complete)
    assert today.body.content().parts[0].text == "closed on Mondays"
    assert note.body.content().parts[0].text == "note 7"
    assert greeting.body.content().text == "Say hello to Bo"


async def test_what_a_server_calls_invalid_is_invalid_and_its_words_are_kept(settings: ServerSettings) -> None:
    async with connected(settings) as upstream:
        listing = await upstream.capabilities()
        note = found(listing, "resource:shop/note://{id}")
        gone = Params({"uri": Raw(encode("nothing://here"))}, era="modern")
        with pytest.raises((InvalidRequest, NotFound)) as failure:
            await call(upstream, note, a_request(gone, operation="read"))
        assert json_object(failure.value.detail["upstream"])["code"] in (-32602, -32002)


async def test_a_canceled_call_is_canceled_at_the_server(settings: ServerSettings) -> None:
    async with connected(settings) as upstream:
        listing = await upstream.capabilities()
        wait, refund = found(listing, "tool:shop/wait"), found(listing, "tool:shop/refund")
        CANCELED.clear()
        seen = Seen()
        async with anyio.create_task_group() as calls:
            body = params("legacy", meta={"progressToken": 1})
            calls.start_soon(upstream.call, a_request(body), wait, seen)
            await seen.first.wait()
            calls.cancel_scope.cancel()
        if not settings.command:
            assert await anyio.to_thread.run_sync(CANCELED.wait, 60)
        result = await call(upstream, refund, a_request(plain({"order": "1", "amount": 2})))
        assert structured(result)["amount"] == 2


async def test_a_call_that_takes_too_long_meets_its_deadline(settings: ServerSettings) -> None:
    async with connected(settings) as upstream:
        wait = found(await upstream.capabilities(), "tool:shop/wait")
        with pytest.raises(DeadlineExceeded):
            await call(upstream, wait, a_request(within_s=3))


@pytest.mark.parametrize("settings", ["modern", "stdio"], indirect=True)
async def test_a_question_is_resumed_by_the_same_caller_with_the_same_arguments_only(settings: ServerSettings) -> None:
    async with connected(settings) as upstream:
        listing = await upstream.capabilities()
        reserve = found(listing, "tool:shop/reserve")
        first = await call(upstream, reserve, a_request(params("modern", {"title": "Dune"})))
        assert isinstance(first, InputRequired)
        asked = json_object(decode_value(first.body.raw))  # type: ignore[attr-defined]
        (question,) = json_object(asked["inputRequests"])
        answers: JsonObject = {question: {"action": "accept", "content": {"copies": 3}}}

        def again(title: str, state: str, subject: str = "ana") -> Params:
            return params("modern", {"title": title}, inputResponses=answers, requestState=state)

        for title, state, subject in (
            ("Emma", first.state, "ana"),
            ("Dune", first.state, "bob"),
            ("Dune", first.state[:-4] + "AAAA", "ana"),
            ("Dune", str(asked["requestState"]), "ana"),
        ):
            with pytest.raises(InvalidRequest):
                await call(upstream, reserve, a_request(again(title, state), subject=subject, continuation=state))
        result = await call(upstream, reserve, a_request(again("Dune", first.state), continuation=first.state))
        assert said(result)["content"] == [{"type": "text", "text": "3 of Dune"}]


async def test_a_missing_client_capability_is_said_in_the_servers_own_words(modern_url: str) -> None:
    async with connected(ServerSettings(url=modern_url)) as upstream:
        reserve = found(await upstream.capabilities(), "tool:shop/reserve")
        with pytest.raises(UpstreamFailed) as failure:
            await call(upstream, reserve, a_request(params("legacy", {"title": "Dune"})))
        assert json_object(failure.value.detail["upstream"])["code"] == -32021
