"""A health insurer: who decides on a claim knows the diagnosis, who pays it must not."""

import time
from pathlib import Path
from typing import Any

from examples.stories.kit import Answer, Ask, Asked, Effects, Functions, Story, World
from examples.stories.kit.world import StoryFailed

DIAGNOSIS = "migraine with aura"
COVERED = {DIAGNOSIS: 0.8}
"""Which share of the charge is paid, by diagnosis."""
ASKED_WITHIN_S = 120.0
LETTER = f"Claim C-17: I was treated for {DIAGNOSIS} and paid 240 dollars. Account DE-44."


def intake(asked: Asked) -> Answer:
    """Reads a letter."""
    claim = asked.text.partition(":")[0].removeprefix("Claim ")
    charged = next(int(word) for word in asked.text.split() if word.isdigit())
    diagnosis = asked.text.partition("treated for ")[2].partition(" and paid")[0]
    account = asked.text.partition("Account ")[2].rstrip(".")
    value = {"claim": claim, "diagnosis": diagnosis, "charged": charged, "account": account}
    return {**value, "drawbridge": {"summary": f"{claim}: {diagnosis}, {charged} dollars."}}


def medical(asked: Asked) -> Answer:
    """Decides what is covered."""
    claim: dict[str, Any] = asked.of("intake")
    share = COVERED.get(claim["diagnosis"], 0.0)
    summary = f"{claim['diagnosis']} is covered." if share else f"{claim['diagnosis']} is not covered."
    return {"covered": bool(share), "amount": claim["charged"] * share, "drawbridge": {"summary": summary}}


async def billing(asked: Asked) -> Answer:
    """Pays, and knows nothing of illnesses."""
    paid = await asked.tools.call("bank__pay", account=asked.input["account"], amount=asked.input["amount"])
    return {**paid, "drawbridge": {"summary": f"Paid {paid['paid']:.2f} for {asked.input['claim']}."}}


def bank(effects: Effects) -> Functions:
    def pay(account: str, amount: float, idempotency_key: str) -> dict[str, Any]:
        """Transfer money."""
        effects.once("pay", idempotency_key, account=account, amount=amount)
        return {"paid": amount}

    return {"pay": pay}


def question(world: World) -> dict[str, Any]:
    """What waits for an adjuster. Raises: StoryFailed: nothing does, for a long time."""
    until_s = time.monotonic() + ASKED_WITHIN_S
    while not (waiting := world.api("/approvals", state="pending")["approvals"]):
        if time.monotonic() > until_s:
            raise StoryFailed("nobody is asked to approve anything")
        time.sleep(0.05)
    asked: dict[str, Any] = waiting[0]
    return asked


def meanwhile(world: World) -> None:
    """Olga agrees."""
    asked = question(world)
    print(f"\nOlga is asked: {asked['prompt']}")
    print(world.drawbridge("approvals", "approve", asked["id"], who="olga").stderr.strip())


STORY = Story(
    folder=Path(__file__).parent,
    agents={"intake": intake, "medical": medical, "billing": billing},
    servers={"bank": bank},
    asks=(Ask(workflow="claim", message=LETTER),),
    meanwhile=meanwhile,
)
