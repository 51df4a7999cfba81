"""The official MCP client at a real gateway: both modes, over HTTP and over stdio through `drawbridge mcp`."""

import sys
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent

from tests.e2e.conftest import Serve
from tests.e2e.gateways import UP_WITHIN_S, Gateway, eventually, key_of, operator
from tests.fakes_mcp_servers import LegacyOnly, sdk_server, served

pytestmark = pytest.mark.anyio

MODES = ("legacy", "2026-07-28")
EVERY_WAY = pytest.mark.parametrize(
    ("transport", "mode"), [(transport, mode) for transport in ("http", "stdio") for mode in MODES]
)
BY_HTTP = pytest.mark.parametrize("mode", [*MODES, "auto"])


@pytest.fixture(scope="module")
def canceled() -> threading.Event:
    """Set when a server is told that a call of its tool `wait` is no longer wanted."""
    return threading.Event()


@pytest.fixture(scope="module")
def gateway(serve: Serve, canceled: threading.Event) -> Generator[Gateway]:
    new = sdk_server(canceled).streamable_http_app()
    old = LegacyOnly(sdk_server(canceled).streamable_http_app())
    with served(new) as new_url, served(old) as old_url:
        gateway = serve(
            {
                "servers": {
                    "shop": {"url": new_url, "tools": {"count": {"tags": ["read"]}, "wait": {"tags": ["read"]}}},
                    "old": {"url": old_url, "tools": {"count": {"tags": ["read"]}, "wait": {"tags": ["read"]}}},
                },
                "roles": {
                    "support": {
                        "allow": ["tool:shop/*", "tool:old/*", "prompt:shop/*", "resource:shop/**"],
                        "deny": [{"call": "tool:shop/refund", "when": "args.amount > 100", "reason": "ask a lead"}],
                    },
                    "few": {"allow": ["tag:read"]},
                },
                "principals": {
                    "ana": {"roles": ["support"], "key": "env:ANA_KEY"},
                    "bob": {"roles": ["few"], "key": "env:BOB_KEY"},
                },
            }
        )
        for who in ("ana", "bob"):
            file = gateway.data / "keys" / f"client-{who}.key"
            file.touch(mode=0o600)
            file.write_text(key_of(who))
        yield gateway


@asynccontextmanager
async def connected(
    gateway: Gateway, transport: str, mode: Any, *, who: str = "ana", path: str = "/mcp", **more: Any
) -> AsyncGenerator[Client]:
    """The client of `who`, within a bound."""
    with anyio.fail_after(UP_WITHIN_S):
        if transport == "stdio":
            arguments = ["-m", "gateway", "mcp", "--client", who, "--config", str(gateway.config)]
            environment = {"PYTHONPATH": gateway.environment["PYTHONPATH"]}
            program = StdioServerParameters(command=sys.executable, args=arguments, env=environment)
            async with Client(stdio_client(program), mode=mode, **more) as client:
                yield client
        else:
            headers = {"authorization": f"Bearer {key_of(who)}"}
            async with httpx2.AsyncClient(headers=headers, timeout=UP_WITHIN_S) as http:
                link = streamable_http_client(f"{gateway.url}{path}", http_client=http)
                async with Client(link, mode=mode, **more) as client:
                    yield client


async def names(client: Client) -> set[str]:
    return {tool.name for tool in (await client.list_tools()).tools}


def text(result: Any) -> str:
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


@EVERY_WAY
async def test_everything_granted_is_found_and_works(
    transport: str, mode: str, gateway: Gateway, canceled: threading.Event
) -> None:
    canceled.clear()
    async with connected(gateway, transport, mode) as client:
        tools = ("count", "fail", "refund", "renew", "report", "reserve", "seen_meta", "wait")
        assert await names(client) == {f"{server}__{tool}" for server in ("shop", "old") for tool in tools}
        refund = await client.call_tool("shop__refund", {"order": "A1", "amount": 5})
        assert refund.structured_content == {"order": "A1", "amount": 5, "key": ""}
        for server in ("shop", "old"):
            steps: list[tuple[float, str | None]] = []

            async def note(progress: float, total: float | None, message: str | None) -> None:
                steps.append((progress, message))  # noqa: B023 - called before the loop goes on

            counted = await client.call_tool(f"{server}__count", {"n": 3}, progress_callback=note)
            assert text(counted) == "counted 3"
            assert steps == [(1, "step 1"), (2, "step 2"), (3, "step 3")]
        refused = await client.call_tool("shop__refund", {"order": "A1", "amount": 500})
        assert refused.is_error
        assert "ask a lead" in text(refused)
        assert "support.deny[0]" in text(refused)
        failed = await client.call_tool("shop__fail", {})
        assert failed.is_error
        with pytest.raises(MCPError, match="shop__nothing"):
            await client.call_tool("shop__nothing", {})
        assert [str(each.uri) for each in (await client.list_resources()).resources] == ["note://today"]
        assert [each.name for each in (await client.list_prompts()).prompts] == ["shop__greet"]
        prompt = await client.get_prompt("shop__greet", {"name": "Ana"})
        assert "Ana" in str(prompt.messages[0].content)
        read = await client.read_resource("note://today")
        assert "closed on Mondays" in str(read.contents[0])
        await _cancel(client, "shop__wait", canceled)
        assert "shop__wait" in await names(client)


async def _cancel(client: Client, tool: str, canceled: threading.Event) -> None:
    """Give a call up once it is under way; the server behind the gateway must hear of it."""
    began = anyio.Event()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        began.set()

    async def wait() -> None:
        await client.call_tool(tool, {}, progress_callback=note)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await began.wait()
        group.cancel_scope.cancel()
    await eventually(canceled.is_set)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("server", ["shop", "old"])
async def test_a_call_given_up_is_given_up_by_its_server_and_recorded(
    mode: str, server: str, gateway: Gateway, canceled: threading.Event
) -> None:
    canceled.clear()
    async with operator(gateway) as someone:
        before = len(await someone.records(0, outcome="canceled", call=f"tool:{server}/wait"))
        async with connected(gateway, "http", mode) as client:
            await _cancel(client, f"{server}__wait", canceled)
            await someone.records(before + 1, outcome="canceled", call=f"tool:{server}/wait")


@BY_HTTP
async def test_what_is_not_granted_is_neither_listed_nor_called(mode: str, gateway: Gateway) -> None:
    async with connected(gateway, "http", mode, who="bob") as client:
        assert await names(client) == {"shop__count", "shop__wait", "old__count", "old__wait"}
        assert not (await client.list_prompts()).prompts
        assert not (await client.list_resources()).resources
        refused = await client.call_tool("shop__refund", {"order": "A1", "amount": 5})
        assert refused.is_error
        with pytest.raises(MCPError):
            await client.get_prompt("shop__greet", {"name": "Bob"})
        with pytest.raises(MCPError):
            await client.read_resource("note://today")
    async with operator(gateway) as someone:
        denied = await someone.records(2, subject="bob", outcome="denied")
        unknown = await someone.records(1, subject="bob", outcome="error")
    assert {each["capability"] for each in denied} == {"tool:shop/refund", "prompt:shop/greet"}
    assert {each["code"] for each in unknown} == {1404}


@BY_HTTP
async def test_one_servers_endpoint_has_its_own_names(mode: str, gateway: Gateway) -> None:
    async with connected(gateway, "http", mode, path="/mcp/shop") as client:
        assert await names(client) == {"count", "fail", "refund", "renew", "report", "reserve", "seen_meta", "wait"}
        result = await client.call_tool("refund", {"order": "A1", "amount": 5})
        assert result.structured_content == {"order": "A1", "amount": 5, "key": ""}


async def test_a_desktop_client_is_connected_by_one_command(gateway: Gateway) -> None:
    made = gateway.drawbridge("connect", "claude-desktop", "--as", "ana", "--print", "--json")
    assert made.returncode == 0, made.stderr
    assert "dbk_" not in made.stdout + made.stderr
    async with connected(gateway, "stdio", "auto", who="claude-desktop") as client:
        assert "shop__refund" in await names(client)
    async with operator(gateway) as someone:
        keys = (await someone.api("/keys")).json()["keys"]
    assert [each["subject"] for each in keys] == ["ana"]


async def test_a_stranger_gets_no_session(gateway: Gateway) -> None:
    async with httpx2.AsyncClient(headers={"authorization": "Bearer nobody"}) as http:
        with pytest.raises((MCPError, ExceptionGroup, httpx2.HTTPError)):
            async with Client(streamable_http_client(f"{gateway.url}/mcp", http_client=http), mode="auto"):
                pass
