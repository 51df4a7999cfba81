"""Expressions of operators, matched against texts of strangers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.patterns.router.bounded_regex import bounded, found_in

BAD = [
    "(a+)+b",
    "(a|a)*b",
    "(a?){30}b",
    "((ab)*c)*",
    r"(.)\1",
    "(?=a)b",
    "(?<!a)b",
    "(?P<name>a)",
    ".*.*.*x",
    "a?" * 30 + "a" * 30,
    "(a|b)" * 30,
    "a{1,50}b{1,50}c{1,50}d{1,50}",
    "(unclosed",
    "a" * 301,
]
GOOD = [
    r"invoice\s+#?\d+",
    r"\bA-\d{4}\b",
    "refund|money back|charge.?back",
    "(abc){2}",
    "(?:order|case) [0-9]+",
    "[)(]+x",
]


@pytest.mark.parametrize("pattern", BAD)
def test_what_might_take_forever_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidRequest):
        bounded(pattern)


@pytest.mark.parametrize("pattern", GOOD)
def test_what_people_write_is_not(pattern: str) -> None:
    assert bounded(pattern)


def test_the_worst_that_is_let_through_ends() -> None:
    for pattern, text in ((r".*.*x", "a" * 4000), (r"\w+\s*!", "a" * 4000), (r"(?:a|b)[ab]*[ab]*c", "ab" * 2000)):
        assert [*found_in(bounded(pattern), text)] == []


def test_a_match_far_into_a_text_is_found_once() -> None:
    text = "word " * 200 + "invoice 77 " + "word " * 50
    assert [*found_in(bounded(r"invoice \d+"), text)] == [1000]


@given(st.text(alphabet="ab ", max_size=900))
def test_windows_find_what_the_whole_text_has(text: str) -> None:
    found = [*found_in(bounded("ab{1,3} a"), text)]
    assert bool(found) == bool(bounded("ab{1,3} a").search(text))
    assert found == sorted(set(found))


@given(st.text(max_size=40))
def test_any_pattern_is_either_refused_or_compiled(pattern: str) -> None:
    try:
        compiled = bounded(pattern)
    except InvalidRequest:
        return
    assert set(found_in(compiled, "some text")) <= set(range(10))
