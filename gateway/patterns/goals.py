"""Whether what several brought together is enough, by rule or as a goal checker says; who is asked again. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.core.fields import value_at
from gateway.core.json import JsonObject, json_object, json_text
from gateway.core.labels import CLEAN, Labels
from gateway.core.ports.orchestration import Gap, StepResult
from gateway.patterns.merging import Merged
from gateway.patterns.settings import texts

GOAL_RULES = ("complete", "no_gaps", "no_conflicts", "fields")

_SAYABLE = re.compile(r"[A-Za-z0-9_.\[\]-]{1,80}")
"""Fields that may be named to a worker: anything else could be an instruction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
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


def judged_by_rule(
    rule: str, options: JsonObject, found: Merged, gaps: Sequence[Gap], results: Mapping[str, StepResult]
) -> Verdict:
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
    return Verdict(reached=not lacking, because=because, again=tuple(sorted(again)), note=note)


def judged_by_checker(said: StepResult, names: Iterable[str]) -> Verdict:
    """A goal checker's answer: `{"reached", "because", "again": [names], "note"}`. One that failed asks for nothing."""
    if not said.ok:
        because = f"the goal checker did not answer ({said.reason or said.error})"
        return Verdict(reached=True, checked=False, because=because)
    value = json_object(said.answer)
    known = set(names)
    return Verdict(
        reached=value.get("reached") is not False,
        because=json_text(value.get("because")) or said.summary or "the goal checker gave no reason",
        again=tuple(each for each in dict.fromkeys(texts(value.get("again"))) if each in known),
        note=json_text(value.get("note")),
        labels=said.labels,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Why a share is asked again, in the words it is told."""

    note: str
    labels: Labels = CLEAN


def asked_again(
    verdict: Verdict, found: Merged, results: Mapping[str, StepResult], shares: Iterable[str]
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
