"""A client of each revision before a server of each: everything both know of works, and nothing else is said."""

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from tests.e2e.gateways import Caller, Gateway, answer_in, key_of, operator
from tests.fakes_mcp_servers import served
from tests.revisions.client import RevisionClient
from tests.revisions.contents import (
    LINKED,
    MODERN,
    PROMPTS,
    QUESTION,
    READ,
    RESOURCES,
    SINCE,
    SKILLS,
    URI,
    VERSIONS,
    blocks,
    structured,
    tools,
)
from tests.revisions.schemas import progress_complaints
from tests.revisions.server import Servers

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

UPSTREAM = {**{f"v{version}": version for version in VERSIONS}, "older": VERSIONS[0]}
"""By server, the revision it speaks; `older` is one over HTTP+SSE."""
PAIRS = pytest.mark.parametrize(
    ("version", "server"), [(version, server) for version in VERSIONS for server in UPSTREAM]
)


@pytest.fixture(scope="module")
def servers() -> Servers:
    return Servers()


@pytest.fixture(scope="module")
def gateway(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    with served(servers) as url:
        root = url.removesuffix("/mcp")
        configuration = {
            "servers": {name: {"url": f"{root}/{name}"} for name in UPSTREAM},
            "roles": {
                "all": {"allow": ["tool:*/*", "prompt:*/*", "resource:*/**", "method:*/skills/*"]},
                "tools": {"allow": ["tool:*/*"]},
            },
            "principals": {
                "ana": {"roles": ["all"], "key": "env:ANA_KEY"},
                "bob": {"roles": ["tools"], "key": "env:BOB_KEY"},
            },
        }
        with Gateway(tmp_path_factory.mktemp("revisions"), configuration, environment={}) as gateway:
            yield gateway


@asynccontextmanager
async def connected(gateway: Gateway, version: str, path: str) -> AsyncGenerator[RevisionClient]:
    """A client that has greeted the gateway, and finds nothing wrong with what it hears."""
    headers = {"authorization": f"Bearer {key_of('ana')}", "accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(
        base_url=gateway.url, headers=headers, trust_env=False, timeout=60, verify=False
    ) as http:
        client = RevisionClient(version, http, path)
        await client.begin()
        yield client
        assert client.complaints == []


@PAIRS
async def test_every_client_makes_use_of_every_server(
    gateway: Gateway, servers: Servers, version: str, server: str
) -> None:
    theirs = UPSTREAM[server]
    async with connected(gateway, version, f"/mcp/{server}") as client:
        listed = {each["name"]: each for each in (await client.request("tools/list"))["tools"]}
        assert sorted(listed) == ["ask", "every"]
        assert listed["every"] == _listed(theirs, version)
        assert (await client.request("prompts/list"))["prompts"] == PROMPTS
        assert (await client.request("resources/list"))["resources"] == RESOURCES

        called = await client.request(
            "tools/call", {"name": "every", "arguments": {"n": 1}, "_meta": {"progressToken": "mine"}}
        )
        assert [_same_or_told(*each, version) for each in zip(blocks(theirs), called["content"], strict=True)]
        assert called.get("structuredContent") == _structured(theirs, version)
        assert called.get("_meta") == ({"com.example/kept": None} if theirs >= "2025-06-18" else None)
        steps = [each for each in client.told if each["method"] == "notifications/progress"]
        assert [each["params"]["progress"] for each in steps] == [1, 2]
        assert {each["params"]["progressToken"] for each in steps} == {"mine"}
        assert [complaint for each in steps for complaint in progress_complaints(each)] == []

        prompt = await client.request("prompts/get", {"name": "each", "arguments": {"tone": "kind"}})
        said = [each["content"] for each in prompt["messages"]]
        assert [_same_or_told(*each, version) for each in zip(blocks(theirs), said, strict=True)]
        assert (await client.request("resources/read", {"uri": URI}))["contents"] == READ["contents"]
        # It is linked to, and in no list.
        assert (await client.request("resources/read", {"uri": LINKED}))["contents"] == READ["contents"]
        assert (await client.request("skills/list", {"depth": 1}))["skills"] == SKILLS["skills"]
    assert servers.by_name[server].complaints == []


@PAIRS
async def test_what_any_server_asks_any_client_answers(
    gateway: Gateway, servers: Servers, version: str, server: str
) -> None:
    async with connected(gateway, version, f"/mcp/{server}") as client:
        said = await client.request("tools/call", {"name": "ask", "arguments": {}})
    assert said["content"] == [{"type": "text", "text": "The model says Paris."}]
    assert [each["method"] for each in client.asked] == ["sampling/createMessage"]
    assert client.asked[0]["params"]["messages"][0]["content"] == {"type": "text", "text": QUESTION}
    assert servers.by_name[server].complaints == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_client_sees_the_servers_of_every_revision_at_once(gateway: Gateway, version: str) -> None:
    async with connected(gateway, version, "/mcp") as client:
        listed = {each["name"] for each in (await client.request("tools/list"))["tools"]}
        assert listed == {f"{server}__{name}" for server in UPSTREAM for name in ("ask", "every")}
        for server in UPSTREAM:
            assert (await client.request("tools/call", {"name": f"{server}__every", "arguments": {"n": 1}}))["content"]


async def test_a_method_of_an_extension_is_judged_and_recorded_and_answered_where_it_belongs(gateway: Gateway) -> None:
    its_own, name = "/mcp/v2026-07-28", "method:v2026-07-28/skills/list"
    async with Caller(gateway, "ana") as ana, Caller(gateway, "bob") as bob, operator(gateway) as olga:
        granted = answer_in(await ana.modern("skills/list", {}, path=its_own))
        denied = answer_in(await bob.modern("skills/list", {}, path=its_own))
        elsewhere = answer_in(await ana.modern("skills/list", {}))
        sent = await olga.records(2, call=name, subject="ana")
        (refused,) = await olga.records(call=name, subject="bob")
    assert granted["result"]["skills"] == SKILLS["skills"]
    assert denied["error"]["code"] == 1403
    assert elsewhere["error"]["code"] == -32601
    assert its_own in elsewhere["error"]["message"]
    assert {(each["operation"], each["phase"]) for each in sent} == {("method", "intent"), ("method", "outcome")}
    assert (refused["operation"], refused["outcome"]) == ("method", "denied")


def _listed(theirs: str, version: str) -> dict[str, Any]:
    """As the server lists it; of a tool whose outcome is no object older clients cannot be told what it is."""
    listed = dict(tools(theirs)[0])
    if theirs == MODERN and version != MODERN:
        del listed["outputSchema"]
    return listed


def _structured(theirs: str, version: str) -> Any:
    if theirs < "2025-06-18" or (theirs == MODERN and version != MODERN):
        return None
    return structured(theirs)


def _same_or_told(block: Mapping[str, Any], got: Mapping[str, Any], version: str) -> bool:
    """A block as it is; or, of a kind that came after the client's revision, text that says what stands there."""
    if SINCE[block["type"]] <= version:
        assert got == block
        return True
    assert got.keys() == {"type", "text", *(block.keys() & {"annotations"})}
    assert got.get("annotations") == block.get("annotations")
    linked = (LINKED, "The linked one", "text/markdown", "1234 bytes", "What it says.")
    for each in linked if block["type"] == "resource_link" else ("Audio", "audio/wav", "4 bytes"):
        assert each in got["text"]
    return True
