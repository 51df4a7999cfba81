"""Circles are found: by the same input, by nearly the same words, by the same round trip."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.json import Json
from gateway.patterns.shared.loops import Repeat, Requests, digest, round_trip, similarity

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=6,
)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_the_order_of_keys_is_no_difference() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1}) != digest({"a": 1, "b": [2, 1]})


def test_a_number_that_canonical_json_cannot_express_has_a_digest_too() -> None:
    assert digest({"n": 2**60}) == digest({"n": 2**60}) != digest({"n": 2**60 + 1})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Please check the database for locks", "Check the databases for lock, please"),
        ({"instruction": "which service is slow?"}, {"instruction": "Which Service Is SLOW"}),
        ({"instruction": "refund order A-1008 now"}, {"instruction": "now refund the order A-1008"}),
    ],
)
def test_the_same_in_other_words_is_alike(one: Json, other: Json) -> None:
    assert similarity(one, other) >= 0.8


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("refund order 4711 for the customer", "refund order 4712 for the customer"),
        ("who holds the lock?", "restart the network card of the proxy"),
        ({"table": "orders"}, {"table": "customers"}),
        ("", {"a": []}),
    ],
)
def test_what_names_something_else_is_not_alike(one: Json, other: Json) -> None:
    assert similarity(one, other) < 0.8


@UNHURRIED
@given(one=JSON, other=JSON)
def test_similarity_is_symmetric_and_a_share(one: Json, other: Json) -> None:
    found = similarity(one, other)
    assert 0 <= found <= 1
    assert found == similarity(other, one)
    assert similarity(one, one) == 1


@UNHURRIED
@given(asked=st.lists(st.tuples(st.sampled_from("ab"), JSON), max_size=6), again=st.integers(0, 5))
def test_whatever_was_asked_of_somebody_is_found_again(asked: list[tuple[str, Json]], again: int) -> None:
    requests = Requests()
    for target, input in asked:
        requests.note(target, input)
    if again < len(asked):
        target, input = asked[again]
        found = requests.repeated(target, input)
        assert found is not None
        assert found.similarity == 1
        assert asked[found.number][0] == target
    assert requests.repeated("c", {"anything": True}) is None


def test_the_same_request_to_somebody_else_is_another() -> None:
    requests = Requests()
    assert requests.note("agent:a", {"x": "find the cause"}) == 0
    assert requests.note("agent:b", {"x": "find the reason"}) == 1
    assert requests.repeated("agent:b", {"x": "find the cause"}) is None
    assert requests.repeated("agent:a", {"x": "Find the cause!"}) == Repeat(number=0, similarity=1.0)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", ""),
        ("ab", ""),
        ("aba", ""),
        ("abab", "ab"),
        ("cabab", "ab"),
        ("ababc", ""),
        ("abcabc", "abc"),
        ("abca", ""),
        ("aaaa", ""),
    ],
)
def test_the_same_round_trip_twice_is_a_circle(path: str, found: str) -> None:
    assert "".join(round_trip(list(path))) == found
