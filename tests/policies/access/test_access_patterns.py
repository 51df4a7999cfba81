"""Patterns: what they name, what they do not, and what is no pattern."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.access.patterns import exactly, glob_covers, glob_matches, parse_pattern, target_named


@pytest.mark.parametrize(
    ("pattern", "name", "tags", "matches"),
    [
        ("*", "tool:orders/refund", (), True),
        ("**", "agent:refunds", (), True),
        ("tool:*", "tool:orders/refund", (), True),
        ("tool:*", "prompt:orders/x", (), False),
        ("tool:orders/*", "tool:orders/a/b", (), True),
        ("tool:orders/**", "tool:orders/a/b", (), True),
        ("tool:*/refund", "tool:orders/refund", (), True),
        ("tool:*/refund", "tool:orders/x/refund", (), False),
        ("tool:o?ders/re*d", "tool:orders/refund", (), True),
        ("tool:orders/refund", "tool:orders/refunds", (), False),
        ("*:orders/*", "prompt:orders/x", (), True),
        ("method:orders/skills/*", "method:orders/skills/list", (), True),
        ("tool:orders/*", "method:orders/skills/list", (), False),
        ("agent:re*", "agent:refunds", (), True),
        ("agent:*", "workflow:help", (), False),
        ("workflow:help", "workflow:help", (), True),
        ("resource:docs/file:///a/*", "resource:docs/file:///a/b/c", (), True),
        ("resource:docs/*", "template:docs/file:///{p}", (), True),
        ("tag:read", "tool:orders/x", ("read",), True),
        ("tag:re*", "tool:orders/x", ("a", "read"), True),
        ("tag:read", "tool:read/read", (), False),
        ("tool:orders/[a]", "tool:orders/[a]", (), True),
        ("tool:orders/[a]", "tool:orders/a", (), False),
    ],
)
def test_what_a_pattern_names(pattern: str, name: str, tags: tuple[str, ...], matches: bool) -> None:
    assert parse_pattern(pattern).matches(target_named(name, tags)) is matches


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no pattern"),
        ("refunds", "agent:refunds"),
        ("orders/refund", "tool:orders/refund"),
        ("tool:", "tool:*"),
        ("tag:", "tag:*"),
        ("tol:orders/x", "'tol' is no kind"),
        ("tool:orders", "tool:orders/*"),
        ("*:orders", "*:orders/*"),
        ("tool:/x", "incomplete"),
        ("tool:orders/", "incomplete"),
        ("agent:refunds/x", "'agent:refunds'"),
        ("workflow:/x", "'workflow:*'"),
        ("tool:a/\n", "printable"),
        ("tool:a/" + "x" * 600, "512"),
    ],
)
def test_what_is_no_pattern_is_refused_with_what_would_be(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse_pattern(text)


def test_an_exact_name_is_no_glob() -> None:
    assert exactly("tool:o/a*").matches(target_named("tool:o/a*"))
    assert not exactly("tool:o/a*").matches(target_named("tool:o/ab"))
    assert exactly("agent:x").matches(target_named("agent:x"))


@pytest.mark.parametrize(
    ("wide", "narrow", "covers"),
    [
        ("*", "tool:orders/refund", True),
        ("tool:*", "tool:orders/*", True),
        ("tool:orders/*", "tool:orders/re?und*", True),
        ("tool:orders/re*", "tool:orders/*", False),
        ("tool:orders/?", "tool:orders/*", False),
        ("agent:*", "tool:*", False),
        ("tag:*", "tag:read", True),
        ("tag:read", "tool:orders/x", False),
        ("*", "tag:read", False),
        ("*:orders/*", "tool:orders/x", True),
        ("tool:orders/x", "*", False),
    ],
)
def test_which_patterns_cover_which(wide: str, narrow: str, covers: bool) -> None:
    assert parse_pattern(wide).covers(parse_pattern(narrow)) is covers


def test_exact_names_cover_only_themselves() -> None:
    assert exactly("tool:o/a*").covers(exactly("tool:o/a*"))
    assert not exactly("tool:o/a*").covers(parse_pattern("tool:o/a*"))
    assert not exactly("tool:o/a*").covers(exactly("tool:o/b"))


GLOBS = st.text(alphabet="ab*?", max_size=6)


@given(GLOBS, st.text(alphabet="ab", max_size=6))
def test_globs_match_as_the_same_expression_would(glob: str, text: str) -> None:
    as_expression = "".join({"*": ".*", "?": "."}.get(char, char) for char in glob)

    assert glob_matches(glob, text) is (re.fullmatch(as_expression, text) is not None)


@given(GLOBS, GLOBS, st.text(alphabet="ab", max_size=6))
def test_what_a_covered_glob_matches_the_covering_one_matches_too(wide: str, narrow: str, text: str) -> None:
    if glob_covers(wide, narrow) and glob_matches(narrow, text):
        assert glob_matches(wide, text)


def test_a_hostile_name_costs_no_more_than_its_length() -> None:
    assert not glob_matches("*a" * 100 + "b", "a" * 5000)
