"""Two runs take from one balance: with a claim the second sees what the first left, and nothing is paid twice."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from examples.stories.kit import Ask, Told, World
from examples.stories.one_balance.story import BALANCE, asks


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("one_balance")


def written(world: World, account: str) -> list[Any]:
    """What was left on the account, each time."""
    return [each["balance"] for each in world.effects["bank"].done("put") if each["account"] == account]


def read(world: World, answers: Sequence[Told]) -> list[float]:
    """What each run was told is on the account, in the order of their reading."""
    steps = [each for told in answers for each in world.explained(told.run)["steps"] if each["number"] == 1]
    return sorted((each["answered"]["balance"] for each in steps), reverse=True)


def test_of_the_refund_and_the_order_exactly_one_is_paid(world: World) -> None:
    answers = world.ask_together(*asks("pay", "4711"))
    assert not any(told.failed for told in answers)
    left = written(world, "4711")
    assert left in ([52.01], [47.01])
    assert read(world, answers) == [BALANCE, left[0]]


def test_without_a_claim_both_are_paid_from_what_is_there_once(world: World) -> None:
    """What claims are there against; if this did not happen, the claim would have shown nothing."""
    answers = world.ask_together(*asks("pay-unclaimed", "4712"))
    assert not any(told.failed for told in answers)
    assert sorted(written(world, "4712")) == [47.01, 52.01]
    assert read(world, answers) == [BALANCE, BALANCE]


def test_of_five_who_want_thirty_three_are_paid(world: World) -> None:
    data = {"account": "4713", "amount": 30, "what": "order"}
    world.ask_together(*(Ask(workflow="pay", message=f"The {number}.", data=data) for number in range(5)))
    assert written(world, "4713") == [70.0, 40.0, 10.0]


def test_a_claim_outlives_the_gateway_and_is_given_back_at_the_end(world: World) -> None:
    world.crash_at(2)
    answers = world.ask_together(*asks("pay", "4714"))
    assert not any(told.failed for told in answers)
    left = written(world, "4714")
    assert left in ([52.01], [47.01])
    assert read(world, answers) == [BALANCE, left[0]]
    last = world.ask(Ask(workflow="pay", message="1.00", data={"account": "4714", "amount": 1, "what": "order"}))
    assert last.answer["balance"] == round(left[0] - 1, 2)
