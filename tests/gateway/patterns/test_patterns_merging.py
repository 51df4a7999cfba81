"""Many results made one: the same whatever their order, and nothing that was said is lost."""

import math
from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.json import Json
from gateway.patterns.concurrent.merging import MERGE_RULES, Conflict, Merged, MergeRule, Merging, Said, merged
from gateway.patterns.shared.sameness import same

SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5, width=16) | st.sampled_from("abc")
NAMES = st.sampled_from(["price", "terms", "list", "positions"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
ANSWERS = st.dictionaries(NAMES, VALUES, max_size=4) | VALUES
MANY = st.lists(ANSWERS, min_size=1, max_size=5)
RULES = st.sampled_from([rule for rule in MERGE_RULES if rule != "first"])
WAYS = Merging(
    owners={"price": "w0", "terms": "w1"},
    keys={"positions": "terms", "list": "price"},
    free=frozenset({"terms.list"}),
)


def said_by(*values: Json) -> list[Said]:
    return [Said(who=f"w{n}", value=value) for n, value in enumerate(values)]


def leaves(value: Json) -> set[str]:
    """Every scalar in it, as it is told apart from others."""
    if isinstance(value, list):
        return set(chain.from_iterable(leaves(each) for each in value))
    if isinstance(value, dict):
        return set(chain.from_iterable(leaves(each) for each in value.values()))
    return set() if value is None else {f"{type(value) is bool} {value}" if value != 0 else f"{value is False} 0"}


def kept_in(found: Merged) -> set[str]:
    return leaves(found.value) | leaves([value for each in found.conflicts for value, _ in each.said])


def numbers(found: set[str]) -> list[float]:
    return [float(each.partition(" ")[2]) for each in found if each.startswith("False ") and each[6:] not in "abc"]


@settings(deadline=None)
@given(st.data(), MANY, RULES, st.sampled_from([0.0, 0.2]))
def test_the_order_of_the_results_does_not_count(
    data: st.DataObject, values: list[Json], rule: MergeRule, tolerance: float
) -> None:
    said = said_by(*values)
    ways = replace(WAYS, rule=rule, tolerance=tolerance)
    assert merged(data.draw(st.permutations(said)), ways) == merged(said, ways)


@settings(deadline=None)
@given(MANY, RULES)
def test_no_value_is_lost(values: list[Json], rule: MergeRule) -> None:
    found = merged(said_by(*values), replace(WAYS, rule=rule))
    kept = kept_in(found)
    for value in values:
        lost = leaves(value) - kept
        assert {each for each in lost if float(each.partition(" ")[2]) not in numbers(kept)} == set()


@settings(deadline=None)
@given(MANY, RULES, st.floats(0.01, 0.5))
def test_a_number_within_the_tolerance_of_one_that_is_kept_is_not_lost(
    values: list[Json], rule: MergeRule, tolerance: float
) -> None:
    found = merged(said_by(*values), Merging(rule=rule, tolerance=tolerance))
    kept = kept_in(found)
    for number in numbers({leaf for value in values for leaf in leaves(value)}):
        near = [each for each in numbers(kept) if abs(each - number) <= tolerance * max(abs(each), abs(number)) + 1e-9]
        assert near


@settings(deadline=None)
@given(ANSWERS, st.integers(1, 4), st.sampled_from(["union", "vote", "mean", "owner"]))
def test_what_all_say_is_so(value: Json, how_many: int, rule: MergeRule) -> None:
    found = merged(said_by(*[value] * how_many), Merging(rule=rule))
    expected: Json = value if isinstance(value, dict) else None if value is None else {"answer": value}
    assert found.conflicts == ()
    assert same(found.value, expected)


@settings(deadline=None)
@given(MANY, RULES)
def test_a_conflict_names_at_least_two_values_and_everybody_once_for_each(values: list[Json], rule: MergeRule) -> None:
    for conflict in merged(said_by(*values), replace(WAYS, rule=rule)).conflicts:
        assert len(conflict.said) >= 2
        assert not any(same(one, other) for (one, _), (other, _) in zip(conflict.said, conflict.said[1:], strict=False))
        assert all(len(set(names)) == len(names) > 0 for _, names in conflict.said)


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6))
def test_the_mean_lies_between_the_numbers(values: list[float]) -> None:
    found = merged(
        [Said(who=f"w{n}", value={"x": value}) for n, value in enumerate(values)], Merging(rule="mean")
    ).value
    assert isinstance(found, dict)
    mean = found["x"]
    assert isinstance(mean, int | float)
    assert min(values) <= mean or math.isclose(mean, min(values))
    assert mean <= max(values) or math.isclose(mean, max(values))


PRICES = said_by({"price": 10, "note": "a"}, {"price": 10, "days": 3}, {"price": 12})
SPLIT = ((10, ("w0", "w1")), (12, ("w2",)))


@pytest.mark.parametrize(
    ("ways", "value", "conflicts"),
    [
        (Merging(rule="union"), {"price": None, "note": "a", "days": 3}, (Conflict(field="price", said=SPLIT),)),
        (
            Merging(rule="vote"),
            {"price": 10, "note": "a", "days": 3},
            (Conflict(field="price", said=SPLIT, resolved=True, chosen=10),),
        ),
        (
            Merging(rule="owner", owners={"price": "w2"}),
            {"price": 12, "note": "a", "days": 3},
            (Conflict(field="price", said=SPLIT, resolved=True, chosen=12),),
        ),
        (Merging(rule="union", tolerance=0.2), {"price": 10, "note": "a", "days": 3}, ()),
        (Merging(rule="union", tolerances={"price": 2}), {"price": 10, "note": "a", "days": 3}, ()),
        (
            Merging(rule="union", tolerance=0.2, tolerances={"price": 1}),
            {"price": None, "note": "a", "days": 3},
            (Conflict(field="price", said=SPLIT),),
        ),
        (
            Merging(rule="all"),
            {"w0": {"price": 10, "note": "a"}, "w1": {"price": 10, "days": 3}, "w2": {"price": 12}},
            (Conflict(field="price", said=SPLIT),),
        ),
        (Merging(rule="first"), {"price": 10, "note": "a"}, ()),
        (
            Merging(rule="union", free=frozenset({"price"})),
            {"price": {"w0": 10, "w1": 10, "w2": 12}, "note": "a", "days": 3},
            (),
        ),
    ],
    ids=["union", "vote", "owner", "close", "close there", "not close there", "all", "first", "free"],
)
def test_each_rule_does_what_it_says(ways: Merging, value: Json, conflicts: tuple[Conflict, ...]) -> None:
    assert merged(PRICES, ways) == Merged(value=value, conflicts=conflicts)


def test_a_mean_that_hides_a_spread_says_so() -> None:
    assert merged(PRICES[1:], Merging(rule="mean")) == Merged(
        value={"price": 11, "days": 3},
        conflicts=(Conflict(field="price", said=((10, ("w1",)), (12, ("w2",))), resolved=True, chosen=11),),
    )


def test_a_vote_without_a_majority_decides_nothing() -> None:
    [conflict] = merged(said_by("yes", "no"), Merging(rule="vote")).conflicts
    assert conflict.to_json() == {
        "field": "answer",
        "said": [{"value": "yes", "by": ["w0"]}, {"value": "no", "by": ["w1"]}],
        "resolved": False,
    }


def test_entries_of_lists_are_compared_by_their_key() -> None:
    found = merged(
        said_by(
            {"positions": [{"id": "a", "price": 1}, {"id": "b", "price": 2}]},
            {"positions": [{"id": "b", "price": 3, "days": 4}, {"id": "c", "price": 5}]},
        ),
        Merging(rule="union", keys={"positions": "id"}),
    )
    assert found.value == {
        "positions": [{"id": "a", "price": 1}, {"id": "b", "price": None, "days": 4}, {"id": "c", "price": 5}]
    }
    assert found.open == (Conflict(field="positions[b].price", said=((2, ("w0",)), (3, ("w1",)))),)


def test_an_owner_who_is_silent_leaves_the_word_to_the_others() -> None:
    said = said_by({"price": None}, {"price": 3, "terms": {"days": 1}}, {"terms": {"days": 2, "fine": 9}})
    found = merged(said, Merging(rule="owner", owners={"price": "w0", "terms": "w1"}))
    assert found.value == {"price": 3, "terms": {"days": 1, "fine": 9}}
    assert [each.field for each in found.conflicts] == ["terms.days"]


def test_lists_without_a_key_are_united() -> None:
    found = merged(said_by({"tags": ["a", "b"]}, {"tags": ["b", "c"]}), Merging(rule="union"))
    assert found == Merged(value={"tags": ["a", "b", "c"]})


def test_texts_side_by_side_are_no_conflict() -> None:
    assert merged(said_by("one", "two"), Merging()) == Merged(value={"w0": "one", "w1": "two"})


def test_true_is_not_one() -> None:
    assert len(merged(said_by({"x": True}, {"x": 1}), Merging(rule="union")).open) == 1


def test_an_entrys_key_with_brackets_is_no_part_of_the_path_that_settings_name() -> None:
    ways = Merging(rule="union", keys={"rows": "id"}, tolerances={"rows.price": 1.0})
    rows: list[Json] = [{"rows": [{"id": "x]y[z", "price": price}]} for price in (10, 11)]
    found = merged([Said(who="a", value=rows[0]), Said(who="b", value=rows[1])], ways)
    assert found.conflicts == ()
