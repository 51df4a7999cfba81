"""Topics of a bus as tools: a call is a message, its result what a worker answers, and both are there after a crash."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
from msgspec import structs

from adapters.events.settings import BusSettings
from adapters.events.upstream import BusUpstream
from gateway.app.buses import bus_from
from gateway.core.errors import DeadlineExceeded, Exhausted, InvalidRequest, NotFound, UpstreamFailed
from gateway.core.json import Json, JsonObject
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Budget
from gateway.core.model import Capability, Complete, Request, Result, ignore_event
from gateway.core.ports.bus import Bus, BusLimits, Message
from tests.brokers import redis_client, valkey
from tests.fakes import ANA, a_request

pytestmark = pytest.mark.anyio

SCHEMA: JsonObject = {"type": "object", "properties": {"page": {"type": "integer"}}, "required": ["page"]}


def settings(**more: Any) -> BusSettings:
    topics = {"ocr": {"description": "Reads a page.", "input_schema": SCHEMA, "output_schema": {"required": ["text"]}}}
    return BusSettings.model_validate({"url": "memory:", "topics": topics, **more})


def a_bus(url: str = "memory:", **limits: Any) -> Bus:
    return bus_from(url, BusLimits(**limits))


def asked(page: Json = 1, *, key: str = "", seconds: float = 60.0, topic: str = "ocr") -> Request:
    request = a_request(f"tool:scan/{topic}", arguments={"page": page}, key=key)
    return structs.replace(request, budget=Budget(deadline_s=anyio.current_time() + seconds), traceparent="00-a-b-01")


Work = Callable[[Message], Awaitable[Json]]
Scanning = tuple[BusUpstream, list[Message]]


async def reads(message: Message) -> Json:
    return {"text": f"page {message.body['page']}"}  # pyright: ignore[reportArgumentType, reportCallIssue, reportIndexIssue, reportOptionalSubscript]


@asynccontextmanager
async def scanning(
    bus: Bus, work: Work | None = reads, **more: Any
) -> AsyncGenerator[tuple[BusUpstream, list[Message]]]:
    """The upstream over a bus, and a worker outside that knows nothing but the bus."""
    upstream, worked = BusUpstream("scan", settings(**more), bus), list[Message]()
    await upstream.capabilities()

    async def handler(message: Message) -> None:
        if work is None:
            return
        worked.append(message)
        await bus.publish(Message(id=message.id, topic=message.reply_to, body=await work(message)))

    with anyio.fail_after(120):
        async with anyio.create_task_group() as group:
            group.start_soon(upstream.watch)
            if work is not None:
                group.start_soon(bus.work, "ocr", "drawbridge", handler)
            yield upstream, worked
            group.cancel_scope.cancel()


async def called(upstream: BusUpstream, request: Request) -> Result:
    [capability] = (await upstream.capabilities()).capabilities
    return await upstream.call(request, capability, ignore_event)


def value_of(result: Result) -> Json:
    assert isinstance(result, Complete)
    return result.body.content().structured


async def test_topics_are_tools_with_their_contracts() -> None:
    upstream = BusUpstream("scan", settings(trust="trusted"), a_bus())
    [ocr] = (await upstream.capabilities()).capabilities
    assert (ocr.name, ocr.kind, ocr.effect, ocr.idempotency) == ("tool:scan/ocr", "tool", "sink", "meta")
    assert ocr.definition["inputSchema"] == SCHEMA
    read = {"ocr": {"tags": ["read"]}}
    [ocr] = (await BusUpstream("scan", settings(topics=read), a_bus()).capabilities()).capabilities
    assert (ocr.effect, ocr.tags) == ("read", frozenset({"read"}))


async def test_a_call_is_a_message_and_its_result_the_answer() -> None:
    async with scanning(a_bus()) as (upstream, worked):
        result = await called(upstream, asked(7))
    assert value_of(result) == {"text": "page 7"}
    assert isinstance(result, Complete)
    assert result.labels == Labels(untrusted=frozenset({"bus:scan"}))
    [message] = worked
    assert (message.body, message.reply_to, message.traceparent) == ({"page": 7}, "drawbridge.replies", "00-a-b-01")
    assert message.headers["x-tenant"] == "default"


async def test_what_a_trusted_bus_answers_is_clean() -> None:
    async with scanning(a_bus(), trust="trusted") as (upstream, _):
        result = await called(upstream, asked())
    assert isinstance(result, Complete)
    assert result.labels == CLEAN


async def test_many_calls_at_once_get_each_its_own_answer() -> None:
    async with scanning(a_bus()) as (upstream, _):
        results: dict[int, Json] = {}

        async def one(page: int) -> None:
            results[page] = value_of(await called(upstream, asked(page, key=f"k{page}")))

        async with anyio.create_task_group() as group:
            for page in range(20):
                group.start_soon(one, page)
    assert results == {page: {"text": f"page {page}"} for page in range(20)}


async def test_the_same_key_is_worked_on_once_and_anothers_key_is_another() -> None:
    async with scanning(a_bus()) as (upstream, worked):
        await called(upstream, asked(1, key="k"))
        await called(upstream, asked(1, key="k"))
        other = structs.replace(asked(1, key="k"), principal=replace(ANA, subject="ben"))
        await called(upstream, other)
    assert len(worked) == 2


async def test_a_worker_may_answer_that_it_failed() -> None:
    async def fails(message: Message) -> Json:
        return {"error": "the page is blank"}

    async with scanning(a_bus(), fails) as (upstream, _):
        result = await called(upstream, asked())
    assert isinstance(result, Complete)
    assert result.is_error
    assert result.body.content().text == "the page is blank"


async def test_arguments_and_answers_that_break_the_contract_are_refused() -> None:
    async def wrong(message: Message) -> Json:
        return {"words": 3}

    async with scanning(a_bus(), wrong) as (upstream, worked):
        with pytest.raises(InvalidRequest):
            await called(upstream, asked("one"))
        assert worked == []
        with pytest.raises(UpstreamFailed):
            await called(upstream, asked(1))


async def test_what_is_no_topic_is_not_found() -> None:
    upstream = BusUpstream("scan", settings(), a_bus())
    nothing = Capability(name="tool:scan/x", kind="tool", owner="scan", local="x")
    with pytest.raises(NotFound):
        await upstream.call(asked(topic="x"), nothing, ignore_event)


async def test_who_waits_too_long_finds_the_answer_later() -> None:
    bus = a_bus()
    async with scanning(bus, None) as (upstream, _):
        with pytest.raises(DeadlineExceeded):
            await called(upstream, asked(3, key="k", seconds=0.05))
    async with scanning(bus) as (upstream, worked):
        assert value_of(await called(upstream, asked(3, key="k"))) == {"text": "page 3"}
    assert len(worked) == 1


async def test_a_full_topic_refuses() -> None:
    async with scanning(a_bus(backlog=1), None) as (upstream, _), anyio.create_task_group() as waiting:
        waiting.start_soon(called, upstream, asked(1, key="a"))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Exhausted):
            await called(upstream, asked(2, key="b"))
        waiting.cancel_scope.cancel()


@pytest.fixture(scope="module")
def redis() -> Generator[str]:
    with valkey() as url:
        yield url


async def test_after_a_crash_the_answer_that_came_meanwhile_is_found(redis: str) -> None:
    async with scanning(a_bus(redis), None) as (upstream, _), redis_client(redis) as client:
        async with anyio.create_task_group() as dying:
            dying.start_soon(called, upstream, asked(5, key="step"))
            while not await client.xlen("ocr"):
                await anyio.lowlevel.checkpoint()
            dying.cancel_scope.cancel()
        await upstream.aclose()
    # The gateway is gone; a worker takes the message, and answers.
    bus, next_bus, worked = a_bus(redis), a_bus(redis), list[Message]()
    answered = anyio.Event()

    async def outside(message: Message) -> None:
        worked.append(message)
        await bus.publish(Message(id=message.id, topic=message.reply_to, body={"text": "meanwhile"}))
        answered.set()

    with anyio.fail_after(120):
        async with anyio.create_task_group() as group:
            group.start_soon(bus.work, "ocr", "drawbridge", outside)
            await answered.wait()
            # The next gateway makes the same call again, as its journal or its ledger of effects has it.
            upstream = BusUpstream("scan", settings(), next_bus)
            group.start_soon(upstream.watch)
            assert value_of(await called(upstream, asked(5, key="step"))) == {"text": "meanwhile"}
            group.cancel_scope.cancel()
    await bus.aclose()
    await next_bus.aclose()
    assert len(worked) == 1


@pytest.mark.parametrize("wrong", [{"topics": {"No Topic": {}}}, {"url": 3}, {"replies": "no topic"}, {"backlog": 0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        settings(**wrong)
