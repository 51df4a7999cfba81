"""Five look at a company: one hangs, two disagree, and the answer comes in time and says both."""

from collections.abc import Callable
from typing import Any

import pytest

from examples.stories.due_diligence.story import STORY
from examples.stories.kit import Told, World

DEADLINE_US = 40_000_000


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("due_diligence")


@pytest.fixture(scope="module")
def told(world: World) -> Told:
    return world.ask(STORY.asks[0])


@pytest.fixture(scope="module")
def shown(world: World, told: Told) -> dict[str, Any]:
    return world.explained(told.run)


def test_who_never_comes_is_a_gap_and_the_answer_is_there_before_the_deadline(
    told: Told, shown: dict[str, Any]
) -> None:
    assert not told.failed
    assert [(each["step"], each["target"], each["error"]) for each in told.gaps] == [
        ("accounts", "agent:accounts", "deadline")
    ]
    assert "accounts: not done (still at work when time was up)" in told.text
    assert shown["run"]["tookUs"] < DEADLINE_US
    assert ("drop", "accounts") in [(each["what"], each["chosen"]) for each in shown["decisions"]]


def test_a_contradiction_is_reported_with_who_said_what_and_picked_by_nobody(told: Told, shown: dict[str, Any]) -> None:
    said = [{"value": 41.2, "by": ["filings"]}, {"value": 55, "by": ["press"]}]
    assert told.answer["conflicts"] == [{"field": "revenue_m", "said": said, "resolved": False}]
    assert told.answer["merged"]["revenue_m"] is None
    assert "Conflict on revenue_m (filings: 41.2; press: 55), left open" in told.text
    [merge] = [each for each in shown["decisions"] if each["what"] == "merge"]
    assert merge["detail"]["conflicts"][0]["by"] == [["filings"], ["press"]]


def test_what_nobody_contradicts_is_one_answer(told: Told) -> None:
    merged = told.answer["merged"]
    assert merged["suits"] == [{"id": "C-204", "about": "a patent on grippers", "state": "open"}]
    assert (merged["founded"], merged["owners"]) == (2011, ["Hale family", "North Fund"])
    assert merged["employees"] in (310, 312)


def test_all_five_were_under_way_at_the_same_time(world: World, shown: dict[str, Any]) -> None:
    assert {name: len(asked) for name, asked in world.asked.items()} == dict.fromkeys(STORY.agents, 1)
    steps = {each["target"].partition(":")[2]: each for each in shown["steps"]}
    assert steps.keys() == STORY.agents.keys()
    # Nobody had to wait for anybody's end, in particular not for the one who hangs.
    first_end = min(each["startedUs"] + each["tookUs"] for each in steps.values())
    assert max(each["startedUs"] for each in steps.values()) < first_end
    assert steps["accounts"]["tookUs"] > 3_000_000
