"""Mirroring headers: that ours and the SDK's say the same of whatever comes."""

import string

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    NAME_BEARING_METHODS,
    InboundLadderRejection,
    classify_inbound_request,
    decode_header_value,
    encode_header_value,
    find_duplicated_routing_header,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    validate_mcp_param_headers,
    x_mcp_header_map,
)

from adapters.mcp.classify import check_routing
from adapters.mcp.headers import (
    NAMED_BY,
    TASK_METHODS,
    check_envelope,
    check_params,
    decode_header,
    encode_header,
    mirrors_of,
    param_headers,
)
from adapters.mcp.refusals import UNSUPPORTED_VERSION, RpcRefusal
from adapters.mcp.wire import CLIENT_CAPABILITIES_KEY, MODERN, VERSION_KEY
from gateway.core.json import Json, JsonObject

SENTINELS = ("=?base64?", "?=", "=?base64?c2hvcA==?=", "=?base64?c2hvcB==?=", "=?base64?/w==?=", "=?base64?=")
text = st.text(st.characters(codec="utf-8"), max_size=12)
said = st.one_of(
    text,
    st.sampled_from(SENTINELS),
    text.map(encode_header),
    st.text(string.ascii_letters + "+/=", max_size=9).map(lambda inner: f"=?base64?{inner}?="),
)
scalar: st.SearchStrategy[Json] = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.integers(), st.floats(), said, st.sampled_from(("42", "-0", "1.0"))
)


def any_of(*texts: str) -> st.SearchStrategy[str]:
    return st.sampled_from(texts)


name = any_of("region", "shop", "properties", "items")
annotations: st.SearchStrategy[JsonObject] = st.fixed_dictionaries(
    {},
    optional={
        "x-mcp-header": st.one_of(st.sampled_from(("Region", "region", "Shop", "a b", "", "X\r\n", "é")), scalar),
        "type": st.sampled_from(("string", "integer", "boolean", "number", "object", ["string"], None)),
        "default": st.just({"x-mcp-header": "Ignored", "type": "string"}),
    },
)
tokens = st.text(string.ascii_letters + "!#$%&'*+-.^_`|~" + string.digits, min_size=1, max_size=3)
usable: st.SearchStrategy[JsonObject] = st.fixed_dictionaries(
    {"x-mcp-header": tokens, "type": st.sampled_from(("string", "integer", "boolean"))}
)
keywords = st.sampled_from(
    ("properties", "items", "not", "anyOf", "prefixItems", "$defs", "patternProperties", "enum", "$ref")
)


def with_properties(inner: st.SearchStrategy[JsonObject]) -> st.SearchStrategy[JsonObject]:
    return st.dictionaries(name, inner, max_size=3).map(holding)


def holding(properties: dict[str, JsonObject]) -> JsonObject:
    return {"properties": {**properties}}


def merged(own: JsonObject, properties: JsonObject, others: JsonObject) -> JsonObject:
    return {**own, **properties, **others}


def around(inner: st.SearchStrategy[JsonObject]) -> st.SearchStrategy[JsonObject]:
    """Schemas that hold others, in each of the ways there are, some of them wrongly."""
    held = st.one_of(inner, st.lists(inner, max_size=2), st.dictionaries(name, inner, max_size=2), scalar)
    others = st.dictionaries(keywords, held, max_size=1)
    return st.one_of(with_properties(inner), st.builds(merged, annotations, with_properties(inner), others))


schemas = st.recursive(st.one_of(annotations, usable), around, max_leaves=6)
sound_schemas = st.recursive(usable, with_properties)
values: st.SearchStrategy[Json] = st.recursive(scalar, lambda inner: st.dictionaries(name, inner, max_size=3))
arguments: st.SearchStrategy[JsonObject] = st.dictionaries(name, values)


def code_of(schema: JsonObject, given_arguments: JsonObject, headers: dict[str, str]) -> int | None:
    try:
        check_params(mirrors_of(schema), given_arguments, headers)
    except RpcRefusal as refusal:
        assert refusal.http("modern") == 400
        return refusal.code
    return None


@given(said)
@example(" padded ")
@example("=?base64?literal?=")
@example("=?base64?=")
@example("tab\tinside")
@example("\x7f")
def test_a_value_is_encoded_as_the_sdk_does_and_comes_back(value: str) -> None:
    encoded = encode_header(value)

    assert encoded == encode_header_value(value)
    assert decode_header(encoded) == value


@given(said)
@example("=?base64?=")
@example("=?base64??=")
@example("=?base64?c2hvcB==?=")
def test_a_header_is_read_as_the_sdk_does(value: str) -> None:
    assume("\n" not in value)  # no header holds one
    try:
        expected = decode_header_value(value)
    except ValueError:
        expected = None  # the SDK falls over what is not ASCII between sentinels

    assert decode_header(value) == expected


def test_what_is_not_ascii_between_sentinels_names_nothing() -> None:
    assert decode_header("=?base64?é?=") is None


@settings(max_examples=300)
@given(st.one_of(schemas, sound_schemas))
def test_the_sdk_finds_the_same_arguments_mirrored(schema: JsonObject) -> None:
    sound = find_invalid_x_mcp_header(schema) is None
    expected = {path: f"Mcp-Param-{token}" for path, token in x_mcp_header_map(schema).items()} if sound else {}

    assert {each.path: each.header for each in mirrors_of(schema)} == expected


@settings(max_examples=300)
@given(sound_schemas, arguments)
def test_a_call_mirrors_what_the_sdk_would(schema: JsonObject, given_arguments: JsonObject) -> None:
    assume(find_invalid_x_mcp_header(schema) is None)
    headers = param_headers(mirrors_of(schema), given_arguments)

    assert headers == mcp_param_headers(x_mcp_header_map(schema), given_arguments)
    assert code_of(schema, given_arguments, {key.lower(): value for key, value in headers.items()}) is None


@settings(max_examples=300)
@given(st.one_of(schemas, sound_schemas), arguments, st.data())
def test_mirrored_arguments_are_judged_as_the_sdk_does(
    schema: JsonObject, given_arguments: JsonObject, data: st.DataObject
) -> None:
    right = {key.lower(): value for key, value in mcp_param_headers(x_mcp_header_map(schema), given_arguments).items()}
    wrong = data.draw(st.dictionaries(st.sampled_from([*right, "mcp-param-region", "mcp-param-shop"]), said))
    headers = data.draw(st.sampled_from([right, {**right, **wrong}, wrong]))
    assume(all("\n" not in value for value in headers.values()))
    try:
        rejection = validate_mcp_param_headers(schema, given_arguments, headers)
    except ValueError:
        assume(False)
        return

    assert code_of(schema, given_arguments, headers) == (rejection.code if rejection else None)


@pytest.mark.parametrize(
    "header",
    ["42", "42.0", "042", "-0", "4.2e1", "42.", "42.5", "٤٢", pytest.param("9" * 5000, id="9..."), "true", "1"],
)
@pytest.mark.parametrize(
    "value",
    [42, 42.0, 0, -0.0, 1, True, 42.5, "42", 1e300, float("inf"), float("nan"), pytest.param(10**5000, id="huge")],
)
@pytest.mark.parametrize("kind", ["integer", "string"])
def test_numbers_are_compared_as_the_sdk_does(header: str, value: Json, kind: str) -> None:
    schema: JsonObject = {"properties": {"n": {"type": kind, "x-mcp-header": "N"}}}
    rejection = validate_mcp_param_headers(schema, {"n": value}, {"mcp-param-n": header})

    assert code_of(schema, {"n": value}, {"mcp-param-n": header}) == (rejection.code if rejection else None)


def any_json(*values: Json) -> st.SearchStrategy[Json]:
    return st.sampled_from(values)


versions = any_json(MODERN, "2025-11-25", "2099-01-01", "", None, 5, True)
whole = st.fixed_dictionaries({VERSION_KEY: versions, CLIENT_CAPABILITIES_KEY: any_json({}, None)})
partial = st.dictionaries(any_of(VERSION_KEY, CLIENT_CAPABILITIES_KEY, "other"), versions)
methods = st.sampled_from((*NAMED_BY, "tools/list", ""))
names = st.one_of(st.sampled_from(("shop", "", "café")), scalar)


@settings(max_examples=500)
@given(methods, st.one_of(whole, partial), st.dictionaries(st.sampled_from(("name", "uri", "")), names), st.data())
def test_an_envelope_is_judged_as_the_sdk_does(
    method: str, meta: JsonObject, members: JsonObject, data: st.DataObject
) -> None:
    named = [str(value) for value in members.values()]
    headers: dict[str, str] = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "mcp-protocol-version": st.sampled_from((str(meta.get(VERSION_KEY)), MODERN, "None")),
                "mcp-method": st.one_of(st.just(method), methods),
                "mcp-name": st.sampled_from([*named, *map(encode_header, named), *SENTINELS]),
            },
        )
    )
    assume("\n" not in headers.get("mcp-name", ""))
    params: JsonObject = {**members, "_meta": meta}
    try:
        verdict = classify_inbound_request({"method": method, "params": params}, headers=headers)
    except ValueError:
        assume(False)
        return
    rejected = isinstance(verdict, InboundLadderRejection) and verdict.code != UNSUPPORTED_VERSION
    expected = verdict.code if isinstance(verdict, InboundLadderRejection) and rejected else None

    found = None
    try:
        check_envelope(method, params, headers)
    except RpcRefusal as refusal:
        found = refusal.code
        assert refusal.http("modern") == 400

    assert found == expected


@given(
    st.lists(st.sampled_from(("mcp-name", "mcp-method", "mcp-protocol-version", "mcp-param-a", "accept")), max_size=5)
)
def test_a_header_that_comes_twice_is_refused_where_the_sdk_refuses_it(names_given: list[str]) -> None:
    params = [each for each in names_given if each == "mcp-param-a"]
    twice = find_duplicated_routing_header((each, "") for each in names_given) is not None or len(params) > 1
    lines = [(each.encode(), b"") for each in names_given]

    if twice:
        with pytest.raises(RpcRefusal):
            check_routing(lines)
    else:
        check_routing(lines)


def test_each_error_has_the_http_status_the_sdk_gives_it() -> None:
    codes = [*range(-32800, -31999), -1, 0, 1]

    assert [RpcRefusal(code, "").http("modern") for code in codes] == [
        ERROR_CODE_HTTP_STATUS.get(code, 200) for code in codes
    ]


def test_the_methods_that_name_something_are_those_of_the_sdk() -> None:
    assert dict(NAMED_BY) == {**NAME_BEARING_METHODS, **dict.fromkeys(TASK_METHODS, "taskId")}
