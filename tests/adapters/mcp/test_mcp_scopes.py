"""Whoever's token lacks a scope is told which to ask for, whatever was asked, in either era, on the real path."""

from collections.abc import Sequence

import pytest

from adapters.mcp.offers import Offers
from adapters.mcp.set_settings import SetSettings
from gateway.core.errors import Unauthenticated
from gateway.core.json import JsonObject
from gateway.core.model import Capability, Emit, Request, Result, principal
from gateway.core.ports.gateway import Identity
from gateway.core.ports.upstream import Listing
from policies.token import TokenPolicy
from tests.fakes import GRANT, FakeUpstream, Path, Says
from tests.fakes_mcp_door import Badges, Caller, Reply, answering, opened, prompt, resource, template, tool

pytestmark = pytest.mark.anyio

PAGE, NOTE, UNLISTED = "file:///page", "note://7", "file:///unlisted"
SCOPES = {
    "tool:orders/refund": ["write"],
    "prompt:orders/greet": ["prompts"],
    f"resource:orders/{PAGE}": ["pages"],
    f"resource:orders/{UNLISTED}": ["hidden"],
    f"resource:orders/{NOTE}": ["notes"],
    "tool:*": ["use"],
}
REFUND: JsonObject = {"name": "orders__refund", "arguments": {}}
COMPLETED: JsonObject = {"argument": {"name": "tone", "value": "k"}}
ASKED: list[tuple[str, JsonObject, str]] = [
    ("tools/call", REFUND, "use write"),
    ("prompts/get", {"name": "orders__greet"}, "prompts"),
    ("resources/read", {"uri": PAGE}, "pages"),
    ("resources/read", {"uri": NOTE}, "notes"),
    ("resources/read", {"uri": UNLISTED}, "hidden"),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "orders__greet"}, **COMPLETED}, "prompts"),
    ("completion/complete", {"ref": {"type": "ref/resource", "uri": PAGE}, **COMPLETED}, "pages"),
]
SET = Offers(sets={"all": SetSettings(search=True)})


class Telling:
    """See `Challenges`."""

    issuers = ("https://issuer.test",)

    def unauthenticated(self, path: str, error: Unauthenticated) -> bytes:
        return b"Bearer"

    def insufficient(self, path: str, scopes: Sequence[str]) -> bytes:
        return f"{path} {' '.join(scopes)}".encode()


def badges() -> Badges:
    every = frozenset(scope for needed in SCOPES.values() for scope in needed)
    narrow = principal("ana", roles=frozenset({"support"}), scopes=frozenset())
    wide = principal("bob", roles=frozenset({"support"}), scopes=every)
    return Badges({b"Bearer ana": Identity(principal=narrow), b"Bearer bob": Identity(principal=wide)})


async def done(request: Request, capability: Capability, emit: Emit) -> Result:
    operation = request.operation
    body = (
        b'{"contents":[]}' if operation == "read" else b'{"messages":[]}' if operation == "get" else b'{"content":[]}'
    )
    return await answering(body)(request, emit)


def path() -> Path:
    offered = [tool("refund"), prompt("greet"), resource(PAGE), template("note://{id}")]
    upstream = FakeUpstream("orders", offered, done)
    around = Path(upstream, policies=[Says(GRANT), TokenPolicy(SCOPES)])
    like = Capability(name="resource:orders/", kind="resource", owner="orders", local="", effect="read")
    about: JsonObject = {"capabilities": {"resources": {"subscribe": True}, "completions": {}}}
    around.shelf.arrived("orders", Listing(capabilities=tuple(offered), unlisted=like, about=about))
    around.pipeline.swap(around.snapshot("2"))
    return around


def challenge(reply: Reply) -> tuple[int, bytes, int]:
    return reply.status, reply.headers.get(b"www-authenticate", b""), reply.json["error"]["code"]


@pytest.mark.parametrize(("method", "params", "scopes"), ASKED)
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_the_scopes_of_the_operation_are_asked_for(
    era: str, method: str, params: JsonObject, scopes: str
) -> None:
    around = path()
    async with opened(around.pipeline, badges=badges(), challenges=Telling()) as door:
        replies: list[Reply] = []
        for key in ("ana", "bob"):
            caller = Caller(door, key=key)
            await caller.initialize()
            replies.append(await (caller.ask(method, params) if era == "modern" else caller.say(method, params)))
    narrow, wide = replies
    assert challenge(narrow) == (403, f"/mcp {scopes}".encode(), 1403)
    assert narrow.json["error"]["data"]["scopes"] == scopes.split()
    assert (wide.status, "result" in wide.json) == (200, True)
    (upstream,) = {each.upstream for each in around.pipeline.catalog.entries.values()}
    assert isinstance(upstream, FakeUpstream)
    assert [each.principal.subject for each in upstream.calls] == ["bob"]


async def test_the_call_of_a_searched_set_asks_for_the_scopes_of_the_tool_it_names() -> None:
    async with opened(path().pipeline, badges=badges(), challenges=Telling(), offers=SET) as door:
        caller = Caller(door, path="/mcp/sets/all")
        await caller.initialize()
        call: JsonObject = {"name": "call", "arguments": REFUND}
        modern, legacy = await caller.ask("tools/call", call), await caller.say("tools/call", call)
        found = await caller.ask("tools/call", {"name": "search", "arguments": {"query": "refund"}})
    assert challenge(modern) == challenge(legacy) == (403, b"/mcp/sets/all use write", 1403)
    assert "orders__refund" in found.json["result"]["content"][0]["text"], "or nobody would learn of the scope"


@pytest.mark.parametrize(("uri", "scopes"), [(PAGE, "pages"), (NOTE, "notes"), (UNLISTED, "hidden")])
async def test_who_wants_to_hear_of_changes_is_asked_for_the_scopes_too(uri: str, scopes: str) -> None:
    around = path()
    async with opened(around.pipeline, badges=badges(), challenges=Telling()) as door:
        caller = Caller(door)
        await caller.initialize()
        subscribed = await caller.say("resources/subscribe", {"uri": uri})
        wanted: JsonObject = {"notifications": {"resourceSubscriptions": [uri]}}
        listening = caller.modern("subscriptions/listen", wanted, accept="text/event-stream")
        listened = await caller.send(listening)
    assert challenge(subscribed) == challenge(listened) == (403, f"/mcp {scopes}".encode(), 1403)
