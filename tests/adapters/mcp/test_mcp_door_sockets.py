"""The MCP door behind a real HTTP server, with the official client in both eras, and with bytes nobody should send."""

import socket
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import msgspec
import pytest
import uvicorn
from anyio.abc import SocketStream
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent
from starlette.types import Receive, Scope, Send

from adapters.mcp.door import McpDoor
from adapters.mcp.exchange import Pace
from adapters.mcp.wire import Answer, Frame
from gateway.core.content import plain
from gateway.core.errors import Denied
from gateway.core.limits import Limits
from gateway.core.model import Complete, Emit, Log, Progress, Request, Result
from tests.fakes_mcp_door import (
    Badges,
    Counting,
    ShopGateway,
    Ticking,
    agent,
    failing,
    modern_body,
    opened,
    prompt,
    resource,
    template,
    together,
    tool,
    workflow,
)

ERAS = pytest.mark.parametrize("mode", ["legacy", "2026-07-28", "auto"])
KEY = {"authorization": "Bearer ana"}


@asynccontextmanager
async def served(gateway: ShopGateway) -> AsyncGenerator[int]:
    """The port a door for `gateway` listens on."""
    async with opened(gateway) as door, together() as group:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(door, log_level="error", lifespan="off", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        group.start_soon(server.serve, [listener])
        yield listener.getsockname()[1]
        door.stop()
        server.should_exit = True


@asynccontextmanager
async def connected(port: int, mode: Any, path: str = "/mcp", **more: Any) -> AsyncGenerator[Client]:
    async with httpx2.AsyncClient(headers=KEY) as http:
        transport = streamable_http_client(f"http://127.0.0.1:{port}{path}", http_client=http)
        async with Client(transport, mode=mode, **more) as client:
            yield client


def shop() -> ShopGateway:
    gateway = ShopGateway(
        tool("refund"),
        agent("refunds"),
        workflow("help"),
        prompt("reply"),
        resource("file:///a"),
        template("db://{t}/{id}"),
    )

    async def refund(request: Request, emit: Emit) -> Result:
        await emit(Progress(progress=1, total=2, message="half"))
        level = Frame(b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"looked"}}')
        await emit(Log(level="info", text="looked", native=level))
        said = msgspec.json.encode(request.body.content().structured).decode()
        text = msgspec.json.encode({"type": "text", "text": said})
        return Complete(body=Answer(b'{"content":[%b],"structuredContent":{"ok":true}}' % text, era="legacy"))

    async def read(request: Request, emit: Emit) -> Result:
        return Complete(body=Answer(b'{"contents":[{"uri":"db://x/1","text":"row"}]}', era="legacy"))

    gateway.runs["tool:orders/refund"] = refund
    gateway.runs["resource:orders/db://{t}/{id}"] = read
    return gateway


@ERAS
@pytest.mark.anyio
async def test_the_official_client_finds_and_calls_everything(mode: str) -> None:
    async with served(shop()) as port, connected(port, mode) as client:
        tools = await client.list_tools()
        assert [each.name for each in tools.tools] == ["agents__refunds", "orders__refund", "workflows__help"]
        steps: list[float] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            steps.append(progress)

        result = await client.call_tool("orders__refund", {"order": "A1"}, progress_callback=note)
        assert result.structured_content == {"ok": True}
        assert isinstance(result.content[0], TextContent)
        assert result.content[0].text == '{"order":"A1"}'
        assert steps == [1]
        agents = await client.call_tool("agents__refunds", {"message": "hello"})
        assert not agents.is_error
        assert [each.name for each in (await client.list_prompts()).prompts] == ["orders__reply"]
        assert (await client.get_prompt("orders__reply")).messages
        assert [str(each.uri) for each in (await client.list_resources()).resources] == ["file:///a"]
        assert (await client.list_resource_templates()).resource_templates[0].uri_template == "db://{t}/{id}"
        assert (await client.read_resource("db://x/1")).contents


@ERAS
@pytest.mark.anyio
async def test_the_official_client_sees_refusals_for_what_they_are(mode: str) -> None:
    gateway = shop()
    denied = Denied("ana may not call it", detail={"policy": "access", "rule": "r", "record": "rec_1"})
    gateway.runs["agent:refunds"] = failing(denied)
    async with served(gateway) as port, connected(port, mode) as client:
        result = await client.call_tool("agents__refunds", {})
        assert result.is_error
        assert (result.meta or {})["drawbridge/error"] == denied.describe()
        with pytest.raises(MCPError) as raised:
            await client.call_tool("orders__nothing", {})
        assert raised.value.error.code == -32602


@ERAS
@pytest.mark.anyio
async def test_one_owner_has_an_endpoint_without_prefixes(mode: str) -> None:
    async with served(shop()) as port, connected(port, mode, "/mcp/orders") as client:
        assert [each.name for each in (await client.list_tools()).tools] == ["refund"]
        assert (await client.call_tool("refund", {})).structured_content == {"ok": True}


@ERAS
@pytest.mark.anyio
async def test_giving_up_in_the_official_client_cancels_the_call(mode: str) -> None:
    gateway = shop()
    began, canceled = anyio.Event(), anyio.Event()

    async def slow(request: Request, emit: Emit) -> Result:
        began.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            canceled.set()
            raise
        return Complete(body=plain(""))

    gateway.runs["workflow:help"] = slow
    async with served(gateway) as port, connected(port, mode) as client:
        async with together() as group:
            group.start_soon(client.call_tool, "workflows__help")
            await began.wait()
            group.cancel_scope.cancel()
        await canceled.wait()
        assert await client.list_tools()


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
@pytest.mark.anyio
async def test_the_official_client_is_told_of_changed_lists(mode: str) -> None:
    gateway = shop()
    told = anyio.Event()

    async def handle(message: Any) -> None:
        if "list_changed" in str(getattr(message, "method", "")):
            told.set()

    async with served(gateway) as port, connected(port, mode, message_handler=handle) as client:
        if mode == "legacy":
            async with together() as group:
                group.start_soon(_change_until, gateway, told)
        else:
            async with client.listen(tools_list_changed=True) as subscription:
                gateway.change(tool("new"))
                async for event in subscription:
                    assert type(event).__name__ == "ToolsListChanged"
                    break


async def _change_until(gateway: ShopGateway, told: anyio.Event) -> None:
    """The client opens its stream on its own time, so that one change could come too early."""
    number = 0
    while not told.is_set():
        number += 1
        gateway.change(tool(f"new{number}"))
        with anyio.move_on_after(0.05):
            await told.wait()


@pytest.mark.anyio
async def test_a_stranger_is_told_to_bring_a_key() -> None:
    async with served(shop()) as port, httpx2.AsyncClient() as http:
        reply = await http.post(f"http://127.0.0.1:{port}/mcp", json=modern_body("tools/list", {}))
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"


async def exchange(port: int, request: bytes) -> bytes:
    """Everything the server answers until it closes, or its first answer where it keeps the connection."""
    stream: SocketStream = await anyio.connect_tcp("127.0.0.1", port)
    async with stream:
        with anyio.move_on_after(60) as patience:
            async with together() as group:
                group.start_soon(_send, stream, request)
                received = await stream.receive()
                group.cancel_scope.cancel()
                return received
        assert not patience.cancelled_caught
    return b""


async def _send(stream: SocketStream, request: bytes) -> None:
    try:
        await stream.send(request)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return  # the server may close before it has read everything


def raw(body: bytes, *lines: bytes) -> bytes:
    head = [
        b"POST /mcp HTTP/1.1",
        b"Host: localhost",
        b"Authorization: Bearer ana",
        b"Content-Type: application/json",
        *lines,
    ]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(body), b"", body])


DEEP = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}}"
CALL = msgspec.json.encode(modern_body("tools/call", {"name": "orders__refund"}))
MODERN_LINES = (b"MCP-Protocol-Version: 2026-07-28", b"Mcp-Method: tools/call", b"Mcp-Name: orders__refund")
UNKNOWN_LINES = (b"MCP-Protocol-Version: 2099-01-01", *MODERN_LINES[1:])
BAD: list[tuple[str, bytes, bytes, bytes]] = [
    ("malformed", raw(b"{", *MODERN_LINES), b"400", b"-32700"),
    ("batch, modern", raw(b"[" + CALL + b"]", *MODERN_LINES), b"400", b"-32600"),
    ("batch, legacy", raw(b"[" + CALL + b"]", b"MCP-Protocol-Version: 2025-03-26"), b"400", b"-32602"),
    ("20 MB", raw(b" " * 20_000_000, *MODERN_LINES), b"413", b"-32600"),
    ("10,000 levels", raw(DEEP, *MODERN_LINES), b"400", b"-32700"),
    ("another name", raw(CALL, *MODERN_LINES[:2], b"Mcp-Name: other"), b"400", b"-32020"),
    ("a name twice", raw(CALL, *MODERN_LINES, b"mcp-name: orders__refund"), b"400", b"-32020"),
    ("no headers", raw(CALL), b"400", b"-32020"),
    ("unknown version", raw(CALL.replace(b"2026-07-28", b"2099-01-01"), *UNKNOWN_LINES), b"400", b"-32022"),
    ("no session", raw(b'{"jsonrpc":"2.0","id":1,"method":"ping"}'), b"400", b"-32600"),
    ("GET, modern", raw(b"", MODERN_LINES[0]).replace(b"POST", b"GET", 1), b"405", b"-32600"),
]


@pytest.mark.parametrize(("request_bytes", "status", "code"), [each[1:] for each in BAD], ids=[each[0] for each in BAD])
@pytest.mark.anyio
async def test_bad_bytes_get_a_clear_error_and_others_are_unharmed(
    request_bytes: bytes, status: bytes, code: bytes
) -> None:
    async with served(shop()) as port:
        reply = await exchange(port, request_bytes)
        good = await exchange(port, raw(CALL, *MODERN_LINES))
    assert reply.startswith(b"HTTP/1.1 " + status)
    assert b'"code":' + code in reply
    assert good.startswith(b"HTTP/1.1 200")


class Standalone:
    """An ASGI application of nothing but the door, which its lifespan opens, on an event loop of nobody else."""

    def __init__(self, door: McpDoor) -> None:
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._door(scope, receive, send)
            return
        await receive()
        async with self._door.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def test_a_long_call_is_watched_on_a_plain_asyncio_loop_too() -> None:
    gateway = shop()
    canceled = threading.Event()

    async def slow(request: Request, emit: Emit) -> Result:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            canceled.set()
            raise
        return Complete(body=plain(""))

    gateway.runs["workflow:help"] = slow
    pace = Pace(attend_after_s=0.001, keep_alive_s=0.01)
    door = McpDoor(gateway=gateway, authenticator=Badges(), clock=Ticking(), ids=Counting(), limits=Limits(), pace=pace)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Standalone(door), log_level="error", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        body = msgspec.json.encode(modern_body("tools/call", {"name": "workflows__help"}))
        with socket.create_connection(listener.getsockname(), timeout=60) as client:
            client.sendall(raw(body, *MODERN_LINES[:2], b"Mcp-Name: workflows__help"))
            received = b""
            while b": keep-alive" not in received:
                received += client.recv(4096)
        assert canceled.wait(60)
    finally:
        server.should_exit = True
        thread.join(60)
