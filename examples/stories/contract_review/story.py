"""Contract review: extract, classify, score, summarise; the gateway may die in the third stage, and nothing changes."""

import re
from pathlib import Path
from typing import Any

from examples.stories.kit import Answer, Ask, Asked, Effects, Functions, Reply, Story

CONTRACT = """\
1. Term. This agreement runs for one year and renews automatically unless notice is given six months before.
2. Payment. Invoices are due within 30 days.
3. Liability. The supplier's liability is unlimited.
4. Confidentiality. Both parties keep secret what they learn of each other, for three years.
5. Termination. The customer may terminate for cause only.
"""
RISKS = {
    "term": (r"renews automatically", 3, "renews by itself"),
    "liability": (r"unlimited", 5, "unlimited liability"),
    "termination": (r"for cause only", 4, "no way out without a cause"),
}
"""What is risky in a clause of a kind, how much so of 5, and why."""
_CLAUSE = re.compile(r"^(\d+)\. (\w+)\. (.+)$", re.MULTILINE)


def extractor(asked: Asked) -> Answer:
    """Finds the clauses of a contract."""
    clauses = [{"number": int(n), "title": title, "text": text} for n, title, text in _CLAUSE.findall(asked.task)]
    return {"clauses": clauses, "drawbridge": {"summary": f"{len(clauses)} clauses."}}


def classifier(asked: Asked) -> Answer:
    """Says what kind of clause each is."""
    kinds = [{"number": each["number"], "kind": each["title"].lower()} for each in asked.input["clauses"]]
    return {"kinds": kinds, "drawbridge": {"summary": f"{len(kinds)} clauses classified."}}


async def scorer(asked: Asked) -> Answer:
    """Scores clauses, and enters what is risky in the register."""
    kinds = {each["number"]: each["kind"] for each in asked.input["kinds"]}
    risks: list[dict[str, Any]] = []
    for clause in asked.input["clauses"]:
        pattern, score, why = RISKS.get(kinds[clause["number"]], ("(?!)", 0, ""))
        if re.search(pattern, clause["text"]):
            entered = await asked.tools.call("register__enter", clause=clause["number"], score=score)
            risks.append({"clause": clause["number"], "score": score, "why": why, "entry": entered["entry"]})
    return {"risks": risks, "drawbridge": {"summary": f"{len(risks)} risks entered."}}


def summariser(asked: Asked) -> Answer:
    """Says in a few words what to look at."""
    worst = sorted(asked.input["risks"], key=lambda each: -each["score"])
    told = "; ".join(f"clause {each['clause']:g}: {each['why']} ({each['score']:g} of 5)" for each in worst)
    return Reply(value={"clauses": [each["clause"] for each in worst]}, said={"summary": f"Look at {told}."})


def register(effects: Effects) -> Functions:
    """The register of risks."""

    def enter(clause: int, score: int, idempotency_key: str) -> dict[str, Any]:
        """Enter a risk. The same idempotency_key enters it once."""
        effects.once("enter", idempotency_key, clause=clause, score=score)
        return {"entry": f"R-{clause}"}

    return {"enter": enter}


STORY = Story(
    folder=Path(__file__).parent,
    agents={"extractor": extractor, "classifier": classifier, "scorer": scorer, "summariser": summariser},
    servers={"register": register},
    asks=(Ask(workflow="contract-review", message=CONTRACT),),
)
