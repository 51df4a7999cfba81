"""What becomes of the lists of a server: one capability a definition, and one bad definition never more than itself."""

import hashlib

import pytest

from adapters.mcp.client_listing import MOST_PAGES, read_listing
from adapters.mcp.client_wire import METHOD_NOT_FOUND
from adapters.mcp.settings import ServerSettings, ToolSettings
from gateway.core.errors import GatewayError, Unavailable, UpstreamFailed
from gateway.core.json import Json, JsonObject, canonical_json
from gateway.core.limits import Bounds
from gateway.core.model import Capability, Remembering
from gateway.core.ports.upstream import Listing

pytestmark = pytest.mark.anyio

ALL: JsonObject = {"capabilities": {"tools": {}, "resources": {}, "prompts": {}}, "instructions": "x"}
TOOLS: JsonObject = {"capabilities": {"tools": {}}}


def server(**settings: object) -> ServerSettings:
    return ServerSettings.model_validate({"url": "http://a.test/mcp", **settings})


class Pages:
    """Answers each method with its pages, one after another."""

    def __init__(self, **pages: list[JsonObject] | GatewayError) -> None:
        self.asked: list[tuple[str, JsonObject]] = []
        self._pages = {method.replace("__", "/"): each for method, each in pages.items()}

    async def __call__(self, method: str, params: JsonObject) -> JsonObject:
        self.asked.append((method, params))
        pages = self._pages.get(method, [{}])
        if isinstance(pages, GatewayError):
            raise pages
        number = int(str(params.get("cursor", "0")))
        page = pages[min(number, len(pages) - 1)]
        return page if "nextCursor" in page or number + 1 >= len(pages) else {**page, "nextCursor": str(number + 1)}


async def tools(*definitions: Json, **settings: object) -> Listing:
    return await read_listing("shop", server(**settings), TOOLS, Pages(tools__list=[{"tools": [*definitions]}]))


async def one(definition: JsonObject, **settings: object) -> Capability:
    (capability,) = (await tools(definition, **settings)).capabilities
    return capability


async def test_a_tool_is_listed_whole() -> None:
    definition: JsonObject = {
        "name": "refund",
        "title": "Refund",
        "description": "Refunds.",
        "inputSchema": {"type": "object"},
        "outputSchema": {"type": "object", "x": None},
        "future": {"a": [1]},
    }
    assert await one(definition, tags=["money"], timeout_s=3, tenant="acme") == Capability(
        name="tool:shop/refund",
        kind="tool",
        owner="shop",
        local="refund",
        tenant="acme",
        title="Refund",
        description="Refunds.",
        definition=definition,
        input_schema={"type": "object"},
        output_schema={"type": "object", "x": None},
        tags=frozenset({"money"}),
        effect="sink",
        timeout_s=3,
        digest=hashlib.sha256(canonical_json(definition)).hexdigest(),
    )


@pytest.mark.parametrize(
    ("server_tags", "tool_tags", "hints", "effect"),
    [
        ([], [], {}, "sink"),
        ([], [], {"readOnlyHint": True, "destructiveHint": False}, "sink"),
        (["read"], [], {}, "read"),
        ([], ["read"], {}, "read"),
        (["read"], [], {"destructiveHint": True}, "sink"),
        ([], ["read"], {"destructiveHint": True}, "read"),
    ],
)
async def test_only_the_configuration_makes_a_tool_a_reader(
    server_tags: list[str], tool_tags: list[str], hints: JsonObject, effect: str
) -> None:
    capability = await one(
        {"name": "t", "annotations": hints}, tags=server_tags, tools={"t": ToolSettings(tags=tuple(tool_tags))}
    )
    assert capability.effect == effect
    assert ("destructive" in capability.tags) == (hints.get("destructiveHint") is True)


async def test_what_the_configuration_knows_of_a_tool_counts_for_that_tool_only() -> None:
    settings = {"t": ToolSettings(idempotency="argument:key", timeout_s=2, tags=("money",))}
    listing = await tools({"name": "t"}, {"name": "u"}, tools=settings, timeout_s=9)
    known, other = listing.capabilities
    assert (known.idempotency, known.timeout_s, known.tags) == ("argument:key", 2, frozenset({"money"}))
    assert (other.idempotency, other.timeout_s, other.tags) == ("", 9, frozenset())


async def test_room_and_memory_are_the_configurations_word_and_only_reads_are_remembered() -> None:
    settings: JsonObject = {
        "concurrency": 3,
        "queue": 4,
        "tags": ["read"],
        "tools": {
            "find": {"concurrency": 1, "deterministic": True, "cache_ttl_s": 60},
            "last": {"stale_on_error": True},
            "wipe": {"deterministic": True},
        },
    }
    wipe: JsonObject = {"name": "wipe", "annotations": {"destructiveHint": True}}
    listing = await tools({"name": "find"}, {"name": "last"}, wipe, {"name": "other"}, **settings)
    find, last, wipes, other = listing.capabilities
    assert find.bounds == Bounds(owner_concurrency=3, owner_queue=4, concurrency=1)
    assert other.bounds == Bounds(owner_concurrency=3, owner_queue=4)
    assert find.remembering == Remembering(ttl_s=60, fresh=True, stale=False)
    assert last.remembering == Remembering(ttl_s=86_400, fresh=False, stale=True)
    assert (wipes.remembering, other.remembering) == (None, None)


@pytest.mark.parametrize(
    ("kind", "personal"), [("client_credentials", False), ("token_exchange", True), ("user", True)]
)
async def test_what_a_server_says_to_one_person_is_not_remembered_for_another(kind: str, personal: bool) -> None:
    auth: JsonObject = {"kind": kind, "issuer": "https://login.test", "client_id": "a", "client_secret": "env:A"}
    settings: JsonObject = {"tags": ["read"], "tools": {"find": {"stale_on_error": True}}, "auth": auth}

    (find,) = (await tools({"name": "find"}, **settings)).capabilities

    assert find.remembering == Remembering(ttl_s=86_400, fresh=False, stale=True, personal=personal)


async def test_a_bad_definition_costs_itself_and_is_reported() -> None:
    bad: list[Json] = [{}, 7, None, {"title": "x"}, {"name": ""}, {"name": 4}, {"name": "a\nb"}, {"name": "x" * 3000}]
    listing = await tools({"name": "good"}, *bad, {"name": "good", "title": "again"}, {"name": "also"})
    assert [capability.local for capability in listing.capabilities] == ["good", "also"]
    assert listing.about["dropped_count"] == len(bad) + 1


async def test_a_tool_no_arguments_can_fit_is_reported() -> None:
    listing = await tools({"name": "good"}, {"name": "list", "inputSchema": {"type": "array"}})
    assert [capability.local for capability in listing.capabilities] == ["good"]
    reason = "its inputSchema is not that of an object"
    assert listing.about["dropped"] == [{"kind": "tool", "name": "list", "reason": reason}]


@pytest.mark.parametrize("broken", [{"inputSchema": 7}, {"annotations": "x"}, {"title": []}, {"_meta": None}])
async def test_a_definition_with_a_broken_part_is_kept_as_it_is(broken: JsonObject) -> None:
    definition = {"name": "t", **broken}
    assert (await one(definition)).definition == definition


async def test_a_number_too_large_for_canonical_json_still_has_a_digest() -> None:
    one_way: JsonObject = {"name": "t", "inputSchema": {"maximum": 2**63 - 1, "minimum": 0}}
    other_way: JsonObject = {"inputSchema": {"minimum": 0, "maximum": 2**63 - 1}, "name": "t"}
    assert (await one(one_way)).digest == (await one(other_way)).digest != ""


async def test_every_declared_list_is_read_and_no_other() -> None:
    pages = Pages(
        resources__list=[{"resources": [{"uri": "file:///a", "name": "A"}]}],
        resources__templates__list=[{"resourceTemplates": [{"uriTemplate": "file:///{x}", "name": "X"}]}],
        prompts__list=[{"prompts": [{"name": "greet"}]}],
    )
    listing = await read_listing("shop", server(), {"capabilities": {"resources": {}, "prompts": {}}}, pages)
    assert [(each.name, each.kind, each.local, each.effect) for each in listing.capabilities] == [
        ("resource:shop/file:///a", "resource", "file:///a", "read"),
        ("resource:shop/file:///{x}", "template", "file:///{x}", "read"),
        ("prompt:shop/greet", "prompt", "greet", "read"),
    ]
    assert "tools/list" not in [method for method, _ in pages.asked]


async def test_pages_are_read_to_the_last() -> None:
    pages = Pages(tools__list=[{"tools": [{"name": f"t{number}"}]} for number in range(5)])
    listing = await read_listing("shop", server(), TOOLS, pages)
    assert [capability.local for capability in listing.capabilities] == ["t0", "t1", "t2", "t3", "t4"]
    assert [params for _, params in pages.asked][:2] == [{}, {"cursor": "1"}]


async def test_pages_without_end_fail() -> None:
    full: JsonObject = {"tools": [{"name": str(number)} for number in range(6000)]}
    for pages in (
        Pages(tools__list=[{"tools": [], "nextCursor": "0"}]),
        Pages(tools__list=[{"tools": [{"name": str(number)}]} for number in range(MOST_PAGES + 5)]),
        Pages(tools__list=[full] * 5),
    ):
        with pytest.raises(UpstreamFailed):
            await read_listing("shop", server(), TOOLS, pages)
        assert len(pages.asked) <= MOST_PAGES


async def test_a_list_that_is_declared_but_not_there_is_empty() -> None:
    missing = UpstreamFailed("no", detail={"upstream": {"code": METHOD_NOT_FOUND, "message": "no"}})
    pages = Pages(tools__list=[{"tools": [{"name": "t"}]}], resources__templates__list=missing)
    listing = await read_listing("shop", server(), ALL, pages)
    assert [capability.local for capability in listing.capabilities] == ["t"]


async def test_any_other_failure_fails_the_listing() -> None:
    with pytest.raises(Unavailable):
        await read_listing("shop", server(), ALL, Pages(prompts__list=Unavailable("gone")))


async def test_a_listing_tells_from_which_of_its_templates_a_uri_may_have_been_made() -> None:
    made: list[Json] = [{"uriTemplate": text} for text in ("note://{id}", "{+any}", "mail://{id}")]
    pages = Pages(resources__templates__list=[{"resourceTemplates": made}])
    listing = await read_listing("docs", server(), ALL, pages)
    assert set(listing.templates_of("note://7") or ()) == {"resource:docs/note://{id}", "resource:docs/{+any}"}
    assert listing.templates_of("x" * 70_000) == ()


async def test_what_resources_it_has_without_listing_them_is_known_of_a_server_that_has_any() -> None:
    async def ask(method: str, params: JsonObject) -> JsonObject:
        return {}

    with_some = await read_listing("orders", server(tags=["pii"]), {"capabilities": {"resources": {}}}, ask)
    assert with_some.unlisted is not None
    assert (with_some.unlisted.kind, with_some.unlisted.effect) == ("resource", "read")
    assert with_some.unlisted.tags == {"pii"}
    assert (await read_listing("orders", server(), {"capabilities": {"tools": {}}}, ask)).unlisted is None
