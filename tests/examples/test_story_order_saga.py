"""An order whose third stage fails: what was done before is undone, last first and once, also after a crash."""

from collections.abc import Callable

import pytest

from examples.stories.kit import Ask, Told, World
from examples.stories.order_saga.story import ORDER, STORY


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("order_saga")


@pytest.fixture(scope="module")
def told(world: World) -> Told:
    return world.ask(STORY.asks[0])


def test_what_was_reserved_and_charged_is_undone_last_first(world: World, told: Told) -> None:
    assert told.failed
    assert "we do not deliver to Tristan da Cunha" in told.text
    assert [(each["target"], each["ok"]) for each in told.said["undone"]] == [
        ("tool:bank/refund", True),
        ("tool:warehouse/release", True),
    ]
    shown = world.explained(told.run)
    assert [each["target"] for each in shown["steps"]] == [
        "tool:warehouse/reserve",
        "tool:bank/charge",
        "agent:carrier",
        "tool:bank/refund",
        "tool:warehouse/release",
    ]
    assert shown["failure"]["target"] == "agent:carrier"
    assert shown["steps"][3]["received"] == {"charge": "4711/219.80"}


def test_every_effect_happened_once(world: World, told: Told) -> None:
    assert told.failed
    assert world.effects["warehouse"].names == ["reserve", "release"]
    assert world.effects["bank"].names == ["charge", "refund"]


def test_an_order_that_can_be_shipped_keeps_what_was_done(world: World, told: Told) -> None:
    shipped = world.ask(Ask(workflow="order", message="To Lagos", data={**ORDER, "address": "Lagos", "account": "1"}))
    assert told.failed
    assert not shipped.failed
    assert "undone" not in shipped.said
    assert world.effects["bank"].done("refund") == [{"charge": "4711/219.80"}]
    assert {"account": "1", "amount": ORDER["amount"]} in world.effects["bank"].done("charge")


def test_a_gateway_killed_while_it_undoes_undoes_everything_once(world: World, told: Told) -> None:
    """The fourth call is the refund."""
    before = {name: len(effects.all) for name, effects in world.effects.items()}
    world.crash_at(4)
    again = world.ask(Ask(workflow="order", message="Again", data={**ORDER, "account": "2"}))
    assert (again.text, again.said["undone"]) == (told.text, told.said["undone"])
    assert world.effects["warehouse"].names[before["warehouse"] :] == ["reserve", "release"]
    assert world.effects["bank"].names[before["bank"] :] == ["charge", "refund"]
