"""The whole way to a legacy program and back: the official client of either era is asked what the program asks."""

import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitRequestURLParams,
    ElicitResult,
    ListRootsResult,
    Root,
    TextContent,
)
from pydantic import FileUrl

from tests.adapters.mcp.test_mcp_client_stdio import command
from tests.adapters.mcp.test_mcp_client_stdio_asking import ASKING, FORM
from tests.adapters.mcp.test_mcp_door_through import EVERY_PAIR, connected

pytestmark = pytest.mark.anyio

SCRIPT = Path(__file__).parents[2] / "fakes_mcp_asking.py"
WITHIN_S = 120


async def fill_in(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    if isinstance(params, ElicitRequestURLParams):
        return ElicitResult(action="accept" if params.url == "https://pay.example/1" else "decline")
    return ElicitResult(action="accept", content={"copies": 2})


async def think(context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="so"), model="m")


async def show(context: ClientRequestContext) -> ListRootsResult:
    return ListRootsResult(roots=[Root(uri=FileUrl("file:///a"))])


ASKED: dict[str, Any] = {
    "elicitation_callback": fill_in,
    "sampling_callback": think,
    "list_roots_callback": show,
}


async def text(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(f"shop__{tool}", arguments)
    assert isinstance(result.content[0], TextContent)
    return " ".join(each.text for each in result.content if isinstance(each, TextContent))


@EVERY_PAIR
async def test_a_program_asks_the_client_of_either_era(mode: str) -> None:
    code = f"{ASKING}def listing(m): answer(m, {{'tools': [{{'name': 'ask', 'inputSchema': {{'type': 'object'}}}}]}})\n"
    async with connected({"command": command(code)}, mode, within_s=WITHIN_S, **ASKED) as client:
        for arguments, answer in (
            ({"ask": "elicitation/create", "with": FORM}, {"action": "accept", "content": {"copies": 2}}),
            ({"ask": "roots/list"}, {"roots": [{"uri": "file:///a"}]}),
        ):
            done = await client.call_tool("shop__ask", arguments)
            assert (done.structured_content or {})["reply"] == {"jsonrpc": "2.0", "id": 1, "result": answer}


async def test_a_program_of_the_python_sdk_asks_whatever_it_can() -> None:
    server = {"command": [sys.executable, str(SCRIPT)]}
    async with connected(server, "legacy", within_s=WITHIN_S, **ASKED) as client:
        assert await text(client, "form") == "accept {'copies': 2}"
        assert await text(client, "page") == "accept"
        assert await text(client, "model") == "so"
        assert await text(client, "folders") == "file:///a"
