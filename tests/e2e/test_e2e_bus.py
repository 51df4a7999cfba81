"""A topic of a real broker as a tool of a real gateway: called, killed, started again, answered once."""

from collections.abc import Generator

import anyio
import httpx2
import pytest

from examples.bus.worker import make_app
from gateway.app.buses import bus_from
from gateway.core.ports.bus import Bus, BusLimits, Message
from tests.brokers import valkey
from tests.e2e.conftest import Serve
from tests.e2e.gateways import Caller, Gateway, text_of

pytestmark = pytest.mark.anyio

KEY = "drawbridge/idempotency-key"


@pytest.fixture(scope="module")
def redis() -> Generator[str]:
    with valkey() as url:
        yield url


@pytest.fixture(scope="module")
def gateway(serve: Serve, redis: str) -> Gateway:
    page = {"type": "object", "properties": {"page": {"type": "integer"}}, "required": ["page"]}
    return serve(
        {
            "buses": {"scan": {"url": redis, "topics": {"ocr": {"input_schema": page}, "slow": {}}}},
            "roles": {"clerk": {"allow": ["tool:scan/*"]}, "nobody": {}},
            "principals": {
                "ana": {"roles": ["clerk"], "key": "env:ANA_KEY"},
                "ben": {"roles": ["nobody"], "key": "env:BEN_KEY"},
            },
        }
    )


async def test_a_topic_is_called_like_any_tool_and_judged_like_any_tool(gateway: Gateway, redis: str) -> None:
    app = make_app(redis)
    assert app.broker is not None
    await app.broker.start()
    with anyio.fail_after(60):
        async with Caller(gateway, "ana") as ana, Caller(gateway, "ben") as ben:
            assert "scan__ocr" in await ana.tools()
            said = await ana.call("scan__ocr", page=4)
            assert said["result"]["structuredContent"] == {"text": "The words of page 4."}
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
                gateway.kill()
            await answered(bus, worked[0])
            gateway.start()
            async with Caller(gateway, "ana") as ana:
                said = await ana.call("scan__slow", meta={KEY: "k-1"}, n=1)
                assert said["result"]["structuredContent"] == {"done": True}
            group.cancel_scope.cancel()
    await bus.aclose()
    assert len(worked) == 1


async def answered(bus: Bus, message: Message) -> None:
    """The worker's answer, while no gateway is there to hear it."""
    await bus.publish(Message(id=message.id, topic=message.reply_to, body={"done": True}))
