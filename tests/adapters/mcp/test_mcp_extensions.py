"""Methods of extensions: a server's own, at its own endpoint, for those who may use them; nowhere else, no others."""

from typing import Any

import pytest

from adapters.mcp.client_listing import read_listing
from adapters.mcp.extensions import beginnings, is_method
from adapters.mcp.settings import ServerSettings
from adapters.mcp.wire import MODERN
from gateway.core.errors import Denied
from gateway.core.json import JsonObject, json_object
from gateway.core.model import Capability, InputRequired
from tests.adapters.mcp.test_mcp_client_http import bench, error, legacy, message, modern, result
from tests.fakes_mcp_client import a_request, call, params, said
from tests.fakes_mcp_door import Caller, Reply, ShopGateway, answering, failing, opened, tool
from tests.fakes_upstreams import Exchange

pytestmark = pytest.mark.anyio

SKILLS = Capability(name="method:orders/skills/list", kind="method", owner="orders", local="skills/list")
FOUND = b'{"resultType":"complete","skills":[{"name":"a","vendor":null}],"ttlMs":5}'


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({}, ()),
        ({"tools": {}, "prompts": {}, "logging": {}, "completions": {}, "tasks": {"list": {}}}, ()),
        ({"extensions": {"com.example/skills": {}}}, ("com.example/skills/", "skills/")),
        ({"experimental": {"search": {}}, "notes": {"deep": True}}, ("notes/", "search/")),
        ({"extensions": {"com.example/tools": {}, "tasks": {}, "roots/x": {}}}, ("com.example/tools/", "x/")),
        ({"extensions": {"a b": {}, "off": False, "none": None, "x\n": {}, "": {}}, "new": True}, ("new/",)),
    ],
)
def test_what_a_server_declares_says_how_its_methods_begin(declared: JsonObject, expected: tuple[str, ...]) -> None:
    assert beginnings(declared) == expected


@pytest.mark.parametrize(
    "text", ["", "ping", "a/", "/a", "a//b", "a/b c", 'a/b"', "a/b\r\nx: y", "ä/b", "a/" + "b" * 128]
)
def test_what_could_be_no_method_is_none(text: str) -> None:
    assert not is_method(text)


async def test_methods_are_sinks_that_no_grant_of_the_whole_server_as_read_covers() -> None:
    async def ask(method: str, params: JsonObject) -> JsonObject:
        return {}

    about: JsonObject = {"capabilities": {"extensions": {"com.example/skills": {}}}}
    settings = ServerSettings.model_validate({"url": "http://x/mcp", "tags": ["read", "pii"]})
    listing = await read_listing("orders", settings, about, ask)
    assert [(each.name, each.kind, each.effect, each.tags) for each in listing.methods] == [
        (f"method:orders/{beginning}", "method", "sink", frozenset({"pii"}))
        for beginning in ("com.example/skills/", "skills/")
    ]


# At the door


def gateway() -> ShopGateway:
    gateway = ShopGateway(tool("refund"), tool("look", "docs"), SKILLS)
    gateway.abouts = {"orders": {"capabilities": {"extensions": {"com.example/skills": {}}, "notes": {"deep": True}}}}
    gateway.runs[SKILLS.name] = answering(FOUND)
    return gateway


async def asked(door: Any, era: str, path: str, method: str = "skills/list", **params: Any) -> Reply:
    caller = Caller(door, path=path)
    if era == "modern":
        return await caller.ask(method, params)
    await caller.initialize()
    return await caller.say(method, params)


async def test_a_method_is_a_call_of_its_own_kind_with_all_its_parameters() -> None:
    shop = gateway()
    async with opened(shop) as door:
        caller = Caller(door, path="/mcp/orders")
        visit = caller.modern("skills/list", {"depth": 2, "name": "x"}, mcp_name="x")
        assert (await caller.send(visit)).json["result"] == {
            "resultType": "complete",
            "skills": [{"name": "a", "vendor": None}],
            "ttlMs": 5,
        }
    (request,) = shop.requests
    assert (request.capability, request.operation) == ("method:orders/skills/list", "method")
    assert request.body.content().structured == {"depth": 2, "name": "x"}
    assert getattr(request.body, "headers", ()) == ((b"mcp-name", b"x"),)


async def test_a_legacy_client_gets_the_same_answer_without_what_only_the_other_era_says() -> None:
    async with opened(gateway()) as door:
        reply = await asked(door, "legacy", "/mcp/orders")
    assert reply.json["result"] == {"skills": [{"name": "a", "vendor": None}], "ttlMs": 5}


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_where_several_meet_it_is_told_where_it_is_answered(era: str) -> None:
    shop = gateway()
    async with opened(shop) as door:
        reply = await asked(door, era, "/mcp")
    assert reply.status == (404 if era == "modern" else 200)
    assert reply.json["error"]["code"] == -32601
    assert reply.json["error"]["message"] == "Method not found here: skills/list is answered at /mcp/orders"
    assert shop.requests == []


async def test_a_server_the_caller_sees_nothing_of_is_not_named() -> None:
    shop = gateway()
    shop.hidden["ana"] = frozenset({"tool:orders/refund"})
    async with opened(shop) as door:
        reply = await asked(door, "modern", "/mcp")
    assert reply.json["error"]["message"] == "Method not found"


@pytest.mark.parametrize(
    ("path", "method"), [("/mcp/docs", "skills/list"), ("/mcp/orders", "skills/other"), ("/mcp/orders", "ping/x y")]
)
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_what_no_server_declares_is_not_found(era: str, path: str, method: str) -> None:
    shop = gateway()
    async with opened(shop) as door:
        reply = await asked(door, era, path, method)
    assert (reply.status, reply.json["error"]["code"]) == (404 if era == "modern" else 200, -32601)
    assert shop.requests == []


async def test_a_server_that_cannot_be_reached_is_not_taken_for_one_without_the_method() -> None:
    shop = gateway()
    shop.missing = {"docs": "it is down"}
    async with opened(shop) as door:
        await asked(door, "modern", "/mcp/docs", "search/deep")
        shop.hidden = {"ana": frozenset({"docs"})}
        reply = await asked(door, "modern", "/mcp/docs", "search/deep")
    assert [each.capability for each in shop.requests] == ["method:docs/search/deep"]
    assert reply.json["error"]["code"] == -32601, "who could have nothing of it does not hear that it is there"


async def test_a_refusal_is_an_error_and_a_servers_own_error_is_told_as_it_came() -> None:
    shop = gateway()
    shop.runs[SKILLS.name] = failing(Denied("you may not", detail={"policy": "access", "rule": "r"}))
    async with opened(shop) as door:
        reply = await asked(door, "modern", "/mcp/orders", name="x")
    assert reply.json["error"]["code"] == 1403
    assert reply.json["error"]["data"]["rule"] == "r"


async def test_a_servers_own_capabilities_are_told_at_its_endpoint_alone() -> None:
    async with opened(gateway()) as door:
        at_its_own = (await Caller(door, path="/mcp/orders").ask("server/discover")).json["result"]["capabilities"]
        of_all = (await Caller(door, path="/mcp").ask("server/discover")).json["result"]["capabilities"]
    assert at_its_own["notes"] == {"deep": True}
    assert "notes" not in of_all
    assert at_its_own["extensions"] == of_all["extensions"] == {"com.example/skills": {}}


async def test_a_clients_notification_of_an_extension_is_dropped_and_recorded() -> None:
    shop = gateway()
    async with opened(shop) as door:
        caller = Caller(door, path="/mcp/orders")
        await caller.initialize()
        before = len(shop.records)
        for method in ("skills/list", "other/x", "initialized", "x\ny"):
            taken = await caller.say(f"notifications/{method}", request_id=None)
            assert taken.status == 202
    assert [(each.operation, each.capability, each.outcome) for each in shop.records[before:]] == [
        ("notify", "method:orders/notifications/skills/list", "denied")
    ]
    assert shop.requests == []


# Before the server


def answer(exchange: Exchange) -> None:
    exchange.answer(result(exchange, {"resultType": "complete", "skills": []}))


async def test_it_reaches_a_modern_server_under_its_own_name_and_headers() -> None:
    body = params("modern", depth=2)
    async with bench(modern(answer)) as (server, upstream):
        assert said(await call(upstream, SKILLS, a_request(body, operation="method"))) == {
            "resultType": "complete",
            "skills": [],
        }
    (exchange,) = server.exchanges[1:]
    assert message(exchange)["method"] == "skills/list"
    assert json_object(message(exchange)["params"])["depth"] == 2
    assert (exchange.headers[b"mcp-method"], exchange.headers[b"mcp-protocol-version"]) == (
        b"skills/list",
        MODERN.encode(),
    )
    assert b"mcp-name" not in exchange.headers


async def test_it_reaches_a_legacy_server_in_a_session() -> None:
    async with bench(legacy(answer)) as (server, upstream):
        await call(upstream, SKILLS, a_request(params("legacy", depth=2), operation="method"))
    asked = [each for each in server.exchanges if message(each).get("method") == "skills/list"]
    assert [json_object(message(each)["params"])["depth"] for each in asked] == [2]


async def test_a_question_of_a_method_belongs_to_its_parameters() -> None:
    def asking(exchange: Exchange) -> None:
        asked: JsonObject = {"resultType": "input_required", "inputRequests": {}, "requestState": "theirs"}
        exchange.answer(result(exchange, asked))

    async with bench(modern(asking)) as (_, upstream):
        first = await call(upstream, SKILLS, a_request(params("modern", depth=2), operation="method"))
        assert isinstance(first, InputRequired)
        assert "theirs" not in first.state


async def test_what_the_server_does_not_know_after_all_is_its_own_error() -> None:
    async with bench(modern(lambda exchange: exchange.answer(error(exchange, -32601), status=404))) as (_, upstream):
        with pytest.raises(Exception, match="no") as caught:
            await call(upstream, SKILLS, a_request(params("modern"), operation="method"))
    assert json_object(caught.value.detail["upstream"])["code"] == -32601  # type: ignore[attr-defined]
