"""An invented policy and a phantom page: looked up, dropped, named, or the end of the run."""

from collections.abc import Callable

import pytest

from examples.stories.ground_truth.story import POLICIES, STORY
from examples.stories.kit import Told, World

UNKNOWN = "rules[].policy RET-365 cannot be resolved by handbook/policy"


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("ground_truth")


@pytest.fixture(scope="module")
def advice(world: World) -> Told:
    return world.ask(STORY.asks[0])


@pytest.fixture(scope="module")
def mended(world: World) -> Told:
    return world.ask(STORY.asks[1])


@pytest.fixture(scope="module")
def sworn(world: World) -> Told:
    return world.ask(STORY.asks[2])


def test_an_invented_policy_is_dropped_and_named(world: World, advice: Told) -> None:
    assert not advice.failed
    assert all(f"({name})" in advice.text for name in POLICIES)
    assert "RET-365" not in world.asked["clerk"][0].said
    assert "a year" not in advice.text
    assert ("research.rules[].policy", UNKNOWN) in [(each["step"], each["reason"]) for each in advice.gaps]


def test_a_page_that_is_not_there_is_named(advice: Told) -> None:
    [gap] = [each for each in advice.gaps if each["target"] == "tool:handbook/page"]
    assert gap["reason"] == "pages[] 412 cannot be resolved by handbook/page"
    assert f"Not confirmed: {UNKNOWN}; {gap['reason']}" in advice.text


def test_told_what_cannot_be_resolved_the_adviser_mends_its_answer(world: World, mended: Told) -> None:
    assert not mended.failed
    assert [each["policy"] for each in mended.answer["rules"]] == [*POLICIES]
    asked = [each for each in world.asked["adviser"] if each.message_id.startswith(mended.run)]
    assert len(asked) == 2
    assert UNKNOWN in asked[1].note
    shown = world.explained(mended.run)
    assert [(each["what"], each["chosen"]) for each in shown["decisions"]] == [
        ("unresolved", "fail"),
        ("retry", "research"),
    ]


def test_one_that_insists_fails_the_run_by_name(world: World, sworn: Told) -> None:
    assert sworn.failed
    assert f"stage research failed: {UNKNOWN}" in sworn.text
    assert sworn.answer == {}
    assert world.explained(sworn.run)["failure"]["reason"] == f"stage research failed: {UNKNOWN}"
