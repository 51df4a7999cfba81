"""A decision weighed by a rubric where the stakes are high, taken alone where they are not."""

from collections.abc import Callable

import pytest

from examples.stories.kit import Told, World
from examples.stories.risk_decision.story import STORY

ALL = {"actuary", "underwriter", "auditor"}


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("risk_decision")


@pytest.fixture(scope="module")
def small(world: World) -> Told:
    return world.ask(STORY.asks[0])


@pytest.fixture(scope="module")
def large(world: World) -> Told:
    return world.ask(STORY.asks[1])


@pytest.fixture(scope="module")
def sealed(world: World) -> Told:
    return world.ask(STORY.asks[2])


def test_little_is_decided_by_one_alone(world: World, small: Told) -> None:
    assert small.why == {
        "consensus": False,
        "because": "none of these holds: $task.amount > 10000",
        "winner": "underwriter",
    }
    assert world.explained(small.run)["agents"] == ["agent:underwriter"]


def test_much_is_decided_by_three_whose_scores_are_told_by_criterion(world: World, large: Told) -> None:
    assert large.why["winner"] == "actuary"
    assert large.answer["verdict"] == "refuse"
    scores = large.why["scores"]
    assert scores.keys() == ALL
    assert scores["actuary"] == {"evidence": 1, "exposure": 1, "reasoning": 1, "total": 1}
    assert scores["underwriter"]["evidence"] == pytest.approx(2 / 3, abs=1e-5)
    assert scores["auditor"]["reasoning"] == 0
    assert (large.said["confidence"], large.gaps) == (1, [])
    [verdict] = [each for each in world.explained(large.run)["decisions"] if each["what"] == "verdict"]
    assert verdict["detail"]["scores"] == scores
    assert {*verdict["detail"]["order"].values()} == ALL


def test_nobody_sees_the_others_and_the_judge_sees_no_names(world: World, large: Told) -> None:
    asked = {
        name: next(each for each in asks if each.message_id.startswith(large.run)) for name, asks in world.asked.items()
    }
    assert all(not asked[name].results for name in ALL)
    assert not [name for name in ALL if name in asked["chair"].said]


def test_one_who_fails_is_named_and_lowers_the_confidence(sealed: Told, large: Told) -> None:
    assert [(each["step"], each["error"]) for each in sealed.gaps] == [("auditor", "failed")]
    assert sealed.notices == ["2 of 3 answered"]
    assert sealed.why["scores"].keys() == ALL - {"auditor"}
    assert sealed.said["confidence"] == pytest.approx(sealed.why["scores"]["actuary"]["total"] * 2 / 3, abs=1e-3)
    assert sealed.said["confidence"] < large.said["confidence"]
