"""A stateful server of before 2026, made with the official SDK, as a process that can be killed and started again.

`python -m tests.e2e.old_server PORT`. Beside `/mcp` a test can tell it to change (`/do/WHAT`), and ask what it heard.
"""

import sys
import warnings
from typing import Any

import anyio
import uvicorn
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.shared.exceptions import UrlElicitationRequiredError
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ElicitRequestURLParams,
    EmptyResult,
    ListResourcesResult,
    ListToolsResult,
    NotificationParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    Tool,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes_mcp_servers import LegacyOnly

NOTE = "note://today"
PAGE = ElicitRequestURLParams(message="Pay first.", url="https://pay.example/1", elicitation_id="e-1")


class Pulse(BaseModel):
    """A notification nobody knows."""

    method: str = "notifications/vendor/pulse"
    params: dict[str, int] = {"beat": 1}


class Old:
    """What it offers, and what it was told."""

    def __init__(self) -> None:
        self.tools = ["look", "pulse", "where", "pay"]
        self.paid = False
        self.payers: dict[int, Any] = {}
        self.roots: dict[int, list[str]] = {}
        self.roots_known: dict[int, anyio.Event] = {}
        self.sessions: dict[int, Any] = {}
        self.followers: dict[int, Any] = {}
        self.heard: list[str] = []

    async def list_tools(self, ctx: Any, params: Any) -> ListToolsResult:
        self.sessions[id(ctx.session.client_params)] = ctx.session
        return ListToolsResult(tools=[Tool(name=name, input_schema={"type": "object"}) for name in self.tools])

    async def call_tool(self, ctx: Any, params: CallToolRequestParams) -> CallToolResult:
        text = "seen"
        match params.name:
            case "pulse":
                await ctx.session.send_notification(Pulse(), ctx.request_id)
            case "where":
                text = await self._where(ctx)
            case "pay" if not self.paid:
                self.payers[id(ctx.session.client_params)] = ctx.session
                raise UrlElicitationRequiredError([PAGE])
            case _:
                pass
        return CallToolResult(content=[TextContent(type="text", text=text)])

    async def _where(self, ctx: Any) -> str:
        """Roots as they were said once, and again whenever they changed."""
        whose = id(ctx.session.client_params)
        if whose not in self.roots_known:
            self.roots_known[whose] = anyio.Event()
            await self._ask_for_roots(ctx)
        await self.roots_known[whose].wait()
        return ", ".join(self.roots[whose])

    async def _ask_for_roots(self, ctx: Any) -> None:
        whose = id(ctx.session.client_params)
        self.roots[whose] = [str(each.uri) for each in (await ctx.session.list_roots()).roots]
        self.roots_known[whose].set()

    async def list_resources(self, ctx: Any, params: Any) -> ListResourcesResult:
        return ListResourcesResult(resources=[Resource(uri=NOTE, name="today")])

    async def read_resource(self, ctx: Any, params: ReadResourceRequestParams) -> ReadResourceResult:
        return ReadResourceResult(contents=[TextResourceContents(uri=NOTE, text="closed")])

    async def subscribe(self, ctx: Any, params: SubscribeRequestParams) -> EmptyResult:
        self.followers[id(ctx.session.client_params)] = ctx.session
        self.heard.append("subscribe")
        return EmptyResult()

    async def unsubscribe(self, ctx: Any, params: UnsubscribeRequestParams) -> EmptyResult:
        self.followers.pop(id(ctx.session.client_params), None)
        return EmptyResult()

    async def set_level(self, ctx: Any, params: SetLevelRequestParams) -> EmptyResult:
        self.heard.append(f"level {params.level}")
        return EmptyResult()

    async def roots_changed(self, ctx: Any, params: NotificationParams | None) -> None:
        self.heard.append("roots")
        self.roots_known[id(ctx.session.client_params)] = anyio.Event()
        await self._ask_for_roots(ctx)

    async def do(self, request: Request) -> Response:
        match request.path_params["what"]:
            case "grow":
                self.tools.append(f"look_{len(self.tools)}")
                for session in [*self.sessions.values()]:
                    await session.send_tool_list_changed()
            case "touch":
                for session in [*self.followers.values()]:
                    await session.send_resource_updated(NOTE)
            case "pay":
                self.paid = True
                for session in [*self.payers.values()]:
                    await session.send_elicit_complete(PAGE.elicitation_id)
            case "forget":
                self.paid = False
            case _:
                return Response(status_code=404)
        return JSONResponse(self.heard)

    async def told(self, request: Request) -> Response:
        return JSONResponse(self.heard)


class AnnouncesChanges(Server[Any]):
    """The SDK leaves what is announced to whoever makes the options, and its HTTP application takes none."""

    def create_initialization_options(self, *arguments: Any, **more: Any) -> InitializationOptions:
        return super().create_initialization_options(NotificationOptions(tools_changed=True))


def application(old: Old) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = AnnouncesChanges(  # pyright: ignore[reportDeprecated] - of its era
            "old",
            on_list_tools=old.list_tools,
            on_call_tool=old.call_tool,
            on_list_resources=old.list_resources,
            on_read_resource=old.read_resource,
            on_subscribe_resource=old.subscribe,
            on_unsubscribe_resource=old.unsubscribe,
            on_set_logging_level=old.set_level,
            on_roots_list_changed=old.roots_changed,
        )
    routes = [Route("/do/{what}", old.do, methods=["POST"]), Route("/heard", old.told)]
    return LegacyOnly(server.streamable_http_app(custom_starlette_routes=routes))


if __name__ == "__main__":
    uvicorn.run(application(Old()), port=int(sys.argv[1]), log_level="warning", timeout_graceful_shutdown=1)
