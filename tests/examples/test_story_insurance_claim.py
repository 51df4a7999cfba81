"""A claim that an adjuster has to agree to, and whose diagnosis whoever pays never sees."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from examples.stories.insurance_claim.story import DIAGNOSIS, LETTER, STORY, question
from examples.stories.kit import Ask, Told, World

TRACES = [DIAGNOSIS, "migraine", "aura", "treated", "240", "diagnosis"]
"""Anything that would give it away."""


def values_in(said: Any) -> Iterator[str]:
    """Every name, text and number of a JSON value, each by itself."""
    if isinstance(said, dict):
        members = cast("dict[str, Any]", said)
        yield from members
        for value in members.values():
            yield from values_in(value)
    elif isinstance(said, list):
        for each in cast("list[Any]", said):
            yield from values_in(each)
    else:
        yield f"{said:g}" if isinstance(said, int | float) else str(said)


def traces_in(said: Any) -> list[str]:
    """Those of `TRACES` that stand there as words of their own: some id, digest or time has any three digits within."""
    values = [*values_in(said)]
    return [trace for trace in TRACES if any(re.search(rf"\b{trace}\b", value) for value in values)]


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("insurance_claim")


@pytest.fixture(scope="module")
def asked(world: World) -> dict[str, Any]:
    """What an adjuster is asked while the claim waits."""
    return {}


@pytest.fixture(scope="module")
def told(world: World, asked: dict[str, Any]) -> Told:
    """A claim that Ana, whose it is, tries to agree to, and that Olga agrees to."""
    waiting = world.begin(STORY.asks[0])
    asked |= question(world)
    asked["before"] = [*world.order]
    asked["own"] = world.drawbridge("approvals", "approve", asked["id"], who="ana")
    asked["others"] = world.drawbridge("approvals", "approve", asked["id"], "--comment", "fits the tariff", who="olga")
    return waiting.result()


def test_nothing_is_paid_before_somebody_with_the_role_agrees(world: World, told: Told, asked: dict[str, Any]) -> None:
    assert asked["before"] == ["intake", "medical"]
    assert (asked["own"].returncode, asked["others"].returncode) == (1, 0)
    assert told.answer == {"paid": 192.0}
    assert world.effects["bank"].done("pay")[0] == {"account": "DE-44", "amount": 192.0}
    answered = world.api(f"/approvals/{asked['id']}")["approval"]
    assert (answered["state"], answered["role"], answered["answeredBy"]) == ("approved", "adjuster", "olga")
    [approval] = [each for each in world.explained(told.run)["decisions"] if each["what"] == "approval"]
    assert (approval["chosen"], approval["detail"]) == (True, {"stage": "billing", "role": "adjuster"})


def test_whoever_pays_never_sees_the_diagnosis(world: World, told: Told) -> None:
    [billing] = [each for each in world.asked["billing"] if each.message_id.startswith(told.run)]
    assert {**billing.input} == {"claim": "C-17", "account": "DE-44", "amount": 192.0}
    assert traces_in(json.loads(billing.said)) == []
    # That it is there to be found, the one before shows.
    [medical] = [each for each in world.asked["medical"] if each.message_id.startswith(told.run)]
    assert traces_in(json.loads(medical.said)) == TRACES


def test_the_record_shows_what_each_was_given_and_what_follows_from_it(world: World, told: Told) -> None:
    [step] = [each for each in world.explained(told.run)["steps"] if each["target"] == "agent:billing"]
    kept = [each for each in world.audit(run=told.run) if each["step_id"] == step["step"]]
    assert {each["capability"] for each in kept if each.get("capability")} == {"agent:billing", "tool:bank/pay"}
    bodies = [world.api(f"/audit/{each['id']}") for each in kept]
    assert any("DE-44" in json.dumps(each) for each in bodies)
    assert traces_in([step, kept, bodies]) == []
    [paid] = [each for each in kept if each.get("capability") == "tool:bank/pay" and each["phase"] == "outcome"]
    assert paid["actors"] == ["ana", "workflow:claim", "agent:billing"]


def test_what_nobody_agrees_to_is_not_paid(world: World, told: Told) -> None:
    before = len(world.asked["billing"])
    waiting = world.begin(Ask(workflow="claim", message=LETTER.replace("C-17", "C-18")))
    assert world.drawbridge("approvals", "deny", question(world)["id"], who="olga").returncode == 0
    denied = waiting.result()
    assert denied.failed
    assert denied.said["error"] == "stage billing failed: it was not approved"
    assert len(world.asked["billing"]) == before
    assert len(world.effects["bank"].done("pay")) == 1
    assert not told.failed


def test_what_is_not_covered_asks_nobody(world: World, told: Told) -> None:
    before = world.api("/approvals")["approvals"]
    told = world.ask(Ask(workflow="claim", message=LETTER.replace(DIAGNOSIS, "boredom")))
    assert (told.failed, told.answer) == (False, {"covered": False, "amount": 0.0})
    assert world.api("/approvals")["approvals"] == before
