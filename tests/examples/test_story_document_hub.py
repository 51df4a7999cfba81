"""A router over nested pipelines: every document goes through its own, and through no other."""

from collections.abc import Callable
from typing import Any

import pytest

from examples.stories.document_hub.story import CONTRACT, INVOICE, LETTER, TOO_MUCH
from examples.stories.kit import Ask, Told, World


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("document_hub")


def taken_in(world: World, document: str) -> tuple[Told, dict[str, Any]]:
    """The answer, and the explanation of the run."""
    told = world.ask(Ask(workflow="post", message=document))
    return told, world.explained(told.run)


def path_of(shown: dict[str, Any]) -> list[tuple[int, str]]:
    """(depth, target) of every step."""
    return [(each["depth"], each["target"]) for each in shown["steps"]]


def test_an_invoice_is_read_compared_and_booked(world: World) -> None:
    told, shown = taken_in(world, INVOICE)
    assert path_of(shown) == [
        (0, "workflow:invoices"),
        (1, "agent:reader"),
        (1, "tool:ledger/compare"),
        (1, "tool:ledger/book"),
    ]
    assert told.gaps == []
    assert world.effects["ledger"].done("book") == [{"order": "A-1", "amount": 219.80}]
    assert shown["totals"]["costUsd"] == "0.005"


def test_an_invoice_for_more_than_was_agreed_is_not_booked(world: World) -> None:
    before = world.effects["ledger"].done("book")
    _, shown = taken_in(world, TOO_MUCH)
    assert path_of(shown)[-1] == (1, "tool:ledger/compare")
    assert world.effects["ledger"].done("book") == before


def test_a_contract_is_scored_and_filed_and_the_score_is_what_the_lawyer_says(world: World) -> None:
    _, shown = taken_in(world, CONTRACT)
    targets = [target for _, target in path_of(shown)]
    assert targets == ["workflow:contracts", "agent:reader", "agent:lawyer", "tool:archive/file"]
    assert shown["steps"][-1]["received"] == {"title": "ACME-BOLT", "risk": 0.6}
    # What was read was written by whoever sent the contract, and so is what follows from it.
    assert "agent:reader" in shown["steps"][-1]["labels"]["untrusted"]


def test_what_no_rule_knows_is_a_letter(world: World) -> None:
    told, shown = taken_in(world, LETTER)
    assert [target for _, target in path_of(shown)] == ["workflow:letters", "agent:secretary", "tool:archive/file"]
    assert shown["decisions"][0]["because"] == "no rule holds"
    assert told.gaps == []


def test_what_a_pipeline_lacks_is_named_at_the_door(world: World) -> None:
    told, _ = taken_in(world, "Thank you for everything.")
    assert [(gap["target"], gap["reason"]) for gap in told.gaps] == [
        ("agent:secretary", "there is nothing to answer"),
    ]
    assert told.answer == {"filed": "letter"}


def test_a_document_its_pipeline_cannot_read_is_filed_as_a_letter_and_the_answer_says_so(world: World) -> None:
    told, shown = taken_in(world, "Invoice no. 19")
    assert told.notices == ["letters answers, because invoices failed"]
    assert [target for depth, target in path_of(shown) if depth == 0][-1] == "workflow:letters"
    fallback = next(each for each in shown["decisions"] if each["what"] == "fallback")
    assert "the page is blank" in fallback["because"]


def test_the_mailroom_may_not_go_round_the_door(world: World) -> None:
    refused = world.ask(Ask(workflow="contracts", message=CONTRACT))
    assert refused.failed
    assert refused.run == ""


def test_a_gateway_killed_while_the_inner_pipeline_books_books_once(world: World) -> None:
    before = world.effects["ledger"].done("book")
    world.crash_at(3)
    told, shown = taken_in(world, "Invoice number 20 for order A-2. Amount due: 40.00")
    assert told.gaps == []
    assert shown["run"]["state"] == "completed"
    assert world.effects["ledger"].done("book") == [*before, {"order": "A-2", "amount": 40.00}]
