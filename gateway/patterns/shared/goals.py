"""What a goal checker says of the goal. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.core.json import json_object, json_text
from gateway.core.labels import CLEAN, Labels
from gateway.core.ports.orchestration import StepResult
from gateway.patterns.shared.settings import texts


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalVerdict:
    """What is said of the goal."""

    reached: bool
    because: str
    again: tuple[str, ...] = ()
    """Shares to be asked again; where none is named, those who failed or whom somebody contradicts."""
    note: str = ""
    """For whoever is asked again."""
    checked: bool = True
    """False where the goal checker itself failed."""
    labels: Labels = CLEAN
    """Of the note."""


def judged_by_checker(said: StepResult, names: Iterable[str]) -> GoalVerdict:
    """A goal checker's answer: `{"reached", "because", "again": [names], "note"}`. One that failed asks for nothing."""
    if not said.ok:
        because = f"the goal checker did not answer ({said.because})"
        return GoalVerdict(reached=True, checked=False, because=because)
    value = json_object(said.answer)
    known = set(names)
    return GoalVerdict(
        reached=value.get("reached") is not False,
        because=json_text(value.get("because")) or said.summary or "the goal checker gave no reason",
        again=tuple(each for each in dict.fromkeys(texts(value.get("again"))) if each in known),
        note=json_text(value.get("note")),
        labels=said.labels,
    )
