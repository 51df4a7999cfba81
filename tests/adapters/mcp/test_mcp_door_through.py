"""The whole way: the official client, the door, the one path, the MCP client, a real server; every pair of eras."""

import socket
import ssl
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import anyio
import httpx2
import pytest
import uvicorn
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitRequestParams, ElicitResult, TextContent

from adapters.mcp.client import server_upstream
from adapters.mcp.client_parts import ServerParts
from adapters.mcp.client_seal import Seal
from adapters.mcp.client_stdio import McpStdioUpstream
from adapters.mcp.door import McpDoor
from adapters.mcp.settings import ServerSettings
from gateway.core.catalog import Shelf
from gateway.core.effects import Effects
from gateway.core.errors import DeadlineExceeded
from gateway.core.limits import Limits
from gateway.core.pipeline import Pipeline
from gateway.core.plans import Policies, Snapshot
from gateway.core.ports.upstream import Listing, Upstream
from gateway.core.ports.world import Secret
from gateway.testing.stores.effects import MemoryEffectLedger
from tests.fakes import GRANT, ListAudit, Says
from tests.fakes_mcp_door import Badges, Counting, Ticking, together
from tests.fakes_mcp_servers import LegacyOnly, sdk_server, served

pytestmark = pytest.mark.anyio

EVERY_PAIR = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])


class NoSecrets:
    def resolve(self, reference: str) -> Secret:
        return Secret("")


@pytest.fixture(params=["legacy", "modern", "sse"], scope="module")
def url(request: pytest.FixtureRequest) -> Generator[str, None, None]:
    """Of a real server, which speaks one era or transport."""
    app: Any = sdk_server().streamable_http_app()
    if request.param == "sse":
        app = sdk_server().sse_app(sse_path="/mcp")
    with served(LegacyOnly(app) if request.param == "legacy" else app) as url:
        yield url


async def listed(upstream: Upstream) -> Listing:
    """What it offers; asked again where a busy machine was too slow to start it."""
    for _ in range(3):
        with suppress(DeadlineExceeded):
            return await upstream.capabilities()
    return await upstream.capabilities()


@asynccontextmanager
async def connected(
    server: str | dict[str, Any],
    mode: Any,
    *,
    on_changed: Callable[[], None] = lambda: None,
    within_s: float = 60.0,
    **more: Any,
) -> AsyncGenerator[Client]:
    """A client of a gateway before a server, given by its URL or its settings."""
    clock, limits = Ticking(), Limits()
    settings = ServerSettings.model_validate({"url": server} if isinstance(server, str) else server)
    parts = ServerParts(
        limits=limits, clock=clock, secrets=NoSecrets(), seal=Seal(b"k" * 32, clock), tls=ssl.create_default_context()
    )
    upstream = server_upstream("shop", settings, parts, on_changed)
    try:
        shelf = Shelf()
        shelf.add(upstream, "default")
        shelf.arrived("shop", await listed(upstream))
        pipeline = Pipeline(
            snapshot=Snapshot(version="1", catalog=shelf.catalog(), policies=Policies(requests=[Says(GRANT)])),
            audit=ListAudit(),
            effects=Effects(MemoryEffectLedger(), clock),
            clock=clock,
            ids=Counting(),
            limits=limits,
        )
        door = McpDoor(gateway=pipeline, authenticator=Badges(), clock=clock, ids=Counting(), limits=limits)
        with anyio.fail_after(within_s), ExitStack() as closing:
            async with door.running(), together() as group, together() as watching:
                if not isinstance(upstream, McpStdioUpstream):
                    watching.start_soon(upstream.watch)
                listener = closing.enter_context(socket.create_server(("127.0.0.1", 0)))
                serving = uvicorn.Server(
                    uvicorn.Config(door, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
                )
                group.start_soon(serving.serve, [listener])
                target = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
                async with httpx2.AsyncClient(headers={"authorization": "Bearer ana"}, timeout=within_s) as http:
                    transport = streamable_http_client(target, http_client=http)
                    async with Client(transport, mode=mode, **more) as client:
                        yield client
                door.stop()
                serving.should_exit = True
                watching.cancel_scope.cancel()
    finally:
        await upstream.aclose()


@EVERY_PAIR
async def test_everything_a_server_offers_is_there_and_works(url: str, mode: str) -> None:
    async with connected(url, mode) as client:
        tools = {each.name: each for each in (await client.list_tools()).tools}
        assert "shop__refund" in tools
        assert (tools["shop__refund"].meta or {})["com.example/tier"] == "gold"
        done = await client.call_tool("shop__refund", {"order": "A1", "amount": 3})
        assert done.structured_content == {"order": "A1", "amount": 3, "key": ""}
        failed = await client.call_tool("shop__fail", {})
        assert failed.is_error
        steps: list[float] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            steps.append(progress)

        counted = await client.call_tool("shop__count", {"n": 3}, progress_callback=note)
        assert isinstance(counted.content[0], TextContent)
        assert (counted.content[0].text, steps) == ("counted 3", [1, 2, 3])
        assert (await client.get_prompt("shop__greet", {"name": "Bo"})).messages
        assert [each.uri for each in (await client.list_resources()).resources] == ["note://today"]
        assert (await client.read_resource("note://today")).contents
        assert (await client.read_resource("note://7")).contents


@EVERY_PAIR
async def test_giving_up_reaches_the_server(mode: str) -> None:
    canceled, began = threading.Event(), anyio.Event()
    with served(sdk_server(canceled).streamable_http_app()) as url:
        async with connected(url, mode) as client:

            async def note(progress: float, total: float | None, message: str | None) -> None:
                began.set()

            async def wait() -> None:
                await client.call_tool("shop__wait", {}, progress_callback=note)

            async with together() as group:
                group.start_soon(wait)
                await began.wait()
                group.cancel_scope.cancel()
            assert await anyio.to_thread.run_sync(canceled.wait, 60)


async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"copies": 2})


async def test_a_question_of_a_modern_server_reaches_a_modern_client() -> None:
    with served(sdk_server().streamable_http_app()) as url:
        async with connected(url, "2026-07-28", elicitation_callback=answer) as client:
            result = await client.call_tool("shop__reserve", {"title": "Dune"})
    assert isinstance(result.content[0], TextContent)
    assert result.content[0].text == "2 of Dune"
