"""What servers say beside their answers, from real servers of every transport to real clients of both eras."""

import sys
from collections.abc import Generator
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.types import (
    ElicitRequestParams,
    ElicitResult,
    EmptyResult,
    LoggingMessageNotificationParams,
    SubscribeRequestParams,
    TextContent,
)

from tests.adapters.mcp.test_mcp_door_through import EVERY_PAIR, connected
from tests.fakes_mcp_door import together
from tests.fakes_mcp_servers import sdk_server, served

pytestmark = pytest.mark.anyio
PROGRAM = [sys.executable, "-m", "tests.fakes_mcp_servers"]


@pytest.fixture(params=["sse", "stdio"], scope="module")
def server(request: pytest.FixtureRequest) -> Generator[dict[str, Any], None, None]:
    """The settings of a real server. The official suite drives those over Streamable HTTP (see `tests/conformance`)."""
    if request.param == "stdio":
        yield {"command": PROGRAM}
        return
    server = sdk_server()
    # Over this transport the SDK leaves subscriptions to whoever writes the server.
    server._lowlevel_server.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribed)  # pyright: ignore[reportPrivateUsage] - nothing public reaches it
    with served(server.sse_app(sse_path="/mcp")) as url:
        yield {"url": url}


async def subscribed(context: object, params: SubscribeRequestParams) -> EmptyResult:
    return EmptyResult()


async def repeat(client: Client, told: anyio.Event) -> None:
    """Let the server speak of changes until somebody has heard it: streams open on their own time."""
    while not told.is_set():
        await client.call_tool("shop__renew", {})
        with anyio.move_on_after(0.2):
            await told.wait()


@EVERY_PAIR
async def test_what_a_server_logs_during_a_call_reaches_the_caller(server: dict[str, Any], mode: str) -> None:
    logged: list[object] = []

    async def note(params: LoggingMessageNotificationParams) -> None:
        logged.append(params.data)

    more: dict[str, Any] = {"log_level": "info"} if mode != "legacy" else {}
    async with connected(server, mode, within_s=60, logging_callback=note, **more) as client:
        result = await client.call_tool("shop__report", {})
    assert isinstance(result.content[0], TextContent)
    assert (result.content[0].text, logged) == ("reported", ["looked"])


@EVERY_PAIR
@pytest.mark.filterwarnings("ignore:resources/subscribe is removed")
async def test_a_resource_that_changed_is_told(server: dict[str, Any], mode: str) -> None:
    told = anyio.Event()

    async def handle(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/resources/updated":
            told.set()

    async with connected(server, mode, within_s=60, message_handler=handle) as client, together() as group:
        if mode == "legacy":
            await client.subscribe_resource("note://today")  # pyright: ignore[reportDeprecated] - not in its era
            await repeat(client, told)
            return
        async with client.listen(resource_subscriptions=["note://today"]) as subscription:
            group.start_soon(repeat, client, told)
            async for event in subscription:
                assert type(event).__name__ == "ResourceUpdated"
                break
            told.set()


@EVERY_PAIR
async def test_a_changed_list_is_noticed_at_once(server: dict[str, Any], mode: str) -> None:
    changed = anyio.Event()
    async with connected(server, mode, within_s=60, on_changed=changed.set) as client:
        await repeat(client, changed)


@EVERY_PAIR
async def test_a_question_during_a_call_reaches_the_caller(server: dict[str, Any], mode: str) -> None:
    asked: list[str] = []

    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"copies": 2})

    async with connected(server, mode, within_s=60, elicitation_callback=answer) as client:
        result = await client.call_tool("shop__reserve", {"title": "Dune"})
    assert isinstance(result.content[0], TextContent)
    assert (result.content[0].text, asked) == ("2 of Dune", ["How many copies?"])
