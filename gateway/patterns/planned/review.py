"""What a supervisor does about each result: accept it, have it done again, by somebody else, or plan anew. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.labels import CLEAN, Labels
from gateway.core.ports.orchestration import Offer, StepResult
from gateway.patterns.shared.critique import by_rules
from gateway.patterns.shared.failures import WANTING, another_way
from gateway.patterns.shared.settings import StandIn

Action: TypeAlias = Literal["accept", "retry", "reassign", "replan"]
_ACTIONS: dict[str, Action] = {
    "accept": "accept", "retry": "retry", "reassign": "reassign", "replan": "replan",
}  # fmt: skip
REVIEWS: JsonObject = {
    "type": "object",
    "required": ["reviews"],
    "properties": {
        "reviews": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["step", "verdict"],
                "properties": {"verdict": {"enum": ["accept", "retry", "reassign", "replan"]}},
            },
        }
    },
}
"""What a critic answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewVerdict:
    """On one step's result."""

    action: Action
    because: str = ""
    note: str = ""
    """For whoever does it next."""
    labels: Labels = CLEAN
    """Of the note."""


def by_rule(result: StepResult, options: JsonObject, *, tries: int, stand_in: bool, others: bool) -> ReviewVerdict:
    """Without a critic: what is there and keeps the rules is accepted; what failed is done again, then by somebody
    else, then planned anew. `stand_in`: somebody takes over from its worker; `others`: somebody else can do it."""
    if result.ok:
        critique = by_rules(result, options, {})
        if not critique.findings:
            return ReviewVerdict(action="accept")
        because = "; ".join(critique.findings)
        note = f"Your last answer is not enough: {because}."
        return ReviewVerdict(action="retry", because=because, note=note, labels=result.labels)
    because = result.because
    if result.error not in WANTING:
        return ReviewVerdict(action="accept", because=because)
    note = another_way(result)
    if tries <= 1 and not stand_in:
        return ReviewVerdict(action="retry", because=because, note=note, labels=result.labels)
    if stand_in or others:
        return ReviewVerdict(action="reassign", because=because, note=note, labels=result.labels)
    return ReviewVerdict(action="replan", because=because, note=note, labels=result.labels)


def reviews_in(said: StepResult, names: Collection[str]) -> dict[str, ReviewVerdict]:
    """A critic's verdicts, by step; a step it does not name is accepted.

    Raises: InvalidRequest: it failed, or named none of the steps it was asked about.
    """
    entries: list[Json] = json_list(json_object(said.answer).get("reviews"))
    found: dict[str, ReviewVerdict] = {}
    for each in map(json_object, entries):
        step, action = json_text(each.get("step")), _ACTIONS.get(json_text(each.get("verdict")))
        if step in names and action is not None:
            note = json_text(each.get("note"))
            because = note or f"the critic says {action}"
            found[step] = ReviewVerdict(action=action, because=because, note=note, labels=said.labels)
    if not said.ok or not found:
        raise InvalidRequest(said.reason or 'no step is reviewed: answer {"reviews": [{"step", "verdict", "note"}]}')
    return found


def somebody_else(
    target: str, tried: Collection[str], stand_ins: Mapping[str, StandIn], offers: Mapping[str, Offer]
) -> str:
    """Who can do a step instead: whoever takes over, else a worker that shares a skill; empty for nobody."""
    stand_in = stand_ins.get(target)
    if stand_in is not None and stand_in.target not in tried:
        return stand_in.target
    skills = offers[target].skills if target in offers else frozenset[str]()
    alike = (
        each
        for each, offer in offers.items()
        if each not in tried and each != target and offer.found and skills & offer.skills
    )
    return next(alike, "")
