"""A judge compared with people, on a gold set."""

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject
from gateway.patterns.consensus.calibration import Weighed, calibrated, gold_from, tau_b
from gateway.patterns.consensus.rubric import Criterion

CRITERIA = [Criterion(name="sound", weight=2), Criterion(name="brief")]
ANSWERS: JsonObject = {"x": 1, "y": 2, "z": 3}
NUMBERS = st.lists(st.integers(0, 4).map(float), min_size=2, max_size=6)


def line(**said: Json) -> str:
    return json.dumps({"answers": ANSWERS, **said})


def weighed(text: str, order: str, **sound: float) -> Weighed:
    [gold] = gold_from([text])
    scores = {name: {"sound": sound[name], "brief": 0.5} for name in order}
    return Weighed(gold=gold, order=tuple(order), scores=scores)


def test_a_judge_that_agrees_with_people_is_right_and_leans_nowhere() -> None:
    text = line(id="one", ranking=["y", "x", "z"], scores={"y": {"sound": 1, "brief": 0.5}, "z": {"sound": 0}})
    seen = [weighed(text, order, x=0.5, y=1.0, z=0.0) for order in ("xyz", "zyx")]
    assert calibrated(seen, CRITERIA) == {
        "cases": 1,
        "accuracy": 1.0,
        "rankCorrelation": 1.0,
        "position": {"changed": 0.0, "firstWins": 0.0, "expected": 0.3333},
        "criteria": [
            {"criterion": "sound", "weight": 2, "scores": 4, "bias": 0.0, "error": 0.0},
            {"criterion": "brief", "weight": 1.0, "scores": 2, "bias": 0.0, "error": 0.0},
        ],
        "wrong": [],
    }


def test_a_judge_that_goes_by_the_place_of_an_answer_is_found_out() -> None:
    text = line(id="one", best="x", scores={"x": {"sound": 0.5}})
    seen = [weighed(text, "xyz", x=1.0, y=0.0, z=0.0), weighed(text, "zyx", x=0.8, y=0.0, z=1.0)]
    assert calibrated(seen, CRITERIA) == {
        "cases": 1,
        "accuracy": 0.5,
        "rankCorrelation": pytest.approx(0.5, abs=0.01),
        "position": {"changed": 1.0, "firstWins": 1.0, "expected": 0.3333},
        "criteria": [
            {"criterion": "sound", "weight": 2, "scores": 2, "bias": 0.4, "error": 0.4},
            {"criterion": "brief", "weight": 1.0, "scores": 0, "bias": None, "error": None},
        ],
        "wrong": [{"id": "one", "best": ["x"], "chosen": ["x", "z"]}],
    }


def test_a_bias_one_way_and_the_other_is_no_bias_and_still_an_error() -> None:
    text = line(best=["x", "y"], scores={"x": {"sound": 0.5}, "y": {"sound": 0.5}})
    found = calibrated([weighed(text, "xyz", x=0.8, y=0.2, z=0.0)], CRITERIA[:1])
    assert found["criteria"] == [{"criterion": "sound", "weight": 2, "scores": 2, "bias": 0.0, "error": 0.3}]


@settings(deadline=None)
@given(NUMBERS, st.randoms())
def test_the_rank_correlation_is_symmetric_and_whole_for_the_same_order(numbers: list[float], random: Random) -> None:
    other = [*numbers]
    random.shuffle(other)
    tau = tau_b(numbers, other)
    if len(set(numbers)) == 1:
        assert tau is None
        return
    assert tau is not None
    assert -1 - 1e-9 <= tau <= 1 + 1e-9
    assert tau_b(other, numbers) == pytest.approx(tau)
    assert tau_b(numbers, numbers) == pytest.approx(1)
    assert tau_b(numbers, [-each for each in numbers]) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no JSON"),
        ("[]", "at least two answers"),
        ('{"answers": {"x": 1}, "best": "x"}', "at least two answers"),
        (line(), "needs `best`"),
        (line(best="w"), "there is no answer w"),
        (line(best="x", ranking=["y", "x"]), "not the first of `ranking`"),
        (line(best="x", scores={"x": {"sound": 2}}), "sound is no number from 0 to 1"),
        (line(best="x", scores={"w": {"sound": 1}}), "there is no answer w"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(text: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        gold_from([line(best="x"), "", text])
    assert caught.value.message.startswith("line 3 ")
    assert reason in caught.value.message


def test_a_gold_set_without_lines_is_none() -> None:
    with pytest.raises(InvalidRequest):
        gold_from(["", " "])
