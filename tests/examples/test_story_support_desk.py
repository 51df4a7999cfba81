"""A support desk: who gets which request, why, and who gets the rest of the conversation."""

from collections.abc import Callable
from typing import Any

import pytest

from examples.stories.kit import Ask, Told, World


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("support_desk")


def asked_by_a2a(world: World, message: str, conversation: str, **data: Any) -> Told:
    return world.ask_a2a(Ask(workflow="desk", message=message, conversation=conversation, data=data))


def route_of(world: World, told: Told) -> dict[str, Any]:
    decisions: list[dict[str, Any]] = world.explained(told.run)["decisions"]
    return next(each for each in decisions if each["what"] == "route")


def test_a_rule_decides_without_a_classifier(world: World) -> None:
    before = len(world.asked["triage"])
    told = world.ask(Ask(workflow="desk", message="I want my money back"))
    assert told.answer == {"refund": 20}
    assert route_of(world, told)["because"] == "keyword money back (rule 0)"
    assert route_of(world, told)["detail"]["by"] == "rules"
    assert len(world.asked["triage"]) == before
    assert world.explained(told.run)["totals"]["costUsd"] == "0.0015"


def test_what_the_request_is_worth_may_count_more_than_its_words(world: World) -> None:
    told = world.ask(Ask(workflow="desk", message="A refund", data={"amount": 1200}))
    assert told.said["steps"][-1]["target"] == "agent:billing"


def test_what_no_rule_decides_the_classifier_does_once(world: World) -> None:
    ask = Ask(workflow="desk", message="My screen is black")
    first, again = world.ask(ask), world.ask(ask)
    assert first.answer == again.answer == {"fix": "restart"}
    assert first.said["confidence"] == 0.9
    assert [route_of(world, each)["detail"]["by"] for each in (first, again)] == ["classifier", "cache"]
    assert sum("screen" in str(each.input) for each in world.asked["triage"]) == 1


def test_what_nobody_is_sure_about_goes_to_the_clerk(world: World) -> None:
    told = world.ask(Ask(workflow="desk", message="Nice weather"))
    assert told.answer == {"ticket": 17}
    assert "not sure of technician (0.20)" in route_of(world, told)["because"]


def test_who_cannot_do_it_has_a_stand_in_and_the_answer_says_so(world: World) -> None:
    told = world.ask(Ask(workflow="desk", message="The lamp flashes"))
    assert told.answer == {"fix": "replace the battery"}
    assert told.notices == ["A second technician answers; the first could not."]
    shown = world.explained(told.run)
    assert [each["target"] for each in shown["steps"]][-2:] == ["agent:technician", "agent:technician-b"]
    fallback = next(each for each in shown["decisions"] if each["what"] == "fallback")
    assert fallback["because"] == "the manual does not mention flashing"


def test_two_wishes_are_answered_by_two_workers(world: World) -> None:
    told = world.ask(Ask(workflow="desk", message="A refund for the kettle, and is invoice 4711 paid?"))
    assert set(told.answer) == {"refunds", "billing"}
    assert "kettle" not in world.asked["billing"][-1].input["instruction"]
    assert "4711" not in world.asked["refunds"][-1].input["instruction"]


def test_a_conversation_that_is_handed_on_stays_there_until_it_is_done(world: World) -> None:
    first = asked_by_a2a(world, "I want a refund, the invoice is wrong", "c-1")
    assert [each["target"] for each in first.said["steps"]] == ["agent:refunds", "agent:billing"]
    # The words are refunds' own, the conversation is billing's.
    second = asked_by_a2a(world, "And my refund?", "c-1")
    assert [each["target"] for each in second.said["steps"]] == ["agent:billing"]
    assert route_of(world, second)["detail"]["by"] == "conversation"
    other = asked_by_a2a(world, "And my refund?", "c-2")
    assert [each["target"] for each in other.said["steps"]] == ["agent:refunds"]
    asked_by_a2a(world, "Bye", "c-1")
    after = asked_by_a2a(world, "Another refund", "c-1")
    assert [each["target"] for each in after.said["steps"]] == ["agent:refunds"]
