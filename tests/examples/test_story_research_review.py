"""A note that is improved for as long as that helps: the best round is the answer, not the last."""

from collections.abc import Callable

import pytest

from examples.stories.kit import Told, World
from examples.stories.research_review.story import NO_SOURCE, NOTES, ONE_SOURCE, STORY


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("research_review")


@pytest.fixture(scope="module")
def tides(world: World) -> Told:
    return world.ask(STORY.asks[0])


@pytest.fixture(scope="module")
def salt(world: World, tides: Told) -> Told:
    return world.ask(STORY.asks[1])


def scores(told: Told) -> list[float]:
    return [each["score"] for each in told.why["rounds"]]


def test_a_round_that_does_not_improve_it_ends_it_and_the_best_one_is_the_answer(world: World, tides: Told) -> None:
    assert scores(tides) == [0.3333, 0.6667, 0.4]
    assert tides.why["stopped"] == "no better than before"
    assert (tides.answer, tides.said["confidence"]) == ({"note": NOTES["tides"][NO_SOURCE]}, 0.6667)
    assert tides.text == NOTES["tides"][NO_SOURCE]
    assert tides.notices == [
        "Of 3 rounds the best is not good enough: it scored 0.6667, and 0.9 was wanted.",
    ]
    stopped = [each["chosen"] for each in world.explained(tides.run)["decisions"] if each["what"] == "stop"]
    assert stopped == ["no better than before"]


def test_what_is_good_enough_is_left_alone(world: World, salt: Told) -> None:
    assert scores(salt) == [0.3333, 1.0]
    assert salt.why["stopped"] == "good enough"
    assert salt.answer == {"note": NOTES["salt"][NO_SOURCE]}
    assert (salt.notices, salt.gaps) == ([], [])
    verdicts = [each["chosen"] for each in world.explained(salt.run)["decisions"] if each["what"] == "verdict"]
    assert verdicts == ["improve", "accept"]


def test_the_writer_is_given_its_draft_and_what_the_reviewer_found(world: World, tides: Told) -> None:
    first, second, third = world.asked["writer"][:3]
    assert first.data["drawbridge"]["results"] == {}
    assert second.data["drawbridge"]["results"]["draft"]["value"] == {"note": NOTES["tides"][""]}
    found = [each.data["drawbridge"]["results"]["critique"]["value"]["findings"] for each in (second, third)]
    assert found == [[NO_SOURCE], [ONE_SOURCE]]
    assert not tides.failed


def test_each_draft_is_researched_and_written_in_a_run_of_its_own(world: World, tides: Told) -> None:
    targets = [each["target"] for each in world.explained(tides.run)["steps"]]
    assert targets == ["workflow:draft", "agent:researcher", "agent:writer", "agent:reviewer"] * 3
    nested = {each["run"] for each in world.explained(tides.run)["steps"] if each["target"] == "workflow:draft"}
    assert len(nested) == 3


def test_the_reviewers_words_taint_what_is_written_with_them(world: World, tides: Told) -> None:
    written = [each for each in world.explained(tides.run)["steps"] if each["target"] == "agent:writer"]
    assert "agent:reviewer" not in written[0]["labels"]["untrusted"]
    assert "agent:reviewer" in written[1]["labels"]["untrusted"]
