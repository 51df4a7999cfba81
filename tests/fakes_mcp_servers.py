"""Real MCP servers for tests: the official SDK over HTTP, on a thread of its own; run as a script, over stdio."""

import json
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Annotated, Any

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import AcceptedElicitation, Context, Elicit, ElicitationResult, Resolve
from mcp.types import LoggingMessageNotification, LoggingMessageNotificationParams, ToolAnnotations
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

MODERN = b"2026-07-28"


class Copies(BaseModel):
    copies: int


async def ask_how_many() -> Elicit[Copies]:
    return Elicit("How many copies?", Copies)


def sdk_server(canceled: threading.Event | None = None) -> MCPServer:
    """A server with one of everything; `canceled` is set when its tool `wait` is."""
    server = MCPServer("shop", version="1.2.3", instructions="Be kind.")
    server.tool(annotations=ToolAnnotations(destructive_hint=True), meta={"com.example/tier": "gold"})(refund)
    for tool in (seen_meta, fail, count, reserve, report, renew, _waiting(canceled or threading.Event())):
        server.tool()(tool)
    server.resource("note://today")(today)
    server.resource("note://{id}")(note)
    server.prompt()(greet)
    return server


def refund(order: str, amount: int, key: str = "") -> dict[str, Any]:
    """Refunds an order."""
    return {"order": order, "amount": amount, "key": key}


def seen_meta(ctx: Context) -> dict[str, Any]:
    """What came in `_meta`."""
    return {"meta": dict(ctx.request_context.meta or {})}


def fail() -> str:
    """Always fails."""
    raise ValueError("no such order")


async def count(n: int, ctx: Context) -> str:
    """Counts, with progress for each number."""
    for number in range(n):
        await ctx.report_progress(number + 1, total=n, message=f"step {number + 1}")
    return f"counted {n}"


def _waiting(canceled: threading.Event) -> Callable[[Context], Awaitable[str]]:
    async def wait(ctx: Context) -> str:
        """Says that it began, then waits for ever."""
        try:
            await ctx.report_progress(0, message="began")
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            canceled.set()
            raise
        return "never"

    return wait


async def reserve(title: str, answer: Annotated[ElicitationResult[Copies], Resolve(ask_how_many)]) -> str:
    """Asks back before it acts."""
    return f"{answer.data.copies} of {title}" if isinstance(answer, AcceptedElicitation) else "nothing"


async def report(ctx: Context) -> str:
    """Logs before it answers."""
    params = LoggingMessageNotificationParams(level="info", data="looked", logger="shop")
    await ctx.session.send_notification(LoggingMessageNotification(params=params), ctx.request_id)
    return "reported"


async def renew(ctx: Context) -> str:
    """Tells in the words of both eras that a resource and every list has changed."""
    await ctx.notify_resource_updated("note://today")
    await ctx.notify_tools_changed()
    await ctx.session.send_resource_updated("note://today")
    await ctx.session.send_tool_list_changed()
    return "renewed"


def today() -> str:
    """A resource."""
    return "closed on Mondays"


def note(id: str) -> str:
    """A template."""
    return f"note {id}"


def greet(name: str) -> str:
    """A prompt."""
    return f"Say hello to {name}"


class LegacyOnly:
    """Turns a server of both eras into one of before 2026: the newest version gets what the SDK 1.x answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"mcp-protocol-version") == MODERN:
            error = {"code": -32600, "message": "Bad Request: Missing session ID"}
            body = json.dumps({"jsonrpc": "2.0", "id": "server-error", "error": error}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 400, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        else:
            await self._app(scope, receive, send)


@contextmanager
def served(app: ASGIApp) -> Generator[str, None, None]:
    """The URL of `/mcp` of an ASGI application, served by uvicorn on a thread."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listening.close()


if __name__ == "__main__":
    if "--garbage" in sys.argv:
        sys.stdout.write("Starting up!\n\n{not json}\n")
        sys.stdout.flush()
    sdk_server().run("stdio")
