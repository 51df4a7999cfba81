"""What came together from several: as roles are told of it, and as it is put into words by rule. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.core.json import Json, JsonObject, json_text
from gateway.core.ports.orchestration import Gap, Outcome
from gateway.patterns.concurrent.merging import Merged
from gateway.patterns.concurrent.reports import Template, report_text, sections_in
from gateway.patterns.shared.dealing import Share
from gateway.patterns.shared.gaps import gaps_to_json, lines_of
from gateway.patterns.shared.gathering import Gathering
from gateway.patterns.shared.spoken import words_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came together."""

    shares: Mapping[str, Share]
    gathering: Gathering
    merged: Merged
    rounds: int = 1
    reconciled: bool = False
    text: str = ""
    """The reconciler's words."""


def brief(found: Found) -> JsonObject:
    """What roles are told of the results: data, in fields of fixed names."""
    gaps: list[Json] = gaps_to_json(found.gathering.gaps)
    conflicts: list[Json] = [each.to_json() for each in found.merged.conflicts]
    return {"merged": found.merged.value, "conflicts": conflicts, "gaps": gaps}


def account(found: Found) -> str:
    """How many answered, and how they agree, in a sentence."""
    conflicts, still = len(found.merged.conflicts), len(found.merged.open)
    return f"{len(found.gathering.good)} of {len(found.shares)} answered; {conflicts} in conflict, {still} of them open"


def conflicts_told(found: Found) -> JsonObject:
    """Who contradicts whom about what, without what they said."""
    told: list[Json] = []
    for each in found.merged.conflicts:
        by: list[Json] = [[*names] for _, names in each.said]
        told.append({"field": each.field, "by": by, "resolved": each.resolved})
    return {"conflicts": told}


def nothing(found: Found) -> Outcome:
    """The outcome of a run that was given up, or that nobody answered in."""
    gathering = found.gathering
    error = gathering.failed or "nobody answered"
    return Outcome(
        text=f"There is no answer: {error}. {_gaps_told(gathering.gaps)}".strip(),
        value={name: each.answer for name, each in gathering.good.items()} or None,
        gaps=gathering.gaps,
        error=error,
        notices=gathering.said,
    )


def worded_by_rule(found: Found, template: Template | None) -> str:
    """The answer in words, when nobody words it: one report where there is a template, else a line for each."""
    good = found.gathering.good
    if template is not None:
        sections = [
            {**section, "title": f"{name}: {json_text(section.get('title'))}"}
            for name, result in good.items()
            for section in sections_in(result.value)
        ]
        lines = [report_text(sections, template)]
    else:
        lines = [f"{name}: {result.summary or result.text or 'done'}" for name, result in good.items()]
    for each in found.merged.conflicts:
        said = "; ".join(f"{', '.join(names)}: {words_for(value)}" for value, names in each.said)
        end = f", taken as {words_for(each.chosen)}" if each.resolved else ", left open"
        lines.append(f"Conflict on {each.field} ({said}){end}")
    return "\n".join(filter(None, (*lines, _gaps_told(found.gathering.gaps))))


def _gaps_told(gaps: Sequence[Gap]) -> str:
    return "\n".join(lines_of(gaps))
