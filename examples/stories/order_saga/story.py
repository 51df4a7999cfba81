"""Reserve, charge, ship: the carrier does not go there, and everything before is undone, last first."""

from pathlib import Path
from typing import Any

from examples.stories.kit import Answer, Ask, Asked, Effects, Failed, Functions, Story

ORDER = {"sku": "BL-300", "pieces": 2, "account": "4711", "amount": 219.80, "address": "Tristan da Cunha"}
SERVED = ("Lisbon", "Lagos")


def warehouse(effects: Effects) -> Functions:
    def reserve(sku: str, pieces: int, idempotency_key: str) -> dict[str, Any]:
        """Set pieces aside."""
        effects.once("reserve", idempotency_key, sku=sku, pieces=pieces)
        return {"reservation": f"{sku}/{pieces}"}

    def release(reservation: str, idempotency_key: str) -> dict[str, Any]:
        """Put back what was set aside."""
        effects.once("release", idempotency_key, reservation=reservation)
        return {"released": reservation}

    return {"reserve": reserve, "release": release}


def bank(effects: Effects) -> Functions:
    def charge(account: str, amount: float, idempotency_key: str) -> dict[str, Any]:
        """Take money from an account."""
        effects.once("charge", idempotency_key, account=account, amount=amount)
        return {"charge": f"{account}/{amount:.2f}"}

    def refund(charge: str, idempotency_key: str) -> dict[str, Any]:
        """Give the money of a charge back."""
        effects.once("refund", idempotency_key, charge=charge)
        return {"refunded": charge}

    return {"charge": charge, "refund": refund}


def carrier(asked: Asked) -> Answer:
    """Ships to where its lorries go."""
    if asked.input["to"] not in SERVED:
        raise Failed(f"we do not deliver to {asked.input['to']}")
    return {"shipped": asked.input["reservation"], "drawbridge": {"summary": f"On its way to {asked.input['to']}."}}


STORY = Story(
    folder=Path(__file__).parent,
    agents={"carrier": carrier},
    servers={"warehouse": warehouse, "bank": bank},
    asks=(Ask(workflow="order", message="Two Blender 300 to Tristan da Cunha, please", data=ORDER),),
)
