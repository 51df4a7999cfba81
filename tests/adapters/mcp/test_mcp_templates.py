"""Which template a URI may have been made from, and which two may make the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mcp.templates import MOST_GAPS, template_from


@pytest.mark.parametrize(
    ("text", "uri", "expected"),
    [
        ("db://{table}/{id}", "db://orders/7", True),
        ("db://{table}/{id}", "db://orders/7/8", False),
        ("db://{table}/{id}", "db:///7", False),
        ("test://t/{id}/data", "test://t/1/data", True),
        ("test://t/{id}/data", "test://t//data", False),
        ("file:///plain", "file:///plain", True),
        ("file:///plain", "file:///plain2", False),
        ("x://{a}-{b}", "x://1-2-3", True),
        ("x://{a}{b}", "x://12", True),
        ("x://{a}{b}", "x://1", False),
        ("x://{a,b}", "x://1,2", True),
        ("x://{a:3}", "x://abc", True),
        ("x://{a*}", "x://a,b", True),
        ("file://{+path}", "file:///a/b?c#d", True),
        ("file://{+path}/end", "file:///a/end/end", True),
        ("file://{+path}/end", "file:///a/bend", False),
        ("x://s{?q,page}", "x://s", True),
        ("x://s{?q,page}", "x://s?q=a/b&page=2", True),
        ("x://s{?q}", "x://s&q=1", False),
        ("x://s{?q}", "x://s?q=1#f", False),
        ("x://s?a=1{&q}", "x://s?a=1&q=2", True),
        ("x://s{/path*}", "x://s/a/b", True),
        ("x://s{/path*}", "x://sa", False),
        ("x://s{.ext}", "x://s.tar", True),
        ("x://s{;p}", "x://s;p=1", True),
        ("x://s{#part}", "x://s#a/b?c", True),
        ("x://{a}", "x://" + "-" * 50_000, True),
        ("x://{a}", "x://" + "-" * 70_000, False),
        ("x://{a", "x://{a", False),
        ("x://{!a}", "x://!a", False),
        ("x://" + "{a}" * (MOST_GAPS + 1), "x://" + "-" * 100, False),
    ],
)
def test_a_template_matches_what_it_could_have_made(text: str, uri: str, expected: bool) -> None:
    assert template_from(text).matches(uri) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("note://{a}", "note://{id}", True),
        ("note://{a}", "mail://{a}", False),
        ("git://{o}/tree", "git://{o}/blob", False),
        ("git://{o}/{r}", "git://{o}", False),
        ("git://a-{o}/{r}", "git://b-{o}/{r}", False),
        ("git://{o}/x/{r}", "git://{o}/y/{r}", False),
        ("git://{o}/x/{r}", "git://{o}/{m}/{r}", True),
        ("file://{+path}", "file:///docs/{name}", True),
        ("file://{+path}.md", "file:///docs/{name}.txt", False),
        ("x://s{?q}", "x://{page}", True),
        ("x://{a", "x://{a", False),
    ],
)
def test_two_templates_meet_where_they_could_make_the_same(one: str, other: str, expected: bool) -> None:
    assert template_from(one).meets(template_from(other)) is expected
    assert template_from(other).meets(template_from(one)) is expected


_TEXTS = st.lists(st.sampled_from(["a", "b", "/", "{x}", "{y}", "{+p}", "{/s}", "{?q}"]), max_size=5).map("".join)


@given(_TEXTS, _TEXTS, st.text("ab/?q=", max_size=8))
def test_whatever_two_have_both_made_they_meet_in(one: str, other: str, uri: str) -> None:
    mine, others = template_from(f"x://{one}"), template_from(f"x://{other}")
    if mine.matches(f"x://{uri}") and others.matches(f"x://{uri}"):
        assert mine.meets(others)
