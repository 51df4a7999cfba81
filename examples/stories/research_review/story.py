"""A note that is researched, drafted and reviewed by somebody else, and improved for as long as that helps."""

import re
from pathlib import Path

from examples.stories.kit import Answer, Ask, Asked, Story

NO_SOURCE, ONE_SOURCE, TWISTED = "say who says so", "one source is not enough", "nobody can read that"
NOTES = {
    "tides": {
        "": "Tides come and go.",
        NO_SOURCE: "The moon pulls at the sea [NOAA].",
        # Told to find another source, the writer only twists the sentence: this round is worse than the one before.
        ONE_SOURCE: "The sea, pulled at, as is held, by the moon, rises [NOAA].",
    },
    "salt": {
        "": "The sea is salty.",
        NO_SOURCE: "Rivers wash salt out of rocks and into the sea [USGS, NOAA].",
    },
}
"""What is written on a topic: at first, and when that was found fault with."""


def researcher(asked: Asked) -> Answer:
    """Says what there is on a topic."""
    topic = next(topic for topic in NOTES if topic in asked.task)
    return {"topic": topic, "drawbridge": {"summary": f"There is a lot on {topic}."}}


def writer(asked: Asked) -> Answer:
    """Writes a note, and another one where it is told what was wrong with the last."""
    handed = asked.data["drawbridge"]["results"]
    found = handed["critique"]["value"]["findings"] if "critique" in handed else [""]
    note = NOTES[asked.of("researcher")["topic"]][found[0]]
    return {"note": note, "drawbridge": {"summary": note}}


def reviewer(asked: Asked) -> Answer:
    """Counts sources and commas."""
    note: str = asked.of("draft")["note"]
    named = re.search(r"\[(.*)\]", note)
    sources = len(named.group(1).split(", ")) if named else 0
    twisted = note.partition("[")[0].count(",") > 1
    scores = {"sources": min(1.0, sources / 2), "clarity": 0.2 if twisted else 1.0}
    findings = [NO_SOURCE] if not sources else [ONE_SOURCE] if sources == 1 else []
    return {"scores": scores, "findings": [*findings, *([TWISTED] if twisted else [])]}


STORY = Story(
    folder=Path(__file__).parent,
    agents={"researcher": researcher, "writer": writer, "reviewer": reviewer},
    asks=(
        Ask(workflow="note", message="Write a note on tides."),
        Ask(workflow="note", message="Write a note on salt in the sea."),
    ),
)
