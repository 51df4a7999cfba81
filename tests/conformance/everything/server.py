"""The everything server, assembled: lists from the tables, and one middleware that answers what the tables hold."""

from collections.abc import Mapping
from typing import Any

from anyio.abc import TaskGroup
from mcp import MCPError
from mcp.server import Server, ServerRequestContext
from mcp.server.caching import CacheHint
from mcp.server.context import CallNext, HandlerResult
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourceUpdated,
    ToolsListChanged,
)
from mcp.types import (
    CompleteRequestParams,
    CompleteResult,
    EmptyResult,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    SetLevelRequestParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)
from starlette.applications import Starlette

from tests.conformance.everything import asking, tasks, tools
from tests.conformance.everything.calling import Asked, Call, Result, Tool, text_result
from tests.conformance.everything.contents import PROMPTS, RESOURCES, TEMPLATES, contents_of, messages_of
from tests.conformance.everything.events import Events

NAME = "everything"
RETRY_MS = 100
"""After which a client of a stream that was closed comes back."""
WATCHED = "test://watched-resource"
Ctx = ServerRequestContext[Any, Any]
_HINT = CacheHint(ttl_ms=60_000, scope="public")


class Everything:
    """One server; `group` owns its tasks."""

    def __init__(self, group: TaskGroup) -> None:
        self._tasks = tasks.Tasks(group)
        self._bus = InMemorySubscriptionBus()
        self._sessions: dict[str, ServerSession] = {}
        """Of legacy clients, by id."""
        self._watching: set[str] = set()
        self._prompts: dict[str, Mapping[str, Any]] = {each["name"]: each for each in PROMPTS}
        self._tools: dict[str, Tool] = {
            **tools.TOOLS,
            **asking.TOOLS,
            **dict.fromkeys(tasks.WORK, self._tasks.call),
            "greet": _greet,
            "test_trigger_tool_change": self._change_tools,
            "test_trigger_prompt_change": self._change_prompts,
            "test_trigger_resource_update": self._update_resource,
        }
        self._schemas = {**tools.SCHEMAS, **asking.SCHEMAS, **tasks.SCHEMAS}

    def app(self) -> Starlette:
        """Over Streamable HTTP, at `/mcp`."""
        server = Server(
            NAME,
            version="1.0.0",
            instructions="Everything there is, for tests.",
            cache_hints=dict.fromkeys(
                ("tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"), _HINT
            ),
            get_tool_input_schema=self._schema,
            on_list_tools=self._list_tools,
            on_list_resources=_list_resources,
            on_list_resource_templates=_list_templates,
            on_read_resource=_read,
            on_list_prompts=self._list_prompts,
            on_get_prompt=_get_prompt,
            on_completion=_complete,
            on_subscriptions_listen=ListenHandler(self._bus),
            on_call_tool=_unreached,
        )
        server.add_request_handler("logging/setLevel", SetLevelRequestParams, _done)
        server.add_request_handler("resources/subscribe", SubscribeRequestParams, self._subscribe)
        server.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, _done)
        server.extensions[tasks.EXTENSION] = {}
        boundary = RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME)
        server.middleware = [boundary, self._answer]
        return server.streamable_http_app(event_store=Events(), retry_interval=RETRY_MS)

    async def _answer(self, ctx: Ctx, call_next: CallNext) -> HandlerResult:
        if ctx.request_id is None:
            return await call_next(ctx)
        call = Call(ctx)
        if not call.modern:
            self._sessions[_session_id(ctx)] = ctx.session
        if ctx.method in tasks.METHODS and call.modern:
            return self._tasks.serve(call)
        if ctx.method == "prompts/get" and call.name == "test_input_required_result_prompt":
            return await _answered(call, asking.asking_prompt)
        if ctx.method != "tools/call":
            return await call_next(ctx)
        tool = self._tools.get(call.name)
        if tool is None:
            raise MCPError(code=-32602, message=f"Unknown tool: {call.name}")
        return await _answered(call, tool)

    def _schema(self, name: str) -> Mapping[str, Any] | None:
        return self._schemas.get(name, {"type": "object"}) if name in self._tools else None

    async def _list_tools(self, ctx: Ctx, params: PaginatedRequestParams | None) -> ListToolsResult:
        listed = [
            {"name": name, "description": f"Of the conformance suite: {name}.", "inputSchema": self._schema(name)}
            for name in sorted(self._tools)
        ]
        return ListToolsResult.model_validate({"tools": listed})

    async def _list_prompts(self, ctx: Ctx, params: PaginatedRequestParams | None) -> ListPromptsResult:
        return ListPromptsResult.model_validate({"prompts": [*self._prompts.values()]})

    async def _change_tools(self, call: Call) -> Result:
        _toggle(self._tools, "test_dynamic_tool", _greet)
        await self._bus.publish(ToolsListChanged())
        for session in tuple(self._sessions.values()):
            await session.send_tool_list_changed()
        return text_result("the tools changed")

    async def _change_prompts(self, call: Call) -> Result:
        _toggle(self._prompts, "test_dynamic_prompt", {"name": "test_dynamic_prompt", "description": "Comes and goes."})
        await self._bus.publish(PromptsListChanged())
        for session in tuple(self._sessions.values()):
            await session.send_prompt_list_changed()
        return text_result("the prompts changed")

    async def _update_resource(self, call: Call) -> Result:
        await self._bus.publish(ResourceUpdated(uri=WATCHED))
        for session_id in tuple(self._watching):
            await self._sessions[session_id].send_resource_updated(WATCHED)
        return text_result("the resource changed")

    async def _subscribe(self, ctx: Ctx, params: SubscribeRequestParams) -> EmptyResult:
        self._watching.add(_session_id(ctx))
        return EmptyResult()


def _session_id(ctx: Ctx) -> str:
    return str(ctx.request.headers.get("mcp-session-id")) if ctx.request is not None else ""


def _toggle(those: dict[str, Any], name: str, value: Any) -> None:
    if those.pop(name, None) is None:
        those[name] = value


async def _answered(call: Call, tool: Tool) -> Result:
    try:
        said = await tool(call)
    except Asked as asked:
        return asked.result()
    return {"resultType": "complete", **said} if call.modern else said


async def _greet(call: Call) -> Result:
    return text_result(f"Hello, {call.arguments.get('name')}!")


async def _unreached(ctx: Ctx, params: Any) -> Any:
    raise AssertionError("the middleware answers every tools/call")


async def _list_resources(ctx: Ctx, params: PaginatedRequestParams | None) -> ListResourcesResult:
    return ListResourcesResult.model_validate({"resources": [*RESOURCES]})


async def _list_templates(ctx: Ctx, params: PaginatedRequestParams | None) -> ListResourceTemplatesResult:
    return ListResourceTemplatesResult.model_validate({"resourceTemplates": [*TEMPLATES]})


async def _read(ctx: Ctx, params: ReadResourceRequestParams) -> ReadResourceResult:
    return ReadResourceResult.model_validate({"contents": contents_of(str(params.uri))})


async def _get_prompt(ctx: Ctx, params: GetPromptRequestParams) -> GetPromptResult:
    return GetPromptResult.model_validate({"messages": messages_of(params.name, params.arguments or {})})


async def _complete(ctx: Ctx, params: CompleteRequestParams) -> CompleteResult:
    values = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
    return CompleteResult.model_validate({"completion": {"values": values, "total": len(values), "hasMore": False}})


async def _done(ctx: Ctx, params: Any) -> EmptyResult:
    return EmptyResult()
