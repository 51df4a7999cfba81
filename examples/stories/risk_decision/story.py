"""A risk decision: one decides on small loans; large ones are decided by three, weighed against a rubric."""

from pathlib import Path
from typing import Any

from examples.stories.kit import Answer, Ask, Asked, Failed, Story

BEARABLE = 0.4
"""Share of an amount that may be lost for a loan still to be granted."""
SEALED = "Quiet Harbour Ltd"
"""A company nobody may audit."""


def actuary(asked: Asked) -> Answer:
    """Computes what may be lost, from tables."""
    evidence = ["mortality table 14", "defaults 2020-2025", "rates of the central bank"]
    return _opinion(asked, 0.45, evidence, "Of such loans so many fail.")


def underwriter(asked: Asked) -> Answer:
    """Knows the trade, and decides alone where little is at stake."""
    return _opinion(asked, 0.43, ["two years of statements", "a visit"], "The order book is thin.")


def auditor(asked: Asked) -> Answer:
    """Goes through the books, where it may; likes what it has audited."""
    if asked.input["company"] == SEALED:
        raise Failed(f"the books of {SEALED} are sealed")
    # Sees the same danger, and grants all the same: what the chair is there for.
    return {
        **_opinion(asked, 0.5, ["ledger 2024", "ledger 2025", "the bank's letter"], "Sound books."),
        "verdict": "grant",
    }


def chair(asked: Asked) -> Answer:
    """Judges whether verdicts follow from what they rest on; is not told whose they are."""
    scores: dict[str, Any] = {}
    for each in asked.input["answers"]:
        value = each["value"]
        due = _verdict(value["exposure"], asked.data["amount"])
        scores[each["answer"]] = {"reasoning": 1 if value["verdict"] == due else 0}
    return {"scores": scores, "because": "Whoever may lose that much refuses."}


def _opinion(asked: Asked, share: float, evidence: list[str], reasons: str) -> dict[str, Any]:
    exposure = share * asked.input["amount"]
    verdict = _verdict(exposure, asked.input["amount"])
    said = {"summary": f"{verdict}: {exposure:g} may be lost. {reasons}"}
    return {"verdict": verdict, "exposure": exposure, "evidence": evidence, "reasons": reasons, "drawbridge": said}


def _verdict(exposure: float, amount: float) -> str:
    return "refuse" if exposure > BEARABLE * amount else "grant"


STORY = Story(
    folder=Path(__file__).parent,
    agents={"actuary": actuary, "underwriter": underwriter, "auditor": auditor, "chair": chair},
    asks=(
        Ask(workflow="risk-decision", message="A van?", data={"amount": 8000, "company": "Fresh Fish Ltd"}),
        Ask(workflow="risk-decision", message="A trawler?", data={"amount": 250_000, "company": "Fresh Fish Ltd"}),
        Ask(workflow="risk-decision", message="A pier?", data={"amount": 90_000, "company": SEALED}),
    ),
)
