"""URIs two servers offer: told apart wherever they are said, and nothing else is touched."""

import json
from typing import Any

import pytest

from adapters.mcp.offers import Offers
from adapters.mcp.set_settings import SetSettings
from adapters.mcp.uris import Uris, mark, rewritten_result
from adapters.mcp.wire import MODERN, Params
from gateway.core.json import Json, JsonObject, json_object
from tests.adapters.mcp.test_mcp_asking import asked, asking, reply
from tests.fakes_mcp_door import (
    Caller,
    ShopGateway,
    answering,
    modern_body,
    opened,
    prompt,
    resource,
    template,
    together,
    tool,
)

pytestmark = pytest.mark.anyio

A = "file:///a"


def shop() -> ShopGateway:
    """`orders` and `stock` both offer one URI and one template; the rest is theirs alone."""
    app: JsonObject = {"ui": {"resourceUri": "ui://panel", "kept": 1}, "ui/resourceUri": "ui://panel"}
    return ShopGateway(
        resource(A, "orders"),
        resource(A, "stock"),
        resource("file:///b", "stock"),
        resource("ui://panel", "orders"),
        resource("ui://panel", "stock"),
        template("note://{id}", "orders"),
        template("note://{id}", "stock"),
        template("item://{id}", "stock"),
        tool("show", "orders", _meta=app),
        tool("show", "third", _meta=app),
        prompt("greet", "orders"),
    )


async def listed(caller: Caller, method: str, kind: str, key: str) -> list[str]:
    return [each[key] for each in (await caller.ask(method)).json["result"][kind]]


async def test_only_what_two_offer_is_marked_and_each_is_read_from_its_own() -> None:
    gateway = shop()
    async with opened(gateway) as door:
        caller = Caller(door)
        uris = await listed(caller, "resources/list", "resources", "uri")
        templates = await listed(caller, "resources/templates/list", "resourceTemplates", "uriTemplate")
        for uri in (f"orders+{A}", f"stock+{A}", "file:///b", "stock+note://7", "item://7"):
            await caller.ask("resources/read", {"uri": uri})
        ambiguous = await caller.ask("resources/read", {"uri": A})
    assert uris == ["file:///b", f"orders+{A}", "orders+ui://panel", f"stock+{A}", "stock+ui://panel"]
    assert templates == ["item://{id}", "orders+note://{id}", "stock+note://{id}"]
    assert [(each.capability, said(each.body)) for each in gateway.requests[:5]] == [
        (f"resource:orders/{A}", A),
        (f"resource:stock/{A}", A),
        ("resource:stock/file:///b", "file:///b"),
        ("resource:stock/note://{id}", "note://7"),
        ("resource:stock/item://{id}", "item://7"),
    ]
    assert ambiguous.json["error"]["message"] == "Resource not found"


def said(body: Any) -> str:
    assert isinstance(body, Params)
    uri: str = json.loads(bytes(body.members["uri"]))
    return uri


async def test_at_one_servers_own_endpoint_its_uris_are_its_own() -> None:
    gateway = shop()
    async with opened(gateway) as door:
        caller = Caller(door, path="/mcp/stock")
        assert A in await listed(caller, "resources/list", "resources", "uri")
        await caller.ask("resources/read", {"uri": A})
    assert gateway.requests[0].capability == f"resource:stock/{A}"


async def test_what_a_server_answers_names_its_uris_as_they_are_listed() -> None:
    gateway = shop()
    raw = json.dumps(
        {
            "content": [
                {"type": "resource_link", "uri": A, "name": "a"},
                {"type": "resource", "resource": {"uri": "note://7", "text": A}},
                {"type": "resource_link", "uri": "file:///c", "name": "c"},
                {"type": "text", "text": A},
            ],
            "structuredContent": {"uri": A},
            "_meta": {"ui": {"resourceUri": "ui://panel"}},
            "future": {"uri": A},
            "resultType": "complete",
        }
    ).encode()
    gateway.runs["tool:orders/show"] = gateway.runs["tool:third/show"] = answering(raw)
    prompted = {"messages": [{"role": "user", "content": {"type": "resource", "resource": {"uri": A, "text": ""}}}]}
    gateway.runs["prompt:orders/greet"] = answering(json.dumps({**prompted, "resultType": "complete"}).encode())
    read = {"contents": [{"uri": A, "text": "x"}], "ttlMs": 0, "cacheScope": "private", "resultType": "complete"}
    gateway.runs[f"resource:orders/{A}"] = answering(json.dumps(read).encode())
    async with opened(gateway) as door:
        caller = Caller(door)
        called = (await caller.ask("tools/call", {"name": "orders__show"})).json["result"]
        untouched = (await caller.ask("tools/call", {"name": "third__show"})).json["result"]
        got = (await caller.ask("prompts/get", {"name": "orders__greet"})).json["result"]
        contents = (await caller.ask("resources/read", {"uri": f"orders+{A}"})).json["result"]["contents"]
        tools = {each["name"]: each for each in (await caller.ask("tools/list")).json["result"]["tools"]}
    expected = json.loads(raw)
    assert untouched == expected
    expected["content"][0]["uri"] = f"orders+{A}"
    expected["content"][1]["resource"]["uri"] = "orders+note://7"
    expected["_meta"]["ui"]["resourceUri"] = "orders+ui://panel"
    assert called == expected
    assert got["messages"][0]["content"]["resource"]["uri"] == f"orders+{A}"
    assert contents == [{"uri": f"orders+{A}", "text": "x"}]
    assert tools["orders__show"]["_meta"] == {
        "ui": {"resourceUri": "orders+ui://panel", "kept": 1},
        "ui/resourceUri": "orders+ui://panel",
    }
    assert tools["third__show"]["_meta"]["ui"]["resourceUri"] == "ui://panel"


async def test_a_completion_of_a_marked_template_asks_its_server_by_the_template_it_knows() -> None:
    gateway = shop()
    async with opened(gateway) as door:
        reference: JsonObject = {"type": "ref/resource", "uri": "stock+note://{id}"}
        await Caller(door).ask("completion/complete", {"ref": reference, "argument": {"name": "id", "value": "7"}})
    (request,) = gateway.requests
    assert request.capability == "resource:stock/note://{id}"
    assert isinstance(request.body, Params)
    assert json.loads(bytes(request.body.members["ref"])) == {"type": "ref/resource", "uri": "note://{id}"}


async def test_a_completion_asks_for_what_was_judged_where_a_client_says_something_twice() -> None:
    gateway = shop()
    twice = (
        b'{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/resource",'
        b'"uri":"note://secret","uri":"stock+note://{id}"},"argument":{"name":"x","name":"id","value":"7"},"_meta":'
    )
    async with opened(gateway) as door:
        caller = Caller(door)
        meta = json.dumps(json_object(modern_body("x", {})["params"])["_meta"]).encode()
        body = twice + meta + b"}}"
        await caller.send(caller.visit(body, mcp_protocol_version=MODERN, mcp_method="completion/complete"))
    (request,) = gateway.requests
    assert isinstance(request.body, Params)
    members = {name: bytes(request.body.members[name]) for name in ("ref", "argument")}
    assert b"secret" not in members["ref"] and json.loads(members["ref"])["uri"] == "note://{id}"
    assert members["argument"] == b'{"name":"id","value":"7"}'


async def test_a_legacy_client_is_asked_with_links_as_they_are_said_here() -> None:
    gateway = shop()
    link: JsonObject = {"type": "resource_link", "uri": A, "name": "a"}
    used: JsonObject = {"type": "tool_result", "toolUseId": "t", "content": [link]}
    messages: Json = [{"role": "user", "content": [used, link]}]
    sampling: JsonObject = {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": 1}}
    gateway.runs["tool:orders/show"] = asking({"s": sampling})
    async with opened(gateway) as door, together() as group:
        caller = Caller(door)
        await caller.initialize(capabilities={"sampling": {"tools": {}}})
        visit = caller.legacy("tools/call", {"name": "orders__show"}, request_id="call")
        group.start_soon(caller.send, visit)
        (question,) = await asked(visit)
        await reply(caller, question, result={"role": "assistant"})
        await visit.until(b'"call"')
    (said_here,) = json.loads(json.dumps(question))["params"]["messages"]
    assert [each["uri"] for each in (said_here["content"][0]["content"][0], said_here["content"][1])] == [
        f"orders+{A}",
        f"orders+{A}",
    ]


def test_a_mark_is_a_scheme_and_says_whose_whatever_the_slug() -> None:
    offered = [resource(A, "1a"), resource(A, "s1a"), resource(A, "a")]
    uris = Uris(offered, ())
    exposed = [uris.exposed(each) for each in offered]
    assert exposed == [f"s.1a+{A}", f"s1a+{A}", f"a+{A}"]
    assert [uris.unmarked(each) for each in exposed] == [("1a", A), ("s1a", A), ("a", A)]
    assert uris.unmarked(A) == ("", A)
    assert uris.outward("other") is None
    assert mark("-x") == "s.-x+"


def test_a_result_that_names_nothing_ambiguous_keeps_its_bytes() -> None:
    outward = Uris([resource(A, "a"), resource(A, "b")], ()).outward("a")
    assert outward is not None
    raw = b'{ "content": [ {"type":"resource_link","uri":"file:///z"}, 7 ], "contents": [null], "messages": [{}] }'
    assert rewritten_result(raw, outward) is raw


def test_the_end_of_a_task_and_questions_for_a_model_name_uris_as_they_are_said_here() -> None:
    outward = Uris([resource(A, "a"), resource(A, "b")], ()).outward("a")
    assert outward is not None
    link: JsonObject = {"type": "resource_link", "uri": A, "name": "x"}
    said: JsonObject = {**link, "uri": f"a+{A}"}
    form: JsonObject = {"method": "elicitation/create", "params": {"message": A}}

    def results(link: JsonObject) -> list[JsonObject]:
        used: JsonObject = {"type": "tool_result", "toolUseId": "t", "content": [link]}
        messages: list[Json] = [{"role": "user", "content": [link, used]}, {"role": "user", "content": link}]
        sampling: JsonObject = {"method": "sampling/createMessage", "params": {"messages": messages}}
        return [
            {"taskId": "t", "status": "completed", "result": {"content": [link]}},
            {"resultType": "input_required", "inputRequests": {"s": sampling, "e": form, "x": None}},
        ]

    for before, after in zip(results(link), results(said), strict=True):
        assert json.loads(rewritten_result(json.dumps(before).encode(), outward)) == after
    other = json.dumps({"result": {"content": [link]}}).encode()
    assert rewritten_result(other, outward) is other, "of what is no task nobody knows what it means"


async def test_what_one_servers_template_could_have_made_is_read_from_whoever_offers_it() -> None:
    gateway = ShopGateway(
        *(template("note://{a}", "evil"), template("note://{id}", "good"), template("good://{id}/only", "good")),
        *(resource("note://7", "desk"), resource("plain://7", "desk")),
    )
    async with opened(gateway) as door:
        caller = Caller(door)
        uris = await listed(caller, "resources/list", "resources", "uri")
        templates = await listed(caller, "resources/templates/list", "resourceTemplates", "uriTemplate")
        bare = await caller.ask("resources/read", {"uri": "note://7"})
        for uri in ("good+note://7", "evil+note://7", "desk+note://7", "good://1/only"):
            await caller.ask("resources/read", {"uri": uri})
    assert uris == ["desk+note://7", "plain://7"]
    assert templates == ["evil+note://{a}", "good+note://{id}", "good://{id}/only"]
    assert bare.json["error"]["message"] == "Resource not found"
    assert [(each.capability, said(each.body)) for each in gateway.requests[1:]] == [
        ("resource:good/note://{id}", "note://7"),
        ("resource:evil/note://{a}", "note://7"),
        ("resource:desk/note://7", "note://7"),
        ("resource:good/good://{id}/only", "good://1/only"),
    ]


PANEL: JsonObject = {"ui": {"resourceUri": "ui://panel"}}


@pytest.mark.parametrize("path", ["/mcp", "/mcp/sets/desk"])
async def test_what_a_tool_shows_itself_with_can_be_read_although_it_is_not_listed(path: str) -> None:
    gateway = ShopGateway(tool("show", "orders", _meta=PANEL), resource("ui://panel", "orders"))
    # A server need not list it; a set did not choose it.
    gateway.hidden["ana"] = frozenset({"resource:orders/ui://panel"})
    desk = Offers(sets={"desk": SetSettings.model_validate({"tools": {"show": {"tool": "orders/show"}}})})
    async with opened(gateway, offers=desk) as door:
        caller = Caller(door, path=path)
        uris = await listed(caller, "resources/list", "resources", "uri")
        read = await caller.ask("resources/read", {"uri": "ui://panel"})
        other = await caller.ask("resources/read", {"uri": "orders/ui://panel"})
    assert uris == []
    assert "result" in read.json
    assert gateway.requests[0].capability == "resource:orders/ui://panel"
    assert other.json["error"]["message"] == "Resource not found"
    assert gateway.requests[1].capability != "resource:orders/ui://panel"


async def test_of_two_that_show_themselves_with_the_same_each_has_its_own() -> None:
    gateway = ShopGateway(
        *(tool("show", owner, _meta=PANEL) for owner in ("orders", "stock")),
        *(resource("ui://panel", owner) for owner in ("orders", "stock")),
    )
    gateway.hidden["ana"] = frozenset({"resource:orders/ui://panel", "resource:stock/ui://panel"})
    search = Offers(sets={"all": SetSettings.model_validate({"include": ["*"], "search": True})})
    async with opened(gateway, offers=search) as door:
        tools = (await Caller(door).ask("tools/list")).json["result"]["tools"]
        arguments: JsonObject = {"name": "describe", "arguments": {"names": [each["name"] for each in tools]}}
        described = await Caller(door, path="/mcp/sets/all").ask("tools/call", arguments)
        await Caller(door).ask("resources/read", {"uri": "stock+ui://panel"})
    assert [each["_meta"]["ui"]["resourceUri"] for each in tools] == ["orders+ui://panel", "stock+ui://panel"]
    told = json.loads(described.json["result"]["content"][0]["text"])["tools"]
    assert [each["_meta"]["ui"]["resourceUri"] for each in told] == ["orders+ui://panel", "stock+ui://panel"]
    assert gateway.requests[0].capability == "resource:stock/ui://panel"


def test_of_more_than_can_be_compared_everything_counts_as_contested(monkeypatch: pytest.MonkeyPatch) -> None:
    own, aside = template("note://{b}", "stock"), resource("own://1", "stock")
    others = [template(f"note://{{a}}/{n}", "orders") for n in range(20)]
    assert Uris([aside], [own, *others]).exposed(aside) == "own://1"
    monkeypatch.setattr("adapters.mcp.contests.MOST_COMPARED", 10)
    uris = Uris([aside], [own, *others])
    assert [uris.exposed(each) for each in (aside, own, *others[:1])] == [
        "stock+own://1",
        "stock+note://{b}",
        "orders+note://{a}/0",
    ]
    alone = Uris([], others)
    assert alone.exposed(others[0]) == "note://{a}/0", "there is nobody to be taken for"
