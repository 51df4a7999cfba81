"""How well requests are routed: on a labelled set, and by what runs said of themselves. Pure."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.patterns.router.classifying import RoutedRequest
from gateway.patterns.router.verdicts import worker_named
from gateway.patterns.shared.settings import slug_of

NOBODY = "(nobody)"
FALLING_BY = 0.1
"""From this difference on, confidence is falling."""
FEWEST = 10
"""Decisions below which nothing is said of a trend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A request, and whose it is."""

    request: RoutedRequest
    workers: frozenset[str]
    """Capability names; several where it has several wishes; empty where nobody is to have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A labelled request, and where it went."""

    labelled: Labelled
    workers: frozenset[str]
    by: str
    """`rules`, `classifier` or `otherwise`; empty where nothing decided."""

    @property
    def right(self) -> bool:
        return self.workers == self.labelled.workers


def labelled_from(lines: Iterable[str], workers: Sequence[str]) -> list[Labelled]:
    """A set as JSON lines: `{"message", "data", "worker"}`, with `workers` where there are several, `worker: null`
    where nobody is to have it.

    Raises: InvalidRequest: a line is none; says which and why.
    """
    found: list[Labelled] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(_labelled(line, workers))
        except InvalidRequest as error:
            raise InvalidRequest(f"line {number}: {error.message}") from error
    if not found:
        raise InvalidRequest("the labelled set is empty")
    return found


def evaluated(cases: Sequence[Case]) -> JsonObject:
    """Accuracy, who was taken for whom, and who decided."""
    right = sum(case.right for case in cases)
    decided = [case for case in cases if case.by]
    confusion: dict[str, dict[str, int]] = {}
    for case in cases:
        row = confusion.setdefault(_named(case.labelled.workers), {})
        found = _named(case.workers)
        row[found] = row.get(found, 0) + 1
    return {
        "cases": len(cases),
        "right": right,
        "accuracy": _share(right, len(cases)),
        "decided": len(decided),
        "accuracy_of_decided": _share(sum(case.right for case in decided), len(decided)),
        "by_rules": _share(sum(case.by == "rules" for case in cases), len(cases)),
        "by_classifier": _share(sum(case.by == "classifier" for case in cases), len(cases)),
        "confusion": {label: {**row} for label, row in sorted(confusion.items())},
        "wrong": [
            {
                "message": case.labelled.request.message,
                "expected": _named(case.labelled.workers),
                "found": _named(case.workers),
                "by": case.by,
            }
            for case in cases
            if not case.right
        ],
    }


def recent(routes: Sequence[JsonObject]) -> JsonObject:
    """What `why.route` of recent runs says, newest first: who decided, how sure they were, and whether that falls."""
    counted: dict[str, int] = {}
    for route in routes:
        by = json_text(route.get("by")) or "nobody"
        counted[by] = counted.get(by, 0) + 1
    sure = [float(each) for route in routes if isinstance(each := route.get("confidence"), int | float)]
    asked = counted.get("cache", 0) + counted.get("classifier", 0)
    report: JsonObject = {
        "runs": len(routes),
        "by": {by: _share(count, len(routes)) for by, count in sorted(counted.items())},
        "cache_hit_rate": _share(counted.get("cache", 0), asked),
        "confidence": round(sum(sure) / len(sure), 3) if sure else None,
        "falling": False,
    }
    if len(sure) < FEWEST:
        return report
    half = len(sure) // 2
    newer, older = sum(sure[:half]) / half, sum(sure[half:]) / (len(sure) - half)
    return {
        **report,
        "newer": round(newer, 3),
        "older": round(older, 3),
        "falling": older - newer >= FALLING_BY,
    }


def _labelled(line: str, workers: Sequence[str]) -> Labelled:
    try:
        said: Json = json.loads(line)
    except ValueError as error:
        raise InvalidRequest("it is no JSON") from error
    fields = json_object(said)
    message = json_text(fields.get("message"))
    if not message and "data" not in fields:
        raise InvalidRequest("it has neither message nor data")
    if "worker" not in fields and "workers" not in fields:
        raise InvalidRequest("it does not say whose it is: give worker, or workers")
    names = json_list(fields.get("workers")) or [fields.get("worker")]
    named = frozenset(each for name in names if (each := worker_named(name, workers)))
    return Labelled(request=RoutedRequest(message=message, data=fields.get("data")), workers=named)


def _named(workers: frozenset[str]) -> str:
    return " + ".join(sorted(map(slug_of, workers))) or NOBODY


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 3) if whole else None
