"""What servers have without listing it: read by the URI as a result named it, from its own server alone."""

import json
from typing import Any

import pytest

from adapters.mcp.offers import Offers
from adapters.mcp.set_settings import SetSettings
from adapters.mcp.wire import Params
from gateway.core.json import Json, JsonObject
from gateway.core.model import Request
from tests.fakes_mcp_door import Caller, ShopGateway, answering, opened, prompt, resource, template, tool

pytestmark = pytest.mark.anyio

PAGE = "file:///page"


def linking(*uris: str) -> bytes:
    links: list[Json] = [{"type": "resource_link", "uri": uri, "name": "x"} for uri in uris]
    return json.dumps({"content": links, "resultType": "complete"}).encode()


def embedding(uri: str) -> bytes:
    message: JsonObject = {"role": "user", "content": {"type": "resource", "resource": {"uri": uri, "text": "x"}}}
    return json.dumps({"messages": [message], "resultType": "complete"}).encode()


def shop(*owners: str, unlisted: frozenset[str] = frozenset({"docs", "wiki"})) -> ShopGateway:
    """Each has a tool that links to the same page."""
    gateway = ShopGateway(*(tool("look", owner) for owner in owners), prompt("greet", owners[0]))
    gateway.unlisted = unlisted
    for owner in owners:
        if owner in unlisted:
            gateway.abouts[owner] = {"capabilities": {"resources": {"subscribe": True}}}
        gateway.runs[f"tool:{owner}/look"] = answering(linking(PAGE))
    return gateway


async def uris_of(caller: Caller, name: str) -> list[str]:
    reply = await caller.ask("tools/call", {"name": name})
    return [each["uri"] for each in reply.json["result"]["content"]]


def asked(request: Request) -> tuple[str, Any]:
    assert isinstance(request.body, Params)
    return request.capability, json.loads(bytes(request.body.members["uri"]))


async def test_a_link_to_what_is_not_listed_is_read_where_it_came_from() -> None:
    gateway = shop("docs", "wiki", "plain")
    gateway.runs["prompt:docs/greet"] = answering(embedding(PAGE))
    read = {"contents": [{"uri": PAGE, "text": "x"}], "ttlMs": 0, "cacheScope": "private", "resultType": "complete"}
    gateway.runs[f"resource:wiki/{PAGE}"] = answering(json.dumps(read).encode())
    async with opened(gateway) as door:
        caller = Caller(door)
        docs, wiki, plain = [(await uris_of(caller, f"{each}__look"))[0] for each in ("docs", "wiki", "plain")]
        greeted = (await caller.ask("prompts/get", {"name": "docs__greet"})).json["result"]["messages"][0]
        gateway.requests.clear()
        answers = [(await caller.ask("resources/read", {"uri": uri})).json for uri in (docs, wiki, plain)]
        completed = await caller.ask(
            "completion/complete",
            {"ref": {"type": "ref/resource", "uri": docs}, "argument": {"name": "a", "value": ""}},
        )
    assert (docs, wiki, plain) == (f"docs+{PAGE}", f"wiki+{PAGE}", PAGE)
    assert greeted["content"]["resource"]["uri"] == docs
    assert [asked(each) for each in gateway.requests[:2]] == [
        (f"resource:docs/{PAGE}", PAGE),
        (f"resource:wiki/{PAGE}", PAGE),
    ]
    assert answers[1]["result"]["contents"][0]["uri"] == wiki
    assert answers[2]["error"]["message"] == "Resource not found", "nobody says whose it would be"
    assert completed.json["error"]["message"] == "its server offers no completions"


async def test_where_only_one_has_resources_its_links_stay_as_they_are() -> None:
    gateway = shop("docs", "plain")
    async with opened(gateway) as door:
        caller = Caller(door)
        links = [await uris_of(caller, "docs__look"), await uris_of(caller, "plain__look")]
        gateway.requests.clear()
        await caller.ask("resources/read", {"uri": PAGE})
    assert links == [[PAGE], [PAGE]]
    assert [asked(each) for each in gateway.requests] == [(f"resource:docs/{PAGE}", PAGE)]


async def test_what_is_listed_or_made_from_a_template_or_of_the_web_keeps_its_uri() -> None:
    gateway = shop("docs", "wiki")
    gateway.change(resource("docs://home", "docs"), template("docs://{page}/text", "docs"))
    said = ["docs://home", "docs://7/text", "https://example.com/a", "data:text/plain,x", "docs://other"]
    gateway.runs["tool:docs/look"] = answering(linking(*said))
    async with opened(gateway) as door:
        links = await uris_of(Caller(door), "docs__look")
    assert links == [*said[:4], "docs+docs://other"]


async def test_a_mark_is_its_servers_whatever_another_lists() -> None:
    """`wiki` lists what looks like a link of `docs`, and has a template for the rest."""
    gateway = shop("docs", "wiki")
    gateway.change(
        *(resource(f"docs+{PAGE}", "wiki"), template("docs+file:///{name}", "wiki"), template("{+any}", "wiki")),
        template("note://{id}", "docs"),
    )
    async with opened(gateway) as door:
        caller = Caller(door)
        listed = [each["uri"] for each in (await caller.ask("resources/list")).json["result"]["resources"]]
        made = (await caller.ask("resources/templates/list")).json["result"]["resourceTemplates"]
        gateway.runs["tool:wiki/look"] = answering(linking(f"docs+{PAGE}"))
        links = await uris_of(caller, "docs__look") + await uris_of(caller, "wiki__look")
        gateway.requests.clear()
        for uri in (f"docs+{PAGE}", "docs+file:///b", "docs+note://1", f"wiki+docs+{PAGE}", "wiki+docs+file:///b"):
            await caller.ask("resources/read", {"uri": uri})
    assert listed == [f"wiki+docs+{PAGE}"]
    assert sorted(each["uriTemplate"] for each in made) == [
        *("docs+note://{id}", "wiki+docs+file:///{name}", "wiki+{+any}"),
    ]
    assert links == [f"docs+{PAGE}", f"wiki+docs+{PAGE}"]
    assert [asked(each) for each in gateway.requests] == [
        (f"resource:docs/{PAGE}", PAGE),
        ("resource:docs/file:///b", "file:///b"),
        ("resource:docs/note://{id}", "note://1"),
        (f"resource:wiki/docs+{PAGE}", f"docs+{PAGE}"),
        ("resource:wiki/docs+file:///{name}", "docs+file:///b"),
    ]


SETS = Offers(
    sets={
        "pages": SetSettings.model_validate({"include": ["tool:*", "resource:docs/*"]}),
        "tools": SetSettings.model_validate({"include": ["tool:*"]}),
        "all": SetSettings(),
    }
)


@pytest.mark.parametrize(
    ("path", "link", "readable"),
    [("pages", f"docs+{PAGE}", True), ("tools", PAGE, False), ("all", f"docs+{PAGE}", True)],
)
async def test_a_set_has_what_its_patterns_take_of_what_is_not_listed(path: str, link: str, readable: bool) -> None:
    gateway = shop("docs", "wiki")
    async with opened(gateway, offers=SETS) as door:
        caller = Caller(door, path=f"/mcp/sets/{path}")
        assert await uris_of(caller, "docs__look") == [link]
        gateway.requests.clear()
        for uri in (link, f"docs+{PAGE}"):
            reply = await caller.ask("resources/read", {"uri": uri})
            assert ("result" in reply.json) is readable
    assert {each.capability == f"resource:docs/{PAGE}" for each in gateway.requests} == {readable}


@pytest.mark.parametrize(("path", "uri"), [("/mcp", f"docs+{PAGE}"), ("/mcp/docs", PAGE)])
async def test_its_changes_are_told_where_its_server_tells_of_changes(path: str, uri: str) -> None:
    gateway = shop("docs", "wiki")
    async with opened(gateway) as door:
        caller = Caller(door, path=path)
        await caller.initialize()
        granted = await caller.say("resources/subscribe", {"uri": uri})
        refused = await caller.say("resources/subscribe", {"uri": "nobody+file:///x" if path == "/mcp" else ""})
    assert granted.json["result"] == {}
    assert refused.json["error"]["message"] == "Resource not found"
    assert [(each.operation, *asked(each)) for each in gateway.requests] == [
        ("subscribe", f"resource:docs/{PAGE}", PAGE),
    ]
