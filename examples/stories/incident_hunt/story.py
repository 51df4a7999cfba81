"""Four agents look for the cause of an incident. Each knows its own corner, and to whom to turn beyond it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.stories.kit import Answer, Ask, Asked, Card, Story


def alerts(asked: Asked) -> Answer:
    """Sees what is wrong, never why."""
    if asking_for_bids(asked):
        return {}
    match asked.input.get("symptom"):
        case "checkout":
            seen = {"found": "checkout waits for the table orders since 14:05"}
            return handed_on(seen, 0.2, {"capability": "locks"}, "its queries wait", {"table": "orders"})
        case "search":
            return handed_on({"found": "nobody finds search"}, 0.2, {"to": "network"}, "names are the network's")
        case _:
            seen = {"found": "all services at once"}
            return handed_on(seen, 0.1, {"to": "network"}, "it is what they share", {"host": "edge-1"})


def database(asked: Asked) -> Answer:
    """Knows queries and locks."""
    if asking_for_bids(asked):
        return bid(0.4, eta_s=30)
    if "table" in asked.input:
        found = {"found": "somebody changes the table orders since 14:03, and holds its lock"}
        return handed_on(found, 0.5, {"broadcast": True}, "it was not I", {"change": "table orders, 14:03"})
    return handed_on({"found": "queries are slow too"}, 0.3, {"to": "releases"}, "what is new?", {"service": "db-1"})


def network(asked: Asked) -> Answer:
    """Knows names and routes."""
    if asking_for_bids(asked):
        return bid(0.3, cost_usd=0.01, eta_s=20)
    if "host" in asked.input:
        found = {"found": "edge-1 loses one packet in ten"}
        return handed_on(found, 0.7, {"capability": "sql"}, "or is it the database?", {"host": "db-1"})
    # Sure that it is none of its business, it gives the request back as it came.
    found = {"found": "there is no entry for search, and never was"}
    return handed_on(found, 0.6, {"to": "alerts"}, "the name is wrong, not the network")


def releases(asked: Asked) -> Answer:
    """Knows what was changed, and when."""
    if asking_for_bids(asked):
        return bid(0.9, cost_usd=0.02, eta_s=5)
    if "service" in asked.input:
        return handed_on({"found": "db-1 is as it was"}, 0.4, {"to": "alerts"}, "look again", {"dashboard": "db-1"})
    return {
        "cause": "release 4.2 began a change of the table orders and never ended it",
        "remedy": "roll back 4.2",
        "drawbridge": {"confidence": 0.9, "summary": "Release 4.2 holds the lock. Roll it back."},
    }


def asking_for_bids(asked: Asked) -> bool:
    return asked.input["mesh"].get("bid") is True


def bid(score: float, **worth: float) -> Answer:
    return {"drawbridge": {"bid": {"score": score, **worth}}}


def handed_on(
    found: Mapping[str, Any], confidence: float, to: Mapping[str, Any], why: str, input: Mapping[str, Any] | None = None
) -> Answer:
    """What was found out, and who is to go on; without `input` the request goes on as it came."""
    handoff = {**to, "why": why, **({} if input is None else {"input": input})}
    return {**found, "drawbridge": {"confidence": confidence, "handoff": handoff, "summary": found["found"]}}


STORY = Story(
    folder=Path(__file__).parent,
    agents={"alerts": alerts, "database": database, "network": network, "releases": releases},
    cards={"releases": Card(description="Knows what was changed, and when.", skills=["changes"])},
    asks=(
        Ask(workflow="incident", message="Checkout is slow.", data={"symptom": "checkout"}),
        Ask(workflow="incident", message="Search does not resolve.", data={"symptom": "search"}),
        Ask(workflow="incident", message="Everything is slow.", data={"symptom": "all"}),
    ),
)
