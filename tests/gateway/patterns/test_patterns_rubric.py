"""A rubric: what its rules say of answers, how weights add up, and how answers come before a judge."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.contracts import violation
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject
from gateway.patterns.consensus.panel import agreement, judges_input, likeness, scores_said, scores_schema, unnamed
from gateway.patterns.consensus.rubric import Criterion, criteria_in, ranked, scored_by_rule, total

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9, width=16) | st.text("ab ", max_size=4)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)
RULES: list[JsonObject] = [
    {"rule": "fields", "fields": ["x", "y.z"]},
    {"rule": "schema", "schema": {"required": ["x"]}},
    {"rule": "near_median", "field": "x"},
    {"rule": "cites", "field": "x", "least": 2},
    {"rule": "length", "least": 2, "most": 4},
    {"rule": "range", "field": "x", "least": 0},
    {"rule": "one_of", "field": "x", "values": [1, "a"]},
]
ANSWERS = st.dictionaries(st.sampled_from("abcdef"), st.dictionaries(st.sampled_from("xyz"), VALUES), min_size=1)
SCORES = st.fixed_dictionaries({"one": st.floats(0, 1), "two": st.floats(0, 1), "three": st.floats(0, 1)})
WEIGHTS = st.lists(st.floats(0.1, 10), min_size=3, max_size=3)


def criterion(**said: Json) -> Criterion:
    return criteria_in({"it": {**said}})[0]


@settings(deadline=None)
@given(ANSWERS, st.sampled_from(RULES), st.data())
def test_a_rule_gives_0_to_1_and_does_not_look_at_names_or_order(
    answers: dict[str, Json], rule: JsonObject, data: st.DataObject
) -> None:
    scores = scored_by_rule(criterion(**rule), answers)
    assert all(0 <= score <= 1 for score in scores.values())
    names = data.draw(st.permutations(sorted(answers)))
    renamed = {f"other {name}": answers[name] for name in names}
    assert {
        name.removeprefix("other "): score for name, score in scored_by_rule(criterion(**rule), renamed).items()
    } == scores


@pytest.mark.parametrize(
    ("rule", "values", "scores"),
    [
        (
            {"rule": "fields", "fields": ["x", "y.z"]},
            [{"x": 1}, {"x": 0, "y": {"z": False}}, {"x": ""}, "t"],
            [0.5, 1, 0, 0],
        ),
        ({"rule": "schema", "schema": {"required": ["x"]}}, [{"x": 1}, {"y": 1}], [1, 0]),
        (
            {"rule": "near_median", "field": "x"},
            [{"x": 10}, {"x": 12}, {"x": 16}, {"x": "12"}],
            [1 - 1 / 3, 1, 1 / 3, 0],
        ),
        ({"rule": "near_median", "field": "x"}, [{"x": 0}, {"x": 0}, {"x": 1}], [1, 1, 0]),
        (
            {"rule": "cites", "least": 2},
            [{"evidence": ["p. 3", "p. 4"]}, {"evidence": ["p. 3", "p. 3", " "]}, {"evidence": "p. 3"}, {}],
            [1, 0.5, 0.5, 0],
        ),
        ({"rule": "length", "least": 4, "most": 8}, ["ab", "abcdef", {"x": ["abcdefgh"] * 2}, ""], [0.5, 1, 0.5, 0]),
        ({"rule": "range", "field": "x", "least": 1, "most": 2}, [{"x": 1}, {"x": 3}, {"x": True}], [1, 0, 0]),
        ({"rule": "one_of", "field": "x", "values": ["low", 1]}, [{"x": "low"}, {"x": 1.0}, {"x": True}], [1, 1, 0]),
    ],
    ids=["fields", "schema", "near", "near nothing", "cites", "length", "range", "one of"],
)
def test_each_rule_does_what_it_says(rule: JsonObject, values: list[Json], scores: list[float]) -> None:
    found = scored_by_rule(criterion(**rule), {str(n): value for n, value in enumerate(values)})
    assert [*found.values()] == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize(
    "said",
    [
        {"rule": "fields"},
        {"rule": "schema"},
        {"rule": "near_median"},
        {"rule": "range", "field": "x"},
        {"rule": "range", "least": 1},
        {"rule": "length"},
        {"rule": "one_of", "field": "x"},
        {"rule": "length", "least": 3, "most": 2},
    ],
    ids=str,
)
def test_a_rule_that_lacks_what_it_looks_for_is_refused(said: JsonObject) -> None:
    with pytest.raises(InvalidRequest):
        criteria_in({"it": said})


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), SCORES, min_size=1), WEIGHTS)
def test_more_on_any_criterion_never_costs_a_place(scores: dict[str, dict[str, float]], weights: list[float]) -> None:
    criteria = [
        Criterion(name=name, weight=weight) for name, weight in zip(("one", "two", "three"), weights, strict=True)
    ]
    order = sorted(scores)
    before = ranked(scores, criteria, order)
    assert sorted(before) == order
    last = before[-1]
    better = {**scores, last: {name: min(1.0, score + 0.1) for name, score in scores[last].items()}}
    assert ranked(better, criteria, order).index(last) <= before.index(last)
    assert 0 <= total(better[last], criteria) <= 1


def test_ties_are_broken_by_the_weightiest_criterion_and_then_by_the_settings() -> None:
    criteria = [Criterion(name="small"), Criterion(name="large", weight=2)]
    scores = {"a": {"small": 1.0, "large": 0.5}, "b": {"small": 0.0, "large": 1.0}, "c": {"small": 0.0, "large": 1.0}}
    assert ranked(scores, criteria, ["a", "c", "b"]) == ["c", "b", "a"]


@given(st.sets(st.text("abc-", min_size=1, max_size=5), min_size=1, max_size=26), st.text(max_size=8), st.data())
def test_letters_say_nothing_of_the_order_of_the_settings(names: set[str], seed: str, data: st.DataObject) -> None:
    one, other = data.draw(st.permutations(sorted(names))), data.draw(st.permutations(sorted(names)))
    assert unnamed(one, seed) == unnamed(other, seed)
    assert sorted(unnamed(one, seed).values()) == sorted(names)


def test_every_answer_comes_first_in_some_run() -> None:
    assert {unnamed(["a", "b", "c"], str(run))["A"] for run in range(50)} == {"a", "b", "c"}


def test_the_judge_is_told_the_form_of_its_answer() -> None:
    criteria = [Criterion(name="sound", about="Does it follow?")]
    given_to_it = judges_input({"A": 1, "B": 2}, criteria)
    assert given_to_it["output_schema"] == scores_schema(["A", "B"], criteria)
    good: Json = {"scores": {"A": {"sound": 0.5}, "B": {"sound": 1}}}
    assert violation(scores_schema(["A", "B"], criteria), good) == ""
    assert scores_said(good, {"A": "x", "B": "y"}, criteria) == {"x": {"sound": 0.5}, "y": {"sound": 1}}
    assert violation(scores_schema(["A", "B"], criteria), {"scores": {"A": {"sound": 0.5}}}) != ""


@settings(deadline=None)
@given(VALUES, VALUES)
def test_likeness_is_symmetric_and_whole_for_the_same(one: Json, other: Json) -> None:
    assert 0 <= likeness(one, other) <= 1
    assert likeness(one, other) == pytest.approx(likeness(other, one))
    assert likeness(one, one) == 1


def test_agreement_is_over_all_pairs() -> None:
    assert agreement([{"x": 1, "y": 2}]) == 1
    assert agreement([{"x": 1, "y": 2}, {"x": 1, "y": 3}, {"x": 1, "y": 2}]) == 0.667
