"""A topic of a real broker as a tool of a real gateway: called, killed, started again, answered once."""

from collections.abc import Generator

import anyio
import httpx2
import pytest
from anyio import to_thread

from examples.bus.worker import make_app
from gateway.app.buses import bus_from
from gateway.core.json import Json, json_object
from gateway.core.ports.bus import Bus, BusLimits, Message
from tests.brokers import valkey
from tests.e2e.conftest import Serve
from tests.e2e.gateways import Caller, Gateway, text_of

pytestmark = pytest.mark.anyio

KEY = "drawbridge/idempotency-key"
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def redis() -> Generator[str]:
    with valkey() as url:
        yield url


@pytest.fixture(scope="module")
def gateway(serve: Serve, redis: str) -> Gateway:
    page = {"type": "object", "properties": {"page": {"type": "integer"}}, "required": ["page"]}
    return serve(
        {
            "buses": {
                "scan": {"url": redis, "topics": {"ocr": {"input_schema": page}, "slow": {}}},
                "front": {"url": "memory:", "topics": {"ask": {}}},
                "lab": {"url": redis, "replies": "lab.replies", "topics": {"read": {}, "sum": {}}},
            },
            "workflows": {
                "teller": {
                    "pattern": "sequential",
                    "stages": [{"tool": "scan/ocr", "input": {"page": "$task.page"}}],
                    "started_by": [
                        {"bus": "front", "topic": "ask", "principal": "teller", "answers_to": "drawbridge.replies"}
                    ],
                },
                "study": {
                    "pattern": "event_driven",
                    "event_driven": {"bus": "lab", "first": [{"topic": "read", "input": {"shelf": "$task.shelf"}}]},
                },
            },
            "roles": {
                "clerk": {"allow": ["tool:scan/*", "tool:front/*", "workflow:study"]},
                "counter": {"allow": ["workflow:teller"]},
                "nobody": {},
            },
            "principals": {
                "ana": {"roles": ["clerk"], "key": "env:ANA_KEY"},
                "teller": {"roles": ["counter"]},
                "ben": {"roles": ["nobody"], "key": "env:BEN_KEY"},
            },
        }
    )


async def test_a_topic_is_called_like_any_tool_and_judged_like_any_tool(gateway: Gateway, redis: str) -> None:
    app = make_app(redis)
    assert app.broker is not None
    await app.broker.start()
    with anyio.fail_after(120):
        async with Caller(gateway, "ana") as ana, Caller(gateway, "ben") as ben:
            assert "scan__ocr" in await ana.tools()
            said = await ana.call("scan__ocr", page=4)
            assert said["result"]["structuredContent"] == {"text": "The words of page 4."}
            over_the_counter = await ana.call("front__ask", page=5)
            assert over_the_counter["result"]["structuredContent"]["answer"] == {"text": "The words of page 5."}
            failed = await ana.call("scan__ocr", page=0)
            assert failed["result"]["isError"]
            assert text_of(failed) == "there is no page 0"
            assert await ben.tools() == []
            refused = await ben.call("scan__ocr", page=4)
            assert refused["result"]["isError"], refused
    await app.broker.stop()


async def test_after_kill_9_the_same_call_finds_the_answer_and_is_worked_on_once(gateway: Gateway, redis: str) -> None:
    bus, worked, taken = bus_from(redis, BusLimits()), list[Message](), anyio.Event()

    async def work(message: Message) -> None:
        worked.append(message)
        taken.set()

    async def calls_in_vain() -> None:
        async with Caller(gateway, "ana") as ana:
            with pytest.raises((httpx2.TransportError, OSError)):
                await ana.call("scan__slow", meta={KEY: "k-1"}, n=1)

    with anyio.fail_after(120):
        async with anyio.create_task_group() as group:
            group.start_soon(bus.work, "slow", "drawbridge", work)
            async with anyio.create_task_group() as calling:
                calling.start_soon(calls_in_vain)
                await taken.wait()
                await to_thread.run_sync(gateway.kill)
            await answered(bus, worked[0])
            await to_thread.run_sync(gateway.start)
            async with Caller(gateway, "ana") as ana:
                said = await ana.call("scan__slow", meta={KEY: "k-1"}, n=1)
                assert said["result"]["structuredContent"] == {"done": True}
            group.cancel_scope.cancel()
    await bus.aclose()
    assert len(worked) == 1


async def test_tasks_of_an_event_driven_run_go_over_the_bus_and_workers_there_publish_more(
    gateway: Gateway, redis: str
) -> None:
    bus, worked = bus_from(redis, BusLimits()), list[Message]()

    async def read(message: Message) -> None:
        worked.append(message)
        more: list[Json] = [{"topic": "sum", "key": each, "input": {"book": each}} for each in ("a", "b")]
        await answered(bus, message, {"drawbridge": {"publish": more, "findings": {"books": 2}}})

    async def add(message: Message) -> None:
        worked.append(message)
        book = json_object(message.body)["book"]
        await answered(bus, message, {"drawbridge": {"findings": {f"book {book}": 7}}})

    found: dict[str, int] = {}
    with anyio.fail_after(120):
        async with anyio.create_task_group() as group, Caller(gateway, "ana") as ana:
            group.start_soon(bus.work, "read", "drawbridge", read)
            group.start_soon(bus.work, "sum", "drawbridge", add)
            meta = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
            said = await ana.call("workflows__study", meta=meta, message="How much?", data={"shelf": 3})
            found = said["result"]["structuredContent"]["answer"]["findings"]
            group.cancel_scope.cancel()
    await bus.aclose()
    assert found == {"books": 2, "book a": 7, "book b": 7}
    assert sorted(str(json_object(each.body)) for each in worked) == ["{'book': 'a'}", "{'book': 'b'}", "{'shelf': 3}"]
    assert all(TRACE in each.traceparent and each.headers["x-run"] for each in worked)


async def answered(bus: Bus, message: Message, body: Json = True) -> None:
    """A worker's answer, whether or not a gateway is there to hear it."""
    await bus.publish(Message(id=message.id, topic=message.reply_to, body={"done": True} if body is True else body))
