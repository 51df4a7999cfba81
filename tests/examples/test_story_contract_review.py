"""A contract passes four stages; killed in the third, the gateway goes on where it was."""

from collections.abc import Callable

import pytest

from examples.stories.contract_review.story import STORY
from examples.stories.kit import Told, World

STAGES = ["extractor", "classifier", "scorer", "summariser"]
RISKS = [{"clause": 1, "score": 3}, {"clause": 3, "score": 5}, {"clause": 5, "score": 4}]


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("contract_review")


@pytest.fixture(scope="module")
def told(world: World) -> Told:
    return world.ask(STORY.asks[0])


def test_the_stages_come_in_order_and_the_worst_is_told_first(world: World, told: Told) -> None:
    assert told.text == (
        "Look at clause 3: unlimited liability (5 of 5); clause 5: no way out without a cause (4 of 5); "
        "clause 1: renews by itself (3 of 5)."
    )
    assert told.answer == {"clauses": [3, 5, 1]}
    shown = world.explained(told.run)
    assert [each["target"] for each in shown["steps"]] == [f"agent:{name}" for name in STAGES]
    assert world.effects["register"].done("enter") == RISKS


def test_a_stage_is_handed_what_its_contract_names_and_not_the_contract_itself(world: World, told: Told) -> None:
    assert told.answer
    assert "Invoices are due" in world.asked["scorer"][0].said
    assert "Invoices are due" not in world.asked["summariser"][0].said
    assert world.asked["classifier"][0].task == ""


def test_killed_in_stage_3_it_gives_the_same_answer_asks_nobody_anew_and_enters_each_risk_once(
    world: World, told: Told
) -> None:
    """The fifth call is the second risk: the third agent is at work, and the first risk is in the register."""
    before = len(world.effects["register"].all)
    world.crash_at(5)
    again = world.ask(STORY.asks[0])
    assert again.run != told.run
    assert (again.text, again.answer, again.gaps) == (told.text, told.answer, [])
    assert world.effects["register"].done("enter")[before:] == RISKS
    for name in STAGES:
        sent = [each.message_id for each in world.asked[name] if each.message_id.startswith(again.run)]
        assert sent == [f"{again.run}/{STAGES.index(name) + 1}"], name
    assert [each["attempt"] for each in world.explained(again.run)["steps"]] == [1, 1, 1, 1]
