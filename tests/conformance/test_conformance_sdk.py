"""The official client at the everything server through the gateway: what the suite does not look at, era by era."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    ResourceUpdatedNotification,
    TextContent,
)

from tests.conformance.conftest import KEY_OF
from tests.e2e.gateways import Gateway, key_of

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

WATCHED = "test://watched-resource"
EVERY_PAIR = pytest.mark.parametrize(
    ("mode", "server"), [(mode, server) for mode in ("legacy", "2026-07-28") for server in ("everything", "legacy")]
)


@asynccontextmanager
async def connected(gateway: Gateway, server: str, mode: Any, **more: Any) -> AsyncGenerator[Client]:
    headers = {"authorization": f"Bearer {key_of(KEY_OF)}"}
    with anyio.fail_after(120):
        async with httpx2.AsyncClient(headers=headers, timeout=120) as http:
            link = streamable_http_client(f"{gateway.url}/mcp/{server}", http_client=http)
            async with Client(link, mode=mode, **more) as client:
                yield client


async def fill_in(context: Any, params: ElicitRequestParams) -> ElicitResult:
    assert isinstance(params, ElicitRequestFormParams)
    return ElicitResult(action="accept", content={name: f"my {name}" for name in params.requested_schema["properties"]})


async def complete(context: Any, params: CreateMessageRequestParams) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", model="none", content=TextContent(type="text", text="Paris"))


async def no_roots(context: Any) -> ListRootsResult:
    return ListRootsResult(roots=[])


def text(result: Any) -> str:
    return str(result.content[0].text)


@EVERY_PAIR
async def test_what_a_server_asks_is_answered_by_the_client(gateway: Gateway, mode: str, server: str) -> None:
    able = {"elicitation_callback": fill_in, "sampling_callback": complete, "list_roots_callback": no_roots}
    async with connected(gateway, server, mode, **able) as client:
        form = await client.call_tool("test_elicitation", {"message": "Who?"})
        assert "my username" in text(form)
        assert text(await client.call_tool("test_sampling", {"prompt": "?"})) == "LLM response: Paris"
        in_turn = await client.call_tool("test_input_required_result_multi_round", {})
        assert text(in_turn) == "my name likes my color"
        assert "all of" in text(await client.call_tool("test_input_required_result_multiple_inputs", {}))


@EVERY_PAIR
async def test_a_client_that_can_be_asked_nothing_is_asked_nothing(gateway: Gateway, mode: str, server: str) -> None:
    async with connected(gateway, server, mode) as client:
        assert "cannot be asked" in text(await client.call_tool("test_elicitation", {"message": "Who?"}))


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
@pytest.mark.parametrize("server", ["everything", "legacy"])
async def test_a_legacy_session_hears_of_a_resource_it_subscribed_to(gateway: Gateway, server: str) -> None:
    heard = anyio.Event()

    async def hear(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            assert message.params.uri == WATCHED
            heard.set()

    async with connected(gateway, server, "legacy", message_handler=hear) as client:
        await client.subscribe_resource(WATCHED)  # pyright: ignore[reportDeprecated]
        # The session's own stream may still be on its way: what changes before it is there is told to nobody.
        while not heard.is_set():
            await client.call_tool("test_trigger_resource_update", {})
            with anyio.move_on_after(1):
                await heard.wait()
        await client.unsubscribe_resource(WATCHED)  # pyright: ignore[reportDeprecated]


@pytest.mark.parametrize("server", ["everything", "legacy"])
async def test_a_modern_subscription_tells_of_the_resources_it_names(gateway: Gateway, server: str) -> None:
    async with (
        connected(gateway, server, "2026-07-28") as client,
        client.listen(resource_subscriptions=[WATCHED, "test://nowhere"]) as subscription,
    ):
        # A server may have what it does not list: it says itself what it tells of, and these two promise anything.
        assert set(subscription.honored.resource_subscriptions or ()) == {WATCHED, "test://nowhere"}
        await client.call_tool("test_trigger_resource_update", {})
        async for event in subscription:
            # That its server was listened to anew may be told of the other as well.
            if str(getattr(event, "uri", "")) == WATCHED:
                break
