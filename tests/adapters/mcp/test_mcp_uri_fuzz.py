"""Whatever URIs and names servers have and callers say: no failure of ours, and nothing of one server from another."""

import json
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.mcp.offers import Offers
from adapters.mcp.set_settings import SetSettings
from adapters.mcp.wire import Answer, Params
from gateway.core.json import JsonObject
from gateway.core.model import Capability, Complete, Emit, Request, Result
from tests.fakes_mcp_door import Caller, Reply, ShopGateway, opened, prompt, resource, template, tool

OWNERS = ("a", "b", "s1", "1")
"""Slugs that a mark of another could be taken for."""
SETS = Offers(
    sets={
        "all": SetSettings(search=True),
        "some": SetSettings.model_validate({"include": ["tool:*", "resource:a/*", "prompt:b/*"]}),
    }
)
PATHS = ("/mcp", "/mcp/a", "/mcp/sets/all", "/mcp/sets/some")

pieces = st.sampled_from(
    [
        *(
            "a+",
            "b+",
            "s1+",
            "s.1+",
            "s.s1+",
            "+",
            "a:",
            "x://",
            "/",
            "1",
            "a",
            "..",
            "%2e",
            "é",
            "\u200b",
            "\x00",
            "?q=",
            "#",
        )
    ]
)
uris = st.lists(pieces, min_size=1, max_size=6).map("".join)
templates = st.lists(pieces | st.sampled_from(["{x}", "{+x}", "{?q}", "{/p*}", "{", "}"]), min_size=1, max_size=5).map(
    "".join
)
names = st.lists(
    st.sampled_from(["a", "b", "__", "a__", "s1__", "1", "é", " ", "call", "search"]), min_size=1, max_size=4
).map("".join)
owned = st.sampled_from(OWNERS)
servers = st.fixed_dictionaries(
    {
        "resources": st.lists(st.tuples(owned, uris), max_size=6),
        "templates": st.lists(st.tuples(owned, templates), max_size=4),
        "tools": st.lists(st.tuples(owned, names), max_size=4),
        "prompts": st.lists(st.tuples(owned, names), max_size=3),
        "readers": st.frozensets(owned),
    }
)


def shop(drawn: dict[str, Any], links: list[str]) -> ShopGateway:
    """Every tool links to the same URIs; what is read says whose it is."""
    gateway = ShopGateway(
        *(resource(uri, owner) for owner, uri in drawn["resources"]),
        *(template(text, owner) for owner, text in drawn["templates"]),
        *(tool(name, owner) for owner, name in drawn["tools"]),
        *(prompt(name, owner) for owner, name in drawn["prompts"]),
        *(tool("look", owner) for owner in OWNERS),
    )
    gateway.unlisted = drawn["readers"] | {owner for owner, _ in (*drawn["resources"], *drawn["templates"])}
    gateway.abouts = {owner: {"capabilities": {"resources": {}}} for owner in gateway.unlisted}

    async def answer(request: Request, emit: Emit) -> Result:
        found = gateway.find(request.principal, request.capability)
        assert found is not None
        said: JsonObject = linked
        if request.operation in ("get", "complete"):
            said = {"messages": [], "completion": {"values": []}}
        elif request.operation == "read":
            said = {"contents": [{"uri": "", "text": whose(request, found)}]}
        return Complete(body=Answer(json.dumps({**said, "resultType": "complete"}).encode(), era="modern"))

    linked: JsonObject = {"content": [{"type": "resource_link", "uri": uri, "name": "x"} for uri in links]}
    for capability in gateway.capabilities:
        gateway.runs[capability] = answer
    for owner in gateway.unlisted:
        for uri in links:
            gateway.runs[f"resource:{owner}/{uri}"] = answer
    return gateway


def whose(request: Request, found: Capability) -> str:
    assert isinstance(request.body, Params)
    return f"{found.owner} {json.loads(bytes(request.body.members['uri']))}"


def check(reply: Reply) -> Any:
    assert reply.status in (200, 400, 403, 404), reply.body
    assert reply.json.get("error", {}).get("code") != -32603, reply.body
    return reply.json.get("result", {})


@pytest.mark.parametrize("path", PATHS)
@given(drawn=servers, links=st.lists(uris, min_size=1, max_size=4), said=uris, name=names)
@settings(max_examples=25, deadline=None, suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large))
def test_a_link_of_a_server_leads_to_that_server_or_nowhere(
    path: str, drawn: dict[str, Any], links: list[str], said: str, name: str
) -> None:
    async def run() -> None:
        gateway = shop(drawn, links)
        async with opened(gateway, offers=SETS, within_s=120) as door:
            caller = Caller(door, path=path)
            await caller.initialize()
            listed = check(await caller.say("resources/list"))["resources"]
            made = check(await caller.say("resources/templates/list"))["resourceTemplates"]
            assert len({each["uri"] for each in listed}) == len(listed)
            for each in listed:
                text = read(check(await caller.say("resources/read", {"uri": each["uri"]})))
                assert text.partition(" ")[2] == each["name"], "a resource's name here is its own URI"
            for owner in ("a",) if path == "/mcp/a" else OWNERS:
                look: JsonObject = {"name": "look" if path == "/mcp/a" else f"{owner}__look", "arguments": {}}
                call: JsonObject = {"name": "call", "arguments": look} if path.endswith("all") else look
                content = check(await caller.say("tools/call", call)).get("content", [])
                for link, own in zip(content, links, strict=True):
                    text = read(check(await caller.say("resources/read", {"uri": link["uri"]})))
                    assert owner not in gateway.unlisted or text in ("", f"{owner} {own}")
            for method, params in odd(said, name, [each["uriTemplate"] for each in made]):
                check(await caller.ask(method, params))
                check(await caller.say(method, params))

    anyio.run(run)


def read(result: Any) -> str:
    text: str = result["contents"][0]["text"] if result else ""
    return text


def odd(said: str, name: str, made: list[str]) -> Iterator[tuple[str, JsonObject]]:
    argument: JsonObject = {"name": "x", "value": "1"}
    yield "resources/read", {"uri": said}
    for uri in (said, *made[:1]):
        yield "completion/complete", {"ref": {"type": "ref/resource", "uri": uri}, "argument": argument}
    yield "completion/complete", {"ref": {"type": "ref/prompt", "name": name}, "argument": argument}
    yield "tools/call", {"name": name, "arguments": {"name": name}}
    yield "prompts/get", {"name": name}
