"""Batches of MCP 2025-03-26: of servers over each transport, and of clients, through a gateway of its own process."""

import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from tests.e2e.gateways import ROOT, Gateway, key_of
from tests.fakes_mcp_servers import served
from tests.revisions.batching import Batching, OlderBatching
from tests.revisions.client import RevisionClient
from tests.revisions.contents import MODERN, PROMPTS, QUESTION, READ, RESOURCES, SKILLS, URI, VERSIONS
from tests.revisions.server import Servers

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

REVISION = "2025-03-26"
SERVERS = ("batching", "older-batching", "stdio-batching")


@pytest.fixture(scope="module")
def servers() -> Servers:
    return Servers(**{"batching": Batching(), "older-batching": OlderBatching()})


@pytest.fixture(scope="module")
def gateway(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    with served(servers) as url:
        root = url.removesuffix("/mcp")
        configuration = {
            "servers": {
                **{name: {"url": f"{root}/{name}"} for name in SERVERS[:2]},
                "stdio-batching": {
                    "command": [sys.executable, "-m", "tests.revisions.batching"],
                    "env": {"PYTHONPATH": str(ROOT)},
                },
            },
            "roles": {
                "all": {"allow": ["tool:*/*", "prompt:*/*", "resource:*/**", "method:*/skills/*"]},
                "few": {"allow": ["tool:batching/every"]},
            },
            "principals": {
                "ana": {"roles": ["all"], "key": "env:ANA_KEY"},
                "bob": {"roles": ["few"], "key": "env:BOB_KEY"},
            },
        }
        with Gateway(tmp_path_factory.mktemp("batches"), configuration, environment={}) as gateway:
            yield gateway


@asynccontextmanager
async def connected(gateway: Gateway, version: str, path: str, who: str = "ana") -> AsyncGenerator[RevisionClient]:
    """A client that has greeted the gateway, and finds nothing wrong with what it hears."""
    headers = {"authorization": f"Bearer {key_of(who)}", "accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(
        base_url=gateway.url, headers=headers, trust_env=False, timeout=60, verify=False
    ) as http:
        client = RevisionClient(version, http, path)
        await client.begin()
        yield client
        assert client.complaints == []


@pytest.mark.parametrize(("server", "version"), [*zip(SERVERS, (MODERN, REVISION, VERSIONS[0]), strict=True)])
async def test_a_server_that_sends_arrays_is_heard_as_if_it_sent_each_message_alone(
    gateway: Gateway, servers: Servers, version: str, server: str
) -> None:
    call: dict[str, Any] = {"name": "every", "arguments": {"n": 1}, "_meta": {"progressToken": "mine"}}
    async with connected(gateway, version, f"/mcp/{server}") as client:
        assert sorted(each["name"] for each in (await client.request("tools/list"))["tools"]) == ["ask", "every"]
        assert (await client.request("prompts/list"))["prompts"] == PROMPTS
        assert (await client.request("resources/list"))["resources"] == RESOURCES
        assert (await client.request("tools/call", call))["content"]
        steps = [each for each in client.told if each["method"] == "notifications/progress"]
        assert [each["params"]["progress"] for each in steps] == [1, 2]
        assert {each["method"] for each in client.told} == {"notifications/progress"}
        assert (await client.request("resources/read", {"uri": URI}))["contents"] == READ["contents"]
        assert (await client.request("skills/list", {"depth": 1}))["skills"] == SKILLS["skills"]
        asked = await client.request("tools/call", {"name": "ask", "arguments": {}})
    assert asked["content"] == [{"type": "text", "text": "The model says Paris."}]
    assert [each["params"]["messages"][0]["content"]["text"] for each in client.asked] == [QUESTION]
    assert [each.complaints for each in servers.by_name.values() if each.complaints] == []
