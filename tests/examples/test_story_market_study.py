"""A study with a second round: what a critic found wanting is done again, what nobody knows is named."""

from collections.abc import Callable
from typing import Any

import pytest

from examples.stories.kit import Told, World
from examples.stories.market_study.story import SHARES, STORY

NOTE = "the shares add up to 55 %: who has the rest?"


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("market_study")


@pytest.fixture(scope="module")
def told(world: World) -> Told:
    return world.ask(STORY.asks[0])


@pytest.fixture(scope="module")
def shown(world: World, told: Told) -> dict[str, Any]:
    return world.explained(told.run)


def attempts(shown: dict[str, Any], step: str) -> list[dict[str, Any]]:
    return [each for each in shown["steps"] if each["step"].endswith(f"/{step}")]


def test_a_second_round_fills_the_gap_the_critic_found(world: World, told: Told, shown: dict[str, Any]) -> None:
    assert told.answer["shares"] == {"percent": SHARES}
    assert [each.note for each in world.asked["rivals"]] == ["", NOTE]
    assert [each["state"] for each in attempts(shown, "shares")] == ["ok", "ok"]
    verdicts = [each for each in shown["decisions"] if each["what"] == "verdict"]
    assert (verdicts[0]["chosen"], verdicts[0]["because"]) == ("retry", NOTE)


def test_what_built_on_it_is_worked_out_again(told: Told, shown: dict[str, Any]) -> None:
    assert [each["answered"]["leader"] for each in attempts(shown, "leader")] == ["Borealis", "Aurora"]
    assert told.answer["leader"] == {"leader": "Aurora", "million": 54}
    assert ("again", ["leader"]) in [(each["what"], each["chosen"]) for each in shown["decisions"]]
    # What was right the first time is not asked again.
    assert len(attempts(shown, "size")) == 1


def test_what_nobody_could_find_out_is_named_and_the_rest_stands(told: Told, shown: dict[str, Any]) -> None:
    assert not told.failed
    assert [(each["step"], each["target"]) for each in told.gaps] == [("prices", "agent:panel")]
    assert told.text == (
        "120 million a year. 3 companies. Aurora leads with 54 million. "
        "Not found out: prices, as the panel does not meet before March."
    )
    assert [each["state"] for each in attempts(shown, "prices")] == ["failed", "failed"]
    assert shown["failure"]["target"] == "agent:panel"


def test_the_critics_words_travel_with_their_label(shown: dict[str, Any]) -> None:
    first, second = attempts(shown, "shares")
    assert "agent:critic" not in first["labels"]["untrusted"]
    assert "agent:critic" in second["labels"]["untrusted"]
