"""100.00 on an account, a refund of 47.99 and an order of 52.99 at the same time: together they are 100.98."""

from pathlib import Path
from typing import Any

from examples.stories.kit import Answer, Ask, Asked, Effects, Functions, Story, together

BALANCE = 100.00


def bank(effects: Effects) -> Functions:
    """Keeps balances as it is told to: whoever writes one has worked it out himself."""

    def balance(account: str) -> dict[str, Any]:
        """What is on an account."""
        written = [each["balance"] for each in effects.done("put") if each["account"] == account]
        return {"account": account, "balance": written[-1] if written else BALANCE}

    def put(account: str, balance: float, what: str, idempotency_key: str) -> dict[str, Any]:
        """Write what is on an account from now on."""
        effects.once("put", idempotency_key, account=account, balance=balance, what=what)
        return {"account": account, "balance": balance, "what": what}

    return {"balance": balance, "put": put}


def cashier(asked: Asked) -> Answer:
    """Says whether there is enough, and what would be left."""
    balance, amount = _number(asked, "balance"), _number(asked, "amount")
    left = round(balance - amount, 2)
    summary = f"{amount:.2f} of {balance:.2f} leave {left:.2f}."
    return {"enough": left >= 0, "left": left, "drawbridge": {"summary": summary}}


def _number(asked: Asked, name: str) -> float:
    return float(asked.input[name])


def asks(workflow: str, account: str) -> tuple[Ask, Ask]:
    """The refund and the order."""
    refund = {"account": account, "amount": 47.99, "what": "refund"}
    order = {"account": account, "amount": 52.99, "what": "order"}
    return (
        Ask(workflow=workflow, message="Refund 47.99", data=refund, who="ana"),
        Ask(workflow=workflow, message="Order for 52.99", data=order, who="ben"),
    )


STORY = Story(
    folder=Path(__file__).parent,
    # The hasty one answers when both have read the balance and neither has written it: the race, every time.
    agents={"cashier": cashier, "hasty": together(2, cashier)},
    servers={"bank": bank},
    asks=(*asks("pay", "4711"), *asks("pay-unclaimed", "4712")),
    together=True,
)
