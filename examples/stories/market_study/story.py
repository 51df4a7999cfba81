"""A market study: planned, done, found wanting by a critic, done again; what nobody could find out is a gap."""

from pathlib import Path
from typing import Any

from examples.stories.kit import Answer, Ask, Asked, Failed, Reply, Story

SHARES = {"Borealis": 34, "Cirrus": 21, "Aurora": 45}
"""In percent, as they really are."""
ALL_OF_IT = 95
"""From here on, in percent, shares are taken to be all."""


def planner(asked: Asked) -> Answer:
    """Says what has to be found out, by whom, and what builds on what."""
    steps: list[dict[str, Any]] = [
        {"id": "size", "agent": "statistics", "input": {"what": "size"}},
        {"id": "shares", "agent": "rivals"},
        {"id": "prices", "agent": "panel"},
        {"id": "leader", "agent": "statistics", "input": {"what": "leader"}, "after": ["size", "shares"]},
    ]
    return {"steps": steps, "drawbridge": {"summary": f"Plan: {', '.join(each['id'] for each in steps)}."}}


def statistics(asked: Asked) -> Answer:
    """Knows how large markets are, and can multiply."""
    if asked.input["what"] == "size":
        return {"million": 120, "drawbridge": {"summary": "120 million a year."}}
    shares = asked.of("shares")["percent"]
    leader = max(shares, key=lambda name: shares[name])
    million = asked.of("size")["million"] * shares[leader] / 100
    return {
        "leader": leader,
        "million": million,
        "drawbridge": {"summary": f"{leader} leads with {million:g} million."},
    }


def rivals(asked: Asked) -> Answer:
    """Knows who sells what; asks further only when told that something is missing."""
    known = SHARES if asked.note else {name: SHARES[name] for name in ("Borealis", "Cirrus")}
    return {"percent": known, "drawbridge": {"summary": f"{len(known)} companies."}}


def panel(asked: Asked) -> Answer:
    """Asks people what they would pay, when they are there."""
    raise Failed("the panel does not meet before March")


def critic(asked: Asked) -> Answer:
    """Looks whether the numbers can be all."""
    reviews: list[dict[str, Any]] = []
    for step in asked.input["steps"]:
        total = sum(asked.of(step).get("percent", {"all": 100}).values())
        note = f"the shares add up to {total:g} %: who has the rest?"
        wanting = total < ALL_OF_IT
        reviews.append({"step": step, "verdict": "retry" if wanting else "accept", "note": note if wanting else ""})
    return {"reviews": reviews}


def editor(asked: Asked) -> Answer:
    """Puts the study in words."""
    found = " ".join(asked.results[step]["summary"] for step in ("size", "shares", "leader"))
    missing = "; ".join(f"{each['step']}, as {each['reason']}" for each in asked.input["gaps"])
    return Reply(text=f"{found} Not found out: {missing}.")


STORY = Story(
    folder=Path(__file__).parent,
    agents={
        "planner": planner,
        "statistics": statistics,
        "rivals": rivals,
        "panel": panel,
        "critic": critic,
        "editor": editor,
    },
    asks=(Ask(workflow="market-study", message="Is there room for another maker of espresso machines?"),),
)
