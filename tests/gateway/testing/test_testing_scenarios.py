"""Patterns over values, references in replies, replies to calls."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.content import Content, data_part, text_part
from gateway.core.json import Json
from gateway.testing.scenarios.matching import OPERATORS, flaw, mismatch, values_at
from gateway.testing.scenarios.mocks import MockSettings
from gateway.testing.scenarios.replies import Script, answer_of, heard_from, resolved

VALUES: st.SearchStrategy[Json] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(value=VALUES)
def test_a_value_is_a_pattern_of_itself(value: Json) -> None:
    assert mismatch(value, value) == ""


@given(value=st.dictionaries(st.text("abc", min_size=1, max_size=3), VALUES, min_size=1, max_size=4))
def test_of_an_object_any_part_will_do_and_a_member_less_will_not(value: dict[str, Json]) -> None:
    name, *_ = value
    assert mismatch({name: value[name]}, value) == ""
    assert mismatch(dict(value), {key: each for key, each in value.items() if key != name})


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ({"$is": 1}, 1, True),
        ({"$not": {"a": 1}}, {"a": 2}, {"a": 1}),
        ({"a": {"$exists": False}}, {"b": 1}, {"a": None}),
        ({"$contains": "Due"}, "overdue", "paid"),
        ({"$contains": {"a": 1}}, [{"a": 2}, {"a": 1, "b": 1}], [{"a": 2}]),
        ({"$lacks": "due"}, "paid", "overdue"),
        ({"$regex": "^a.c$"}, "abc", "abcd"),
        ({"$oneOf": [1, {"a": 1}]}, {"a": 1, "b": 2}, 2),
        ({"$all": [{"$gt": 1}, {"$lt": 3}]}, 2, 3),
        ({"$each": {"a": {"$gt": 0}}}, [{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 0}]),
        ({"$gt": 1}, 2, 1),
        ({"$ge": 1}, "1.0", 0),
        ({"$lt": 1}, 0.5, 1),
        ({"$le": 1}, 1, True),
        ({"$between": [1, 2]}, 2, 3),
        ({"$length": {"$ge": 2}}, [1, 2], [1]),
        ({"$schema": {"type": "integer"}}, 1, "1"),
        ({"$gt": 1, "$lt": 3}, 2, 3),
        ([1, {"a": 1}], [1, {"a": 1, "b": 2}], [1]),
    ],
)
def test_what_a_value_may_be_asked_to_be(pattern: Json, fits: Json, fits_not: Json) -> None:
    assert mismatch(pattern, fits) == ""
    assert mismatch(pattern, fits_not) != ""


def test_an_operator_that_does_not_exist_fits_nothing_and_names_those_that_do() -> None:
    said = mismatch({"$greater": 1}, 2)
    assert [name for name in OPERATORS if name not in said] == []


@pytest.mark.parametrize(
    "pattern",
    [
        {"a": {"$not": {"$gtt": 1}}},
        [{"$regex": "("}],
        {"$gt": "many"},
        {"$between": [1]},
        {"$oneOf": [1, {"$le": None}]},
        {"a": {"$length": {"$atLeast": 1}}},
        {"$exists": "no"},
        {"$schema": "integer"},
        {"$oneOf": 1},
        {"$all": {"$gt": 1}},
    ],
)
def test_a_pattern_that_can_mean_nothing_is_found(pattern: Json) -> None:
    assert flaw(pattern)


@given(value=VALUES)
def test_plain_values_and_whatever_is_taken_as_it_is_have_no_flaw(value: Json) -> None:
    assert flaw(value) == ""
    assert flaw({"$is": {"$gtt": value}}) == ""


def test_values_are_found_by_path() -> None:
    value: Json = {"lines": [{"n": 1}, {"n": 2}], "a.b": 3}
    assert values_at(value, "$.lines[1].n") == [2]
    assert values_at(value, "lines[*].n") == [1, 2]
    assert values_at(value, "lines[7].n") == []
    with pytest.raises(ValueError, match="no path"):
        values_at(value, "lines[x]")


def test_references_keep_their_type_alone_and_become_text_within_one() -> None:
    known: dict[str, Json] = {"data": {"amount": 47.99, "lines": [{"n": 1}]}, "message": "hi"}
    assert resolved(["$data.amount", "$data.lines[0].n", "pay $data.amount now", "${message}!"], known) == [
        47.99,
        1,
        "pay 47.99 now",
        "hi!",
    ]
    assert resolved("costs $5, $other.x", known) == "costs $5, $other.x"
    assert resolved("$data.gone", known) is None


def reply(mock: dict[str, Any], *inputs: Json) -> list[Json]:
    """What a mock answers to these inputs, one after another."""
    script = Script(MockSettings.model_validate(mock))
    said: list[Json] = []
    for number, each in enumerate(inputs, start=1):
        content = Content(parts=(text_part("please"), data_part(each)), structured=each)
        heard = heard_from("agent:a", content, number)
        found = script.reply_to(heard)
        said.append(None if found is None else answer_of(found, heard.known, to_agent=True).structured)
    return said


def test_the_first_reply_that_fits_is_given_as_often_as_it_may_be() -> None:
    mock = {
        "replies": [
            {"when": {"data": {"n": 1}}, "value": {"is": "one"}, "times": 1},
            {"when": {"contains": "please", "nth": 3}, "value": {"is": "third"}},
            {"when": {"regex": "n.: 1"}, "value": {"is": "$data.n"}},
        ]
    }
    assert reply(mock, {"n": 1}, {"n": 1}, {"n": 1}, {"n": 2}) == [{"is": "one"}, {"is": 1}, {"is": "third"}, None]


def test_replies_in_turn_end_with_the_last() -> None:
    assert reply({"in_turn": [{"value": {"n": 1}}, {"value": {"n": 2}}]}, {}, {}, {}) == [{"n": 1}, {"n": 2}, {"n": 2}]


def test_what_an_agent_says_of_its_answer_stands_in_a_member_of_its_own() -> None:
    mock = {"value": {"n": 1}, "summary": "One.", "writes": {"k": "$data.v"}, "said": {"handoff": {"to": "b"}}}
    member = {"handoff": {"to": "b"}, "summary": "One.", "writes": {"k": 7}}
    assert reply(mock, {"v": 7}) == [{"n": 1, "drawbridge": member}]
