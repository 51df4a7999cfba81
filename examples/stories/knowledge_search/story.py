"""Workers that know something each, and a librarian who knows what an answer has to have."""

from pathlib import Path
from typing import Any

from examples.stories.kit import Answer, Ask, Asked, Card, Story

TABLE = "warehouse.sales"
WANTED = {"source": "where it comes from", "owner": "whom to ask", "history": "since when it is there"}
"""What an answer has to have, and what it says where it lacks."""


def wiki(asked: Asked) -> Answer:
    """Has a page on everything, and not everything on it."""
    if topic_of(asked) == "lineage":
        return found(source={"table": asked.input["table"], "refreshed": "02:00"})
    page = found(page={"title": "Nightly report", "made_of": TABLE})
    page["drawbridge"]["publish"] = [{"topic": "lineage", "input": {"table": TABLE}}]
    return page


def tickets(asked: Asked) -> Answer:
    """Knows what does not work."""
    return found(ticket={"id": "DATA-212", "says": "Sundays are missing"})


def people(asked: Asked) -> Answer:
    """Knows whose a table is."""
    return found(owner={"table": asked.input["table"], "name": "Mira"})


def archive(asked: Asked) -> Answer:
    """Knows when a table was made. It came later, and none of the others knows of it."""
    return found(history={"table": asked.input["table"], "since": "2021-03"})


def librarian(asked: Asked) -> Answer:
    """Checks the goal: what the answer lacks becomes a task."""
    lacking = [name for name in WANTED if name not in asked.input["findings"]]
    return {
        "reached": not lacking,
        "because": f"nobody said {', '.join(WANTED[name] for name in lacking)}" if lacking else "it is all there",
        "gaps": [{"topic": name, "input": {"table": TABLE}} for name in lacking],
    }


def topic_of(asked: Asked) -> str:
    topic: str = asked.input["event"]["topic"]
    return topic


def found(**findings: Any) -> dict[str, Any]:
    return {"drawbridge": {"findings": findings}}


STORY = Story(
    folder=Path(__file__).parent,
    agents={"wiki": wiki, "tickets": tickets, "people": people, "archive": archive, "librarian": librarian},
    cards={
        "people": Card(description="Knows whose a table is.", skills=["owner"]),
        "archive": Card(description="Knows when a table was made.", skills=["history"]),
    },
    asks=(
        Ask(workflow="search", message="What is the nightly report made of, and whom do I ask about it?"),
        Ask(workflow="wider-search", message="What is the nightly report made of, and whom do I ask about it?"),
    ),
)
