"""How a judge's verdicts compare with people's, on a gold set: how often right, how it ranks, how it leans. Pure.

A judge that names the right answer for the wrong reasons shows in its bias on single criteria; one that goes by where
an answer stands shows when the same answers are put before it in another order.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import fmean

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.patterns.consensus.rubric import Criterion, Scores, ranked, total
from gateway.patterns.shared.sameness import number_in
from gateway.patterns.shared.settings import texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Gold:
    """A question whose answers people have judged."""

    id: str
    answers: Mapping[str, Json]
    best: frozenset[str]
    places: Mapping[str, float]
    """Answer -> its place, the best lowest; the same for those nobody told apart."""
    scores: Scores
    message: str = ""
    data: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What the judge said once."""

    gold: Gold
    order: tuple[str, ...]
    """In which it was shown the answers."""
    scores: Scores

    def winner(self, criteria: Sequence[Criterion]) -> str:
        return ranked(self.scores, criteria, sorted(self.gold.answers))[0]


def gold_from(lines: Iterable[str]) -> list[Gold]:
    """Lines of `{"answers": {name: answer}, "best": name or names}`; may have `ranking`, `scores`, `task` and `id` too.

    Raises: InvalidRequest: names the first line that cannot be used, and says why.
    """
    found: list[Gold] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_gold(json.loads(line), number))
            except (ValueError, InvalidRequest) as error:
                reason = error.message if isinstance(error, InvalidRequest) else "it is no JSON"
                raise InvalidRequest(f"line {number} of the gold set cannot be used: {reason}") from error
    if not found:
        raise InvalidRequest("the gold set has no lines")
    return found


def calibrated(weighed: Sequence[Weighed], criteria: Sequence[Criterion]) -> JsonObject:
    """The comparison, for machines. Every case counts the same, however often it was weighed."""
    by_case: dict[str, list[Weighed]] = {}
    for each in weighed:
        by_case.setdefault(each.gold.id, []).append(each)
    right = [fmean(each.winner(criteria) in each.gold.best for each in those) for those in by_case.values()]
    wrong: list[Json] = [
        {"id": those[0].gold.id, "best": [*sorted(those[0].gold.best)], "chosen": [*_winners(those, criteria)]}
        for those in by_case.values()
        if any(each.winner(criteria) not in each.gold.best for each in those)
    ]
    ranks = [tau for each in weighed if (tau := _rank_correlation(each, criteria)) is not None]
    return {
        "cases": len(by_case),
        "accuracy": _rounded(fmean(right)),
        "rankCorrelation": _rounded(fmean(ranks)) if ranks else None,
        "position": {
            "changed": _rounded(fmean(len(_winners(those, criteria)) > 1 for those in by_case.values())),
            "firstWins": _rounded(fmean(each.winner(criteria) == each.order[0] for each in weighed)),
            "expected": _rounded(fmean(1 / len(each.order) for each in weighed)),
        },
        "criteria": [_leaning(criterion, weighed) for criterion in criteria],
        "wrong": wrong,
    }


def tau_b(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's rank correlation with ties, -1 to 1; None where one of them tells nothing apart."""
    agreed = disagreed = tied_one = tied_other = 0
    for (first, its), (second, others) in combinations(zip(one, other, strict=True), 2):
        left, right = first - second, its - others
        tied_one += left == 0
        tied_other += right == 0
        agreed += left * right > 0
        disagreed += left * right < 0
    pairs = len(one) * (len(one) - 1) // 2
    size = sqrt((pairs - tied_one) * (pairs - tied_other))
    return (agreed - disagreed) / size if size else None


def _gold(value: Json, number: int) -> Gold:
    said = json_object(value)
    answers, task = json_object(said.get("answers")), json_object(said.get("task"))
    if len(answers) < 2:
        raise InvalidRequest("it needs `answers` with at least two answers by name")
    ranking = texts(said.get("ranking"))
    best = said.get("best")
    names = {best} if isinstance(best, str) else {*texts(best)} or {*ranking[:1]}
    scores = {name: _numbers(each) for name, each in json_object(said.get("scores")).items()}
    strangers = sorted({*names, *ranking, *scores} - answers.keys())
    if strangers or not names:
        raise InvalidRequest(f"there is no answer {', '.join(strangers)}" if strangers else "it needs `best`")
    if ranking and ranking[0] not in names:
        raise InvalidRequest("`best` is not the first of `ranking`")
    last = float(len(ranking) or 1)
    places = {name: float(ranking.index(name)) if name in ranking else last for name in answers}
    if not ranking:
        places |= dict.fromkeys(names, 0.0)
    return Gold(
        id=json_text(said.get("id")) or f"line {number}",
        answers=answers,
        best=frozenset(names),
        places=places,
        scores=scores,
        message=json_text(task.get("message")),
        data={name: each for name, each in task.items() if name != "message"} or None,
    )


def _numbers(value: Json) -> dict[str, float]:
    found = {name: number_in(each) for name, each in json_object(value).items()}
    wrong = [name for name, number in found.items() if number is None or not 0 <= number <= 1]
    if wrong:
        raise InvalidRequest(f"the score of {', '.join(wrong)} is no number from 0 to 1")
    return {name: number for name, number in found.items() if number is not None}


def _winners(those: Sequence[Weighed], criteria: Sequence[Criterion]) -> list[str]:
    return list(dict.fromkeys(each.winner(criteria) for each in those))


def _rank_correlation(weighed: Weighed, criteria: Sequence[Criterion]) -> float | None:
    names = sorted(weighed.gold.answers)
    places = [-weighed.gold.places[name] for name in names]
    return tau_b(places, [total(weighed.scores[name], criteria) for name in names])


def _leaning(criterion: Criterion, weighed: Sequence[Weighed]) -> JsonObject:
    """By how much the judge gives more than people do, on average; and how far off it is either way."""
    apart = [
        each.scores[name][criterion.name] - gold[criterion.name]
        for each in weighed
        for name, gold in each.gold.scores.items()
        if criterion.name in gold and criterion.name in each.scores[name]
    ]
    return {
        "criterion": criterion.name,
        "weight": criterion.weight,
        "scores": len(apart),
        "bias": _rounded(fmean(apart)) if apart else None,
        "error": _rounded(fmean(map(abs, apart))) if apart else None,
    }


def _rounded(number: float) -> float:
    return round(number, 4)
