"""A rubric: criteria with weights, rules that decide some of them, and whose answer is best by it. Pure.

A score is from 0 to 1. Rules look at answers and at nothing else, so that whoever wrote one does not count.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from gateway.core.contracts import violation
from gateway.core.errors import InvalidRequest
from gateway.core.fields import value_at
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.patterns.shared.sameness import identity, number_in, same
from gateway.patterns.shared.settings import contract, seconds, texts

Scores: TypeAlias = Mapping[str, Mapping[str, float]]
"""Answer -> criterion -> score."""

DECIMALS = 6
"""To which totals are told apart: what is closer is a tie."""
WITHIN = 0.5
CITES = "evidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One thing that counts."""

    name: str
    weight: float = 1.0
    about: str = ""
    rule: str = ""
    """Empty: whoever judges decides it."""
    field: str = ""
    fields: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    within: float = WITHIN
    values: tuple[Json, ...] = ()
    contract: "JsonObject | None" = None


def criteria_in(rubric: Json) -> tuple[Criterion, ...]:
    """Raises: InvalidRequest: a rule lacks what it looks for."""
    return tuple(_criterion(name, json_object(entry)) for name, entry in json_object(rubric).items())


def scored_by_rule(criterion: Criterion, answers: Mapping[str, Json]) -> dict[str, float]:
    """The criterion's score of each answer."""
    looked_at = {name: value_at(value, criterion.field) for name, value in answers.items()}
    rule, everybody = _RULES[criterion.rule], [*looked_at.values()]
    return {name: round(rule(value, criterion, everybody), DECIMALS) for name, value in looked_at.items()}


def scored_by_rules(criteria: Sequence[Criterion], answers: Mapping[str, Json]) -> dict[str, dict[str, float]]:
    """The scores of all criteria that a rule decides."""
    found: dict[str, dict[str, float]] = {name: {} for name in answers}
    for criterion in criteria:
        if criterion.rule:
            for name, score in scored_by_rule(criterion, answers).items():
                found[name][criterion.name] = score
    return found


def total(scores: Mapping[str, float], criteria: Sequence[Criterion]) -> float:
    """The weighted mean of an answer's scores, 0 to 1; of those criteria that were scored."""
    weight = sum(each.weight for each in criteria if each.name in scores)
    if not weight:
        return 0.0
    return round(sum(each.weight * scores[each.name] for each in criteria if each.name in scores) / weight, DECIMALS)


def ranked(scores: Scores, criteria: Sequence[Criterion], order: Sequence[str]) -> list[str]:
    """The answers, the best first. Of two with the same total the one with more on the weightiest criterion on which
    they differ; else the one that comes first in `order`."""
    weighty = sorted(criteria, key=lambda each: -each.weight)

    def place(name: str) -> tuple[float, ...]:
        own = scores[name]
        return (-total(own, criteria), *(-round(own.get(each.name, 0.0), DECIMALS) for each in weighty))

    return sorted((name for name in order if name in scores), key=lambda name: (place(name), order.index(name)))


def _criterion(name: str, entry: JsonObject) -> Criterion:
    rule = json_text(entry.get("rule"))
    criterion = Criterion(
        name=name,
        weight=seconds(entry.get("weight")) or 1.0,
        about=json_text(entry.get("about")),
        rule=rule,
        field=json_text(entry.get("field")) or (CITES if rule == "cites" else ""),
        fields=texts(entry.get("fields")),
        least=seconds(entry.get("least")),
        most=seconds(entry.get("most")),
        within=seconds(entry.get("within")) or WITHIN,
        values=tuple(json_list(entry.get("values"))),
        contract=contract(entry.get("schema")),
    )
    bounded = criterion.least is not None or criterion.most is not None
    lacking = {
        "fields": not criterion.fields and "fields",
        "schema": criterion.contract is None and "schema",
        "near_median": not criterion.field and "field",
        "range": not (criterion.field and bounded) and "field, and least or most",
        "length": not bounded and "least or most",
        "one_of": not (criterion.field and criterion.values) and "field and values",
    }.get(rule)
    if lacking:
        raise InvalidRequest(f"the criterion {name} has the rule {rule}, which needs {lacking}")
    if criterion.least is not None and criterion.most is not None and criterion.least > criterion.most:
        raise InvalidRequest(f"the criterion {name} wants no less than {criterion.least:g} and no more than less")
    return criterion


# The rules: what the criterion looks at in one answer, and in all of them


def _fields(value: Json, criterion: Criterion, _: list[Json]) -> float:
    there = [name for name in criterion.fields if value_at(value, name) not in (None, "", [], {})]
    return len(there) / len(criterion.fields)


def _schema(value: Json, criterion: Criterion, _: list[Json]) -> float:
    return 0.0 if violation(criterion.contract or {}, value) else 1.0


def _near_median(value: Json, criterion: Criterion, everybody: list[Json]) -> float:
    number = number_in(value)
    if number is None:
        return 0.0
    middle = median([each for every in everybody if (each := number_in(every)) is not None])
    reach = criterion.within * abs(middle)
    apart = abs(number - middle)
    return (1.0 if apart == 0 else 0.0) if reach == 0 else max(0.0, 1.0 - apart / reach)


def _cites(value: Json, criterion: Criterion, _: list[Json]) -> float:
    entries = value if isinstance(value, list) else [value]
    cited = [each for each in entries if (each.strip() if isinstance(each, str) else each)]
    different = {identity(each) for each in cited}
    return min(1.0, len(different) / max(1.0, criterion.least or 1.0))


def _length(value: Json, criterion: Criterion, _: list[Json]) -> float:
    size = sum(map(len, _texts_in(value)))
    if criterion.least is not None and size < criterion.least:
        return size / criterion.least
    if criterion.most is not None and size > criterion.most:
        return criterion.most / size
    return 1.0


def _range(value: Json, criterion: Criterion, _: list[Json]) -> float:
    number = number_in(value)
    if number is None:
        return 0.0
    low = criterion.least is None or number >= criterion.least
    return 1.0 if low and (criterion.most is None or number <= criterion.most) else 0.0


def _one_of(value: Json, criterion: Criterion, _: list[Json]) -> float:
    return 1.0 if any(same(value, each) for each in criterion.values) else 0.0


def _texts_in(value: Json) -> list[str]:
    if isinstance(value, dict | list):
        return [text for each in (value.values() if isinstance(value, dict) else value) for text in _texts_in(each)]
    return [value] if isinstance(value, str) else []


_RULES: dict[str, Callable[[Json, Criterion, list[Json]], float]] = {
    "fields": _fields,
    "schema": _schema,
    "near_median": _near_median,
    "cites": _cites,
    "length": _length,
    "range": _range,
    "one_of": _one_of,
}
