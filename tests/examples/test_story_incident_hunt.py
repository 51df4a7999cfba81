"""Peers that hand an incident on: who knows is found, a circle is cut, and at the hop limit the best answer stands."""

from collections.abc import Callable
from typing import Any

import pytest

from examples.stories.incident_hunt.story import STORY
from examples.stories.kit import Told, World


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("incident_hunt")


def decisions(world: World, told: Told, what: str) -> list[dict[str, Any]]:
    return [each for each in world.explained(told.run)["decisions"] if each["what"] == what]


def test_it_is_handed_on_until_somebody_knows_and_the_award_is_on_record(world: World) -> None:
    told = world.ask(STORY.asks[0])
    assert told.why["path"] == ["alerts", "database", "releases"]
    assert told.answer["remedy"] == "roll back 4.2"
    assert (told.gaps, told.said["confidence"]) == ([], 0.9)
    [award] = decisions(world, told, "award")
    assert award["chosen"] == "releases"
    assert [bid["agent"] for bid in award["detail"]["bids"]] == ["releases", "network"]
    assert award["detail"]["bids"][0]["worth"] == 0.9 - 0.25 - 0.25 * 5 / 20
    assert award["detail"]["silent"] == ["alerts"]


def test_who_bids_only_proposes_and_who_is_awarded_gets_the_request_as_it_was_handed_on(world: World) -> None:
    told = world.ask(STORY.asks[0])
    mine = [each for each in world.asked["releases"] if each.message_id.startswith(told.run)]
    assert [each.phase for each in mine] == ["propose", ""]
    assert mine[-1].input["change"] == "table orders, 14:03"
    assert mine[-1].results["2-database"]["value"]["found"].startswith("somebody changes the table")


def test_a_request_that_comes_back_as_it_was_is_not_taken_again(world: World) -> None:
    told = world.ask(STORY.asks[1])
    assert told.why["path"] == ["alerts", "network"]
    assert told.why["stopped"] == "loop"
    [loop] = decisions(world, told, "loop")
    assert (loop["chosen"], loop["because"]) == ("alerts", "alerts was asked the same before, as number 1")
    assert told.answer == {"found": "there is no entry for search, and never was"}
    assert [gap["target"] for gap in told.gaps] == ["alerts"]
    assert [step["target"] for step in world.explained(told.run)["steps"]] == ["agent:alerts", "agent:network"]


def test_at_the_hop_limit_the_answer_is_the_one_its_agent_was_surest_of(world: World) -> None:
    told = world.ask(STORY.asks[2])
    assert told.why["path"] == ["alerts", "network", "database", "releases"]
    assert told.why["stopped"] == "hops"
    assert told.answer == {"found": "edge-1 loses one packet in ten"}
    assert told.said["confidence"] == 0.7
    assert "the best answer so far" in told.text
    assert not told.failed
    [gap] = told.gaps
    assert (gap["target"], gap["reason"]) == ("alerts", "it was handed on 3 times, and may not again")
