"""Whether what several brought together is enough, by rule or as a goal checker says; who is asked again. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.core.fields import value_at
from gateway.core.json import JsonObject
from gateway.core.labels import CLEAN, Labels
from gateway.core.ports.orchestration import Gap, StepResult
from gateway.patterns.concurrent.merging import Merged
from gateway.patterns.shared.goals import GoalVerdict
from gateway.patterns.shared.settings import texts

GOAL_RULES = ("complete", "no_gaps", "no_conflicts", "fields")

_SAYABLE = re.compile(r"[A-Za-z0-9_.\[\]-]{1,80}")
"""Fields that may be named to a worker: anything else could be an instruction."""


def judged_by_rule(
    rule: str, options: JsonObject, found: Merged, gaps: Sequence[Gap], results: Mapping[str, StepResult]
) -> GoalVerdict:
    lacking: list[str] = []
    again: set[str] = set()
    note = ""
    if rule in ("complete", "no_gaps"):
        lacking += [f"{gap.step} is missing" for gap in gaps]
        again |= {gap.step for gap in gaps}
    if rule in ("complete", "no_conflicts"):
        lacking += [f"{each.field} is contradicted" for each in found.open]
        again.update(*(each.who for each in found.open))
    if rule in ("complete", "fields"):
        values = [result.value for result in results.values() if result.ok]
        unsaid = [name for name in texts(options.get("fields")) if all(value_at(each, name) is None for each in values)]
        lacking += [f"nobody said {name}" for name in unsaid]
        if unsaid:
            note = f"Nobody said: {', '.join(unsaid)}. Say it where you can."
            again |= {*results}
    because = "; ".join(lacking) or "nothing is lacking"
    return GoalVerdict(reached=not lacking, because=because, again=tuple(sorted(again)), note=note)


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Why a share is asked again, in the words it is told."""

    note: str
    labels: Labels = CLEAN


def asked_again(
    verdict: GoalVerdict, found: Merged, results: Mapping[str, StepResult], shares: Iterable[str]
) -> dict[str, Again]:
    """Who is asked again, of those that failed or whom somebody contradicts, or whom the checker names."""
    wanted: dict[str, Again] = {}
    for name in shares:
        result = results.get(name)
        contested = [each for each in found.open if name in each.who]
        failed = result is None or not result.ok
        if verdict.again and name not in verdict.again:
            continue
        if not (verdict.again or failed or contested):
            continue
        notes = [] if result is None or result.ok else [f"You did not answer ({result.error})."]
        if contested:
            fields = [each.field for each in contested if _SAYABLE.fullmatch(each.field)]
            about = f" on: {', '.join(fields)}" if fields else ""
            notes.append(f"Others contradict you{about}. Check it, and say what it rests on.")
        if verdict.note:
            notes.append(verdict.note)
        # Which fields there are, and that others see them otherwise, is theirs.
        others = {other for each in contested for other in each.who}
        labels = verdict.labels
        for other in sorted(others):
            labels = labels.join(results[other].labels if other in results else CLEAN)
        wanted[name] = Again(note=" ".join(notes) or f"Asked again: {verdict.because}", labels=labels)
    return wanted
