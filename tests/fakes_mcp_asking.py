"""A server of the official SDK on stdio that speaks nothing after 2025-11-25 and asks its caller: run as a script."""

import os
from collections.abc import Callable
from typing import Any

import anyio
from mcp.server import Server, ServerRequestContext
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    SamplingMessage,
    TextContent,
    Tool,
)

FORM = {"type": "object", "properties": {"copies": {"type": "integer"}}, "required": ["copies"]}
Context = ServerRequestContext[dict[str, Any]]


async def form(ctx: Context) -> str:
    """By a form."""
    said = await ctx.session.elicit_form("How many copies?", FORM)
    return f"{said.action} {said.content}"


async def page(ctx: Context) -> str:
    """By an address to open."""
    said = await ctx.session.elicit_url("Pay here", "https://pay.example/1", "e1")
    return said.action


async def model(ctx: Context) -> str:
    """By the client's model."""
    question = SamplingMessage(role="user", content=TextContent(type="text", text="Well?"))
    said = await ctx.session.create_message([question], max_tokens=5)  # pyright: ignore[reportDeprecated]
    return said.content.text if isinstance(said.content, TextContent) else ""


async def folders(ctx: Context) -> str:
    """For the client's roots."""
    said = await ctx.session.list_roots()  # pyright: ignore[reportDeprecated]
    return " ".join(str(each.uri) for each in said.roots)


async def pid(ctx: Context) -> str:
    """Which process this is."""
    return str(os.getpid())


TOOLS: dict[str, Callable[[Context], Any]] = {each.__name__: each for each in (form, page, model, folders, pid)}


async def list_tools(ctx: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
    return ListToolsResult(tools=[Tool(name=name, input_schema={"type": "object"}) for name in TOOLS])


async def call_tool(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=await TOOLS[params.name](ctx))])


async def main() -> None:
    server = Server("asking", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read, write), server.lifespan(server) as state:
        options = server.create_initialization_options()
        await serve_loop(server, read, write, lifespan_state=state, init_options=options)


if __name__ == "__main__":
    anyio.run(main)
