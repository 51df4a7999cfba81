"""In which order attempts at steps began, also those that began in the same microsecond. Pure.

That they do is the rule where time is virtual: whoever answers without delay has taken none. Then a step's place in the
journal tells, and of what was drawn together, or tried again, who was done first: nobody builds on what is not done.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from gateway.core.json import json_object
from gateway.core.ports.runs import RunEvent, RunStep

LAST = 1 << 62
"""Of what has not ended."""


def begun(steps: Iterable[RunStep], events: Sequence[RunEvent]) -> list[RunStep]:
    """Attempts at the steps of one run, `events` being that run's, as they began; what never began comes last."""
    ends = _ends(events)
    ordered = sorted(steps, key=lambda step: (not step.started_at_us, step.started_at_us))
    found: list[RunStep] = []
    for _, together in groupby(ordered, key=lambda step: step.started_at_us):
        found += _at_once([*together], ends)
    return found


def _at_once(steps: list[RunStep], ends: Mapping[str, Mapping[int, int]]) -> list[RunStep]:
    """Those that began in one microsecond."""

    def ended(step: RunStep) -> int:
        told = (seq for attempt, seq in ends.get(step.id, {}).items() if attempt >= step.attempt)
        return min(told, default=LAST)

    def drawn(step: RunStep) -> tuple[int, bool, int, str]:
        takes_time = step.duration_us > 0
        return _slot(step.id), takes_time, 0 if takes_time else ended(step), step.id

    least = {step.id: min(each.attempt for each in steps if each.id == step.id) for step in steps}
    found = sorted((step for step in steps if step.attempt == least[step.id]), key=drawn)
    again = (step for step in steps if step.attempt != least[step.id])
    for step in sorted(again, key=lambda step: (ended(step), step.attempt)):
        # It was drawn when the attempt before it had ended, and before whatever was done later.
        first = 1 + max(place for place, each in enumerate(found) if each.id == step.id)
        later = (place for place in range(first, len(found)) if ended(found[place]) > ended(step))
        found.insert(next(later, len(found)), step)
    return found


def _ends(events: Sequence[RunEvent]) -> dict[str, dict[int, int]]:
    """When the end of each attempt was told, by the step's id."""
    found: dict[str, dict[int, int]] = {}
    for event in events:
        detail = json_object(event.body.get("detail"))
        step, attempt = detail.get("step"), detail.get("attempt")
        if isinstance(step, str) and isinstance(attempt, int) and "name" in detail and "event" not in detail:
            found.setdefault(step, {}).setdefault(attempt, event.seq)
    return found


def _slot(step_id: str) -> int:
    """The place in the journal that the step's id names."""
    place = step_id.split("/")[1:2]
    return int(place[0]) if place and place[0].isdigit() else 0
