"""What goes to a server: nothing changed but what has to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from adapters.mcp.client_params import outgoing, restore_token, swap_token
from adapters.mcp.wire import Era, Params, decode_value, encode
from gateway.core.content import Body, Content, Plain, plain, text_part
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject
from gateway.core.limits import Budget
from gateway.core.model import Capability, Operation, Request, principal
from tests.fakes_mcp_client import tool

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PROMPT = Capability(name="prompt:shop/greet", kind="prompt", owner="shop", local="greet")
TEMPLATE = Capability(name="resource:shop/a://{x}", kind="template", owner="shop", local="a://{x}")
RESOURCE = Capability(name="resource:shop/a://b", kind="resource", owner="shop", local="a://b")


def request(body: Body, operation: Operation = "call", **more: str) -> Request:
    return Request(
        id="1",
        principal=principal("ana"),
        capability="x",
        operation=operation,
        budget=Budget(deadline_s=1.0),
        body=body,
        **more,  # type: ignore[arg-type]
    )


def raw(value: JsonObject) -> dict[str, Raw]:
    return {key: Raw(encode(each)) for key, each in value.items()}


def sent(
    body: Body, era: Era, capability: Capability | None = None, operation: Operation = "call", **more: str
) -> Json:
    state = "inner" if "continuation" in more else None
    out = outgoing(request(body, operation, **more), capability or tool(), era, state)
    return decode_value(encode(out.members))


@given(members=st.dictionaries(st.text(min_size=1), JSON, max_size=4), era=st.sampled_from(["modern", "legacy"]))
def test_between_equal_eras_only_the_name_changes(members: JsonObject, era: Era) -> None:
    members = {**members, "name": "shop__refund"}
    before = raw(members)
    body = Params(dict(before), era=era)
    out = outgoing(request(body), tool(), era)
    assert out.members == {**before, "name": Raw(b'"refund"')}
    assert body.members == before


@given(meta=st.dictionaries(st.text(), JSON, max_size=4))
def test_other_metadata_survives_every_change_of_era(meta: JsonObject) -> None:
    own = {key: value for key, value in meta.items() if not key.startswith("io.modelcontextprotocol/")}
    for theirs, ours in (("modern", "legacy"), ("legacy", "modern")):
        said = sent(Params(raw({"_meta": {**meta, "io.modelcontextprotocol/logLevel": "debug"}}), era=theirs), ours)  # type: ignore[arg-type]
        assert isinstance(said, dict)
        after = said.get("_meta", {})
        assert isinstance(after, dict)
        assert {key: each for key, each in after.items() if not key.startswith("io.modelcontextprotocol/")} == own
        assert "io.modelcontextprotocol/logLevel" not in after
        assert ("io.modelcontextprotocol/protocolVersion" in after) == (ours == "modern")


def test_what_only_the_modern_era_knows_never_reaches_a_legacy_server() -> None:
    body = Params(raw({"inputResponses": {}, "requestState": "x", "task": {"ttl": 1}}), era="modern")
    assert sent(body, "legacy") == {"name": "refund", "task": {"ttl": 1}}


def test_a_resumed_call_carries_the_servers_own_state() -> None:
    body = Params(raw({"requestState": "sealed", "inputResponses": {"q": {}}}), era="modern")
    said = sent(body, "modern", continuation="sealed")
    assert said == {"name": "refund", "requestState": "inner", "inputResponses": {"q": {}}}


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("meta", {"name": "refund", "arguments": {"a": 1}, "_meta": {"x": 1, "drawbridge/idempotency-key": "k"}}),
        ("argument:key", {"name": "refund", "arguments": {"a": 1, "key": "k"}, "_meta": {"x": 1}}),
        ("", {"name": "refund", "arguments": {"a": 1}, "_meta": {"x": 1}}),
    ],
)
def test_the_idempotency_key_goes_where_the_tool_looks_for_it(way: str, said: JsonObject) -> None:
    body = Params(raw({"arguments": {"a": 1}, "_meta": {"x": 1}}), era="legacy")
    assert sent(body, "legacy", tool(idempotency=way), idempotency_key="k") == said


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        (plain({"a": 1}), {"a": 1}),
        (plain("do it"), {"message": "do it"}),
        (Plain(Content(parts=(text_part("do it"),), structured={"a": 1})), {"a": 1}),
        (Plain(Content()), {}),
    ],
)
def test_a_body_of_no_protocol_becomes_arguments(body: Body, arguments: Json) -> None:
    assert sent(body, "legacy") == {"arguments": arguments, "name": "refund"}


def test_prompts_resources_and_templates_are_asked_for_by_their_own_names() -> None:
    assert sent(plain({"who": "Bo"}), "legacy", PROMPT, "get") == {"arguments": {"who": "Bo"}, "name": "greet"}
    assert sent(plain(None), "legacy", RESOURCE, "read") == {"uri": "a://b"}
    assert sent(Params(raw({"uri": "a://z"}), era="legacy"), "legacy", RESOURCE, "read") == {"uri": "a://b"}
    assert sent(Params(raw({"uri": "a://z"}), era="legacy"), "legacy", TEMPLATE, "read") == {"uri": "a://z"}
    reference: JsonObject = {"ref": {"type": "ref/prompt", "name": "shop__greet", "x": 1}, "argument": {"name": "who"}}
    assert sent(Params(raw(reference), era="legacy"), "legacy", PROMPT, "complete") == {
        "ref": {"type": "ref/prompt", "name": "greet", "x": 1},
        "argument": {"name": "who"},
    }


@pytest.mark.parametrize(
    ("body", "capability", "operation"),
    [
        (plain({}), tool(), "task.get"),
        (plain([1]), PROMPT, "get"),
        (plain({}), TEMPLATE, "read"),
        (Params(raw({"uri": 7}), era="legacy"), TEMPLATE, "read"),
        (Params({"ref": Raw(b"7")}, era="legacy"), PROMPT, "complete"),
        (Params({"_meta": Raw(b"[]")}, era="legacy"), tool(), "call"),
    ],
)
def test_what_fits_no_request_is_refused(body: Body, capability: Capability, operation: Operation) -> None:
    with pytest.raises(InvalidRequest):
        outgoing(request(body, operation), capability, "modern")


@pytest.mark.parametrize("token", ["mine", 7, 7.5, "", 'quo"ted\\'])
def test_a_callers_token_comes_back_as_it_was(token: Json) -> None:
    members = raw({"_meta": {"progressToken": token, "x": 1}})
    theirs = swap_token(members, 41)
    assert theirs is not None
    assert decode_value(bytes(members["_meta"])) == {"progressToken": 41, "x": 1}
    frame = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":41,"future":null}}'
    assert decode_value(restore_token(frame, theirs)) == {
        "jsonrpc": "2.0",
        "method": "notifications/progress",
        "params": {"progressToken": token, "future": None},
    }


@pytest.mark.parametrize("members", [{}, {"_meta": {}}, {"_meta": {"x": "progressToken"}}])
def test_without_a_token_there_is_nothing_to_swap(members: JsonObject) -> None:
    before = raw(members)
    assert swap_token(before, 41) is None
    assert before == raw(members)


def test_what_is_said_beside_the_arguments_is_told_apart_from_what_differs_from_call_to_call() -> None:
    meta: JsonObject = {
        "io.modelcontextprotocol/clientInfo": {"name": "x"},
        "progressToken": 7,
        "traceparent": "00-1",
        "locale": "de",
    }
    body = Params(raw({"name": "a", "arguments": {"a": 1}, "_meta": meta, "task": {"ttl": 1}}), era="modern")
    assert body.content().structured == {"a": 1}
    assert body.content().metadata == {"locale": "de", "params.task": {"ttl": 1}}
    twice = Params({"arguments": Raw(b"{}"), "_meta": Raw(b'{"locale": "de", "locale": "en"}')}, era="modern")
    with pytest.raises(InvalidRequest):
        twice.content()
