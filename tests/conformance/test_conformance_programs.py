"""Clients and servers that nobody here wrote, through the gateway: MCP Inspector, TypeScript SDKs and servers."""

import json
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.conformance.conftest import KEY_OF
from tests.conformance.test_conformance_sdk import complete, connected, fill_in, no_roots, text
from tests.e2e.gateways import META, Caller, Gateway, answer_in, free_port, key_of, until
from tests.node_tools import FOLDER, MODULES, environment, node

pytestmark = pytest.mark.e2e

WITHIN_S = 120
INSPECTOR = MODULES / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
EVERYTHING = MODULES / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
FILES = MODULES / "@modelcontextprotocol" / "server-filesystem" / "dist" / "index.js"
SIMPLE = "This is a simple text response for testing."
SERVERS = ("everything", "legacy")
CAPABILITIES = f"{META}clientCapabilities"


def ran(*arguments: str | Path) -> dict[str, Any]:
    """What a Node program wrote, as JSON."""
    done = subprocess.run(
        node(*arguments),
        env=environment(GATEWAY_KEY=key_of(KEY_OF)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("program", "era"), [("client-v1.mjs", "legacy"), ("client-v2.mjs", "legacy"), ("client-v2.mjs", "modern")]
)
def test_the_typescript_sdks_list_call_are_asked_and_read(
    gateway: Gateway, program: str, era: str, server: str
) -> None:
    said = ran(FOLDER / program, f"http://localhost:{gateway.port}/mcp/{server}", era, "")
    assert {"test_simple_text", "test_elicitation"} <= {*said["tools"]}
    assert said["text"]["content"][0]["text"] == SIMPLE
    assert '"username": "ada"' in said["asked"]["content"][0]["text"]
    assert said["progress"] == [0, 50, 100]
    assert said["read"]["contents"][0]["uri"] == "test://static-text"


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(("era", "version"), [("legacy", "2025-11-25"), ("modern", "2026-07-28")])
def test_the_inspector_calls_a_tool_in_either_era(gateway: Gateway, era: str, version: str, server: str) -> None:
    at = ("--cli", f"http://localhost:{gateway.port}/mcp/{server}", "--transport", "http", "--protocol-era", era)
    who = ("--header", f"Authorization: Bearer {key_of(KEY_OF)}", "--format", "json")
    called = ran(INSPECTOR, *at, *who, "--method", "tools/call", "--tool-name", "test_simple_text")
    assert called["result"]["content"][0]["text"] == SIMPLE
    assert ran(INSPECTOR, *at, *who, "--method", "initialize")["result"]["protocolVersion"] == version


@contextmanager
def typescript_server() -> Generator[str]:
    """The URL of the TypeScript SDK's everything server, which knows nothing after 2025-11-25."""
    port = free_port()
    command = node(EVERYTHING, "streamableHttp")
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment(PORT=str(port)), stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            until(lambda: _listens(port), lambda: "the TypeScript server does not listen")
            yield f"http://localhost:{port}/mcp"
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            process.kill()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("localhost", port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    (folder / "note.txt").write_text("found")
    return folder


@pytest.fixture(scope="module")
def before_foreign_servers(tmp_path_factory: pytest.TempPathFactory, shelf: Path) -> Generator[Gateway]:
    with typescript_server() as url:
        configuration: Mapping[str, Any] = {
            "servers": {
                "web": {"url": url},
                "program": {"command": node(EVERYTHING, "stdio")},
                "files": {"command": node(FILES, shelf)},
                "time": {"command": [sys.executable, "-m", "mcp_server_time", "--local-timezone", "Europe/Paris"]},
            },
            "roles": {"all": {"allow": ["tool:*/*", "prompt:*/*", "resource:*/**"]}},
            "principals": {KEY_OF: {"roles": ["all"], "key": f"env:{KEY_OF.upper()}_KEY"}},
        }
        with Gateway(tmp_path_factory.mktemp("foreign"), configuration, environment={}) as gateway:
            yield gateway


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
@pytest.mark.parametrize("server", ["web", "program"])
async def test_the_typescript_everything_server_serves_either_era(
    before_foreign_servers: Gateway, server: str, mode: str
) -> None:
    async with connected(before_foreign_servers, server, mode) as client:
        assert "echo" in {tool.name for tool in (await client.list_tools()).tools}
        assert "hello" in text(await client.call_tool("echo", {"message": "hello"}))
        steps: list[float] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            steps.append(progress)

        long = {"duration": 0.2, "steps": 2}
        await client.call_tool("trigger-long-running-operation", long, progress_callback=note)
        assert steps == [1, 2]
        assert (await client.list_prompts()).prompts
        assert (await client.list_resources()).resources


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_the_typescript_everything_server_asks_over_stdio(before_foreign_servers: Gateway, mode: str) -> None:
    asking = "trigger-elicitation-request"
    able = {"elicitation_callback": fill_in, "sampling_callback": complete, "list_roots_callback": no_roots}
    async with connected(before_foreign_servers, "program", mode, **able) as client:
        # Which tools it shows to such clients alone is found out aside, by another process.
        while asking not in {tool.name for tool in (await client.list_tools(cache_mode="refresh")).tools}:  # noqa: ASYNC110
            await anyio.sleep(0.2)
        assert "User provided" in text(await client.call_tool(asking, {}))
        assert "Paris" in text(await client.call_tool("trigger-sampling-request", {"prompt": "?"}))


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_the_filesystem_server_reads_its_files(before_foreign_servers: Gateway, mode: str, shelf: Path) -> None:
    async with connected(before_foreign_servers, "files", mode) as client:
        read = await client.call_tool("read_text_file", {"path": str(shelf / "note.txt")})
        assert text(read) == "found"
        refused = await client.call_tool("read_text_file", {"path": "/etc/hostname"})
        assert refused.is_error


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_the_time_server_tells_the_time(before_foreign_servers: Gateway, mode: str) -> None:
    asked = {"source_timezone": "Europe/Paris", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    async with connected(before_foreign_servers, "time", mode) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"get_current_time", "convert_time"}
        assert "Asia/Tokyo" in text(await client.call_tool("convert_time", asked))
        assert (await client.call_tool("get_current_time", {"timezone": "Atlantis/Capital"})).is_error


ABLE: Mapping[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}}


@pytest.mark.anyio
@pytest.mark.parametrize("declared", [{}, {"elicitation": {}}, {"sampling": {}, "roots": {}}, ABLE], ids=str)
async def test_a_client_is_shown_the_tools_the_server_shows_it_directly(
    before_foreign_servers: Gateway, declared: Mapping[str, Any]
) -> None:
    gateway = before_foreign_servers
    direct = await tools_shown(gateway.configuration["servers"]["web"]["url"], declared)
    assert await tools_shown(f"{gateway.url}/mcp/web", declared, key_of(KEY_OF)) == direct
    async with Caller(gateway, KEY_OF) as modern:
        said = answer_in(await modern.modern("tools/list", {"_meta": {CAPABILITIES: declared}}, path="/mcp/web"))
    assert {each["name"] for each in said["result"]["tools"]} == direct
    assert ("trigger-sampling-request" in direct) == ("sampling" in declared), "or this says nothing"


async def tools_shown(url: str, declared: Mapping[str, Any], key: str = "") -> set[str]:
    """What a client of 2025-11-25 is shown that can be asked for this."""
    async with httpx2.AsyncClient(timeout=WITHIN_S, trust_env=False, verify=False) as http:
        http.headers["accept"] = "application/json, text/event-stream"
        if key:
            http.headers["authorization"] = f"Bearer {key}"
        hello = {"protocolVersion": "2025-11-25", "capabilities": declared, "clientInfo": {"name": "t", "version": "1"}}
        greeted = await http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
        http.headers["mcp-session-id"] = greeted.headers["mcp-session-id"]
        await http.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
        said = answer_in(await http.post(url, json={"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}))
        return {each["name"] for each in said["result"]["tools"]}
