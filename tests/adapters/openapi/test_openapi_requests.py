"""From arguments to requests: styles, bodies, credentials; and values that would lead elsewhere."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.openapi.operations import ApiOperation
from adapters.openapi.requests import Credentials, credentials_for, request_for
from gateway.core.errors import InvalidRequest
from tests.adapters.openapi.documents import operation, parameter, read

LIST, OBJECT = ["a b", "c/d"], {"r": 1, "g": "x&y"}


def one(path: str, *parameters: dict[str, Any], method: str = "get", **more: Any) -> ApiOperation:
    (found,) = read({path: {method: operation(*parameters, **more)}}).found.values()
    return found


def target(where: str, value: Any, **style: Any) -> str:
    path = "/x/{p}" if where == "path" else "/x"
    request = request_for(one(path, parameter("p", where, **style)), {"p": value}, Credentials())
    return dict(request.headers).get("p" if where == "header" else "cookie", request.target)


@pytest.mark.parametrize(
    ("style", "explode", "value", "expected"),
    [
        ("simple", False, "a/b?c", "/x/a%2Fb%3Fc"),
        ("simple", False, LIST, "/x/a%20b,c%2Fd"),
        ("simple", False, OBJECT, "/x/r,1,g,x%26y"),
        ("simple", True, OBJECT, "/x/r=1,g=x%26y"),
        ("label", False, 5, "/x/.5"),
        ("label", False, LIST, "/x/.a%20b,c%2Fd"),
        ("label", True, LIST, "/x/.a%20b.c%2Fd"),
        ("label", True, OBJECT, "/x/.r=1.g=x%26y"),
        ("matrix", False, "v", "/x/;p=v"),
        ("matrix", False, LIST, "/x/;p=a%20b,c%2Fd"),
        ("matrix", True, LIST, "/x/;p=a%20b;p=c%2Fd"),
        ("matrix", False, OBJECT, "/x/;p=r,1,g,x%26y"),
        ("matrix", True, OBJECT, "/x/;r=1;g=x%26y"),
    ],
)
def test_values_go_into_a_path_by_its_style(style: str, explode: bool, value: Any, expected: str) -> None:
    assert target("path", value, style=style, explode=explode) == expected


@pytest.mark.parametrize(
    ("style", "explode", "value", "expected"),
    [
        ("form", True, True, "/x?p=true"),
        ("form", True, 1.5, "/x?p=1.5"),
        ("form", True, "a&b=c#d", "/x?p=a%26b%3Dc%23d"),
        ("form", True, LIST, "/x?p=a%20b&p=c%2Fd"),
        ("form", False, LIST, "/x?p=a%20b,c%2Fd"),
        ("form", True, OBJECT, "/x?r=1&g=x%26y"),
        ("form", False, OBJECT, "/x?p=r,1,g,x%26y"),
        ("spaceDelimited", False, LIST, "/x?p=a%20b%20c%2Fd"),
        ("pipeDelimited", False, LIST, "/x?p=a%20b%7Cc%2Fd"),
        ("deepObject", True, OBJECT, "/x?p%5Br%5D=1&p%5Bg%5D=x%26y"),
        ("form", True, [{"deep": 1}], "/x?p=%7B%22deep%22%3A1%7D"),
        ("form", True, [], "/x"),
        ("form", True, None, "/x"),
    ],
)
def test_values_go_into_a_query_by_its_style(style: str, explode: bool, value: Any, expected: str) -> None:
    assert target("query", value, style=style, explode=explode) == expected


def test_reserved_characters_are_let_through_where_the_document_says_so_but_no_others() -> None:
    assert target("query", "a/b?c d\r\n", allowReserved=True) == "/x?p=a/b?c%20d%0D%0A"


@pytest.mark.parametrize(
    ("explode", "value", "expected"),
    [(False, "v", "v"), (False, LIST, "a b,c/d"), (False, OBJECT, "r,1,g,x&y"), (True, OBJECT, "r=1,g=x&y")],
)
def test_values_go_into_a_header(explode: bool, value: Any, expected: str) -> None:
    assert target("header", value, explode=explode) == expected


def test_values_go_into_a_cookie_and_into_json() -> None:
    assert target("cookie", "a;b") == "p=a%3Bb"
    content: dict[str, Any] = {"content": {"application/json": {"schema": {}}}}
    assert target("query", {"a": [1]}, **content) == "/x?p=%7B%22a%22%3A%5B1%5D%7D"


@pytest.mark.parametrize("value", ["", ".", "..", None, []])
def test_a_value_that_a_path_would_swallow_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest):
        target("path", value)


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\0", "é", "x" * 9000])
def test_a_value_no_header_can_hold_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        target("header", value)


@given(st.text(), st.sampled_from(["simple", "label", "matrix"]), st.booleans())
def test_whatever_a_value_holds_it_is_one_segment_of_the_path(value: str, style: str, explode: bool) -> None:
    try:
        said = target("path", value, style=style, explode=explode)
    except InvalidRequest:
        return
    assert said.startswith("/x/") and said.isascii() and said.isprintable()
    assert not set(said[3:]) & set("/?# \\") and said[3:] not in (".", "..")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda b: st.lists(b) | st.dictionaries(st.text(), b),
        max_leaves=8,
    )
)
def test_no_value_breaks_out_of_the_query(value: Any) -> None:
    for style in ("form", "deepObject", "pipeDelimited"):
        said = target("query", value, style=style)
        assert said.isascii() and said.isprintable() and not set(said) & set(" #")


@pytest.mark.parametrize(
    ("arguments", "said"), [({}, "id must be given"), ({"id": "1", "other": 2}, "there is no argument other")]
)
def test_arguments_that_are_missing_or_unknown_are_named(arguments: Any, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        request_for(one("/a/{id}", parameter("id", "path")), arguments, Credentials())
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("media_type", "value", "expected"),
    [
        ("application/json", {"a": [1, None]}, b'{"a":[1,null]}'),
        ("application/vnd.crm+json", [1], b"[1]"),
        ("application/x-www-form-urlencoded", {"a": "x y", "b": [1, 2]}, b"a=x%20y&b=1&b=2"),
        ("text/plain", "hi é", "hi é".encode()),
        ("application/xml", "<a/>", b"<a/>"),
        ("application/octet-stream", "AAE=", b"\x00\x01"),
    ],
)
def test_a_body_is_sent_as_its_type_has_it(media_type: str, value: Any, expected: bytes) -> None:
    item = one("/a", method="post", requestBody={"content": {media_type: {"schema": {}}}, "required": True})
    request = request_for(item, {"body": value}, Credentials())
    assert (request.method, request.body) == (b"POST", expected)
    assert dict(request.headers)["content-type"] == media_type


def test_forms_in_parts_keep_their_fields_apart() -> None:
    item = one("/a", method="post", requestBody={"content": {"multipart/form-data": {}}})
    request = request_for(item, {"body": {'na"me\r\n': "v\r\n--x", "b": {"c": 1}}}, Credentials())
    kind = dict(request.headers)["content-type"]
    boundary = kind.partition("boundary=")[2].encode()
    first, second = request.body.removesuffix(b"--" + boundary + b"--\r\n").split(b"--" + boundary + b"\r\n")[1:]
    assert first == b'content-disposition: form-data; name="na%22me%0D%0A"\r\n\r\nv\r\n--x\r\n'
    assert second == b'content-disposition: form-data; name="b"\r\ncontent-type: application/json\r\n\r\n{"c":1}\r\n'


@pytest.mark.parametrize(
    ("media_type", "value"),
    [("application/x-www-form-urlencoded", "a"), ("text/plain", 7), ("image/png", "not base64!")],
)
def test_a_body_that_does_not_fit_its_type_is_refused(media_type: str, value: Any) -> None:
    item = one("/a", method="post", requestBody={"content": {media_type: {}}})
    with pytest.raises(InvalidRequest):
        request_for(item, {"body": value}, Credentials())


def test_json_is_preferred_among_the_types_of_a_body() -> None:
    item = one("/a", method="post", requestBody={"content": {"application/xml": {}, "application/json": {}}})
    assert item.body is not None
    assert item.body.media_type == "application/json"


def test_credentials_are_those_of_the_first_alternative_that_can_be_met() -> None:
    schemes: Any = {
        "key": {"type": "apiKey", "in": "query", "name": "k"},
        "head": {"type": "apiKey", "in": "header", "name": "X-Key"},
        "cook": {"type": "apiKey", "in": "cookie", "name": "sid"},
        "basic": {"type": "http", "scheme": "Basic"},
        "oauth": {"type": "oauth2"},
    }
    both = (("key", "head"),)
    assert credentials_for(schemes, both, {"key": "1", "head": "2"}) == Credentials(
        headers=(("X-Key", "2"),), query=(("k", "1"),)
    )
    assert credentials_for(schemes, (("key", "head"), ("cook",)), {"cook": "3"}) == Credentials(cookies=(("sid", "3"),))
    assert credentials_for(schemes, (("basic",),), {"basic": "u:p"}) == Credentials(
        headers=(("authorization", "Basic dTpw"),)
    )
    assert credentials_for(schemes, (("oauth",),), {"oauth": "t"}) == Credentials(
        headers=(("authorization", "Bearer t"),)
    )
    assert credentials_for(schemes, ((),), {}) == Credentials()
    assert credentials_for(schemes, (), {}) == Credentials()
    assert credentials_for(schemes, both, {"key": "1"}) is None


def test_credentials_go_along_and_cannot_be_overruled() -> None:
    item = one("/a", parameter("q"))
    request = request_for(item, {"q": "1"}, Credentials(query=(("k", "s&x"),), cookies=(("sid", "c"),)), "/v2/")
    assert request.target == "/v2/a?q=1&k=s%26x"
    assert dict(request.headers)["cookie"] == "sid=c"
