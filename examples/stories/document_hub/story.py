"""Four documents come by post: an invoice, one that asks for too much, a contract, and a letter."""

import re
from pathlib import Path
from typing import Any

from examples.stories.kit import Answer, Ask, Asked, Effects, Failed, Functions, Story, costs

ORDERED = {"A-1": 219.80, "A-2": 40.00}
INVOICE = "Invoice no. 17 for order A-1. Amount due: 219.80"
TOO_MUCH = "Invoice no. 18 for order A-2. Amount due: 400.00"
CONTRACT = "This agreement is between ACME and BOLT, hereinafter the parties. Liability is unlimited. Term: 2 years."
LETTER = "Dear all, thank you for the lovely blender. Will there be a red one?"
RISKY = {"unlimited": 0.5, "exclusive": 0.3, "years": 0.1}


def ledger(effects: Effects) -> Functions:
    def compare(order: str, amount: float) -> dict[str, Any]:
        """Whether so much was agreed for an order."""
        price = ORDERED.get(order, 0.0)
        return {"order": order, "price": price, "agreed": amount <= price}

    def book(order: str, amount: float, idempotency_key: str) -> dict[str, Any]:
        """Book an invoice to be paid."""
        effects.once("book", idempotency_key, order=order, amount=amount)
        return {"booked": order}

    return {"compare": compare, "book": book}


def archive(effects: Effects) -> Functions:
    def file(title: str, risk: str | float, idempotency_key: str) -> dict[str, Any]:
        """Put a document where it is found again."""
        effects.once("file", idempotency_key, title=title, risk=risk)
        return {"filed": title}

    return {"file": file}


def reader(asked: Asked) -> Answer:
    """Reads what a document says in fields."""
    order = re.search(r"order (\S+)\.", asked.task)
    amount = re.search(r"due: ([\d.]+)", asked.task)
    if order and amount:
        return {"order": order[1], "amount": float(amount[1]), "drawbridge": {"summary": f"Invoice for {order[1]}."}}
    clauses = [part.strip() for part in asked.task.split(".") if part.strip()]
    if "agreement" in asked.task and len(clauses) > 1:
        parties = re.search(r"between (\w+) and (\w+)", clauses[0])
        title = f"{parties[1]}-{parties[2]}" if parties else "contract"
        return {"title": title, "clauses": clauses, "drawbridge": {"summary": f"{len(clauses)} clauses of {title}."}}
    raise Failed("the page is blank")


def lawyer(asked: Asked) -> Answer:
    """Scores how risky clauses are."""
    clauses = " ".join(asked.of("read")["clauses"])
    risk = round(sum(weight for word, weight in RISKY.items() if word in clauses), 2)
    return {"risk": risk, "drawbridge": {"summary": f"Risk {risk}."}}


def secretary(asked: Asked) -> Answer:
    """Drafts answers to questions."""
    if "?" not in asked.task:
        raise Failed("there is nothing to answer")
    return {"draft": "We will let you know.", "drawbridge": {"summary": "A draft is ready."}}


STORY = Story(
    folder=Path(__file__).parent,
    agents={
        "reader": costs(reader, tokens=500, cost_usd="0.005"),
        "lawyer": costs(lawyer, tokens=900, cost_usd="0.02"),
        "secretary": costs(secretary, tokens=200, cost_usd="0.002"),
    },
    servers={"ledger": ledger, "archive": archive},
    asks=tuple(Ask(workflow="post", message=text) for text in (INVOICE, TOO_MUCH, CONTRACT, LETTER)),
)
