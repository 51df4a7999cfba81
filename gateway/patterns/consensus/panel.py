"""Answers before a judge: without their authors' names, in an order nobody can foresee; what the judge says. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import combinations
from string import ascii_uppercase

from gateway.core.json import Json, JsonObject, json_object
from gateway.patterns.consensus.rubric import Criterion
from gateway.patterns.shared.loops import similarity
from gateway.patterns.shared.sameness import identity, number_in, same
from gateway.patterns.shared.settings import slug_of

PANEL_AT_MOST = len(ascii_uppercase)

SOMEBODY = "(somebody)"
"""What stands where an answer names whoever gave it, or another of them."""
SHORTEST_NAME = 3
"""What is shorter may be any word."""
TITLE_CHARS = 100
CLOSE = 0.05
"""Numbers that differ by less than this share of the larger one agree in part."""


def unnamed(names: Sequence[str], seed: str) -> dict[str, str]:
    """Letter -> name, in an order that depends on `seed` and on nothing an author can choose."""
    shuffled = sorted(names, key=lambda name: sha256(f"{seed} {name}".encode()).digest())
    return dict(zip(ascii_uppercase, shuffled, strict=False))


def names_in_words(targets: Iterable[str], titles: Iterable[str] = ()) -> re.Pattern[str]:
    """Where a text names one of the targets: by its capability name, by its slug, however its words are joined, or by
    one of the titles. What is short may be any word, and counts only as it is written."""
    slugs = {slug_of(target) for target in targets}
    names = {name for name in (*slugs, *(title.strip()[:TITLE_CHARS] for title in titles)) if name}
    full = _any_of(slugs, _written)
    plain = _any_of({each for each in names if len(each) >= SHORTEST_NAME}, _joined_anyhow)
    short = _any_of({each for each in names if len(each) < SHORTEST_NAME}, _written)
    return re.compile(rf"(?<![\w-])(?:(?i:(?:agent|tool|workflow):{full}|{plain})|{short})(?![\w-])")


def without_names(value: Json, names: re.Pattern[str]) -> Json:
    """The value with nobody named in its texts and keys."""
    if isinstance(value, str):
        return names.sub(SOMEBODY, value)
    if isinstance(value, list):
        return [without_names(each, names) for each in value]
    if not isinstance(value, dict):
        return value
    shown: dict[str, Json] = {}
    for key, each in value.items():
        told = named = names.sub(SOMEBODY, key)
        # Two of them side by side are still two.
        number = 2
        while told in shown:
            told, number = f"{named} {number}", number + 1
        shown[told] = without_names(each, names)
    return shown


def _any_of(names: Iterable[str], pattern: Callable[[str], str]) -> str:
    """The longest first: of two that begin alike, it is the one that is meant. Matches nothing where there is none."""
    ordered = sorted(names, key=lambda name: (-len(name), name))
    return f"(?:{'|'.join(map(pattern, ordered))})" if ordered else "(?!)"


def _written(name: str) -> str:
    return re.escape(name)


def _joined_anyhow(name: str) -> str:
    return r"[\s_-]?".join(map(re.escape, re.split(r"[\s_-]+", name)))


def judges_input(answers: Mapping[str, Json], criteria: Sequence[Criterion]) -> JsonObject:
    """What a judge is given: the rubric, the answers by letter, and the form of its own answer."""
    rubric: list[Json] = [{"criterion": each.name, "weight": each.weight, "about": each.about} for each in criteria]
    shown: list[Json] = [{"answer": letter, "value": value} for letter, value in answers.items()]
    return {"rubric": rubric, "answers": shown, "output_schema": scores_schema([*answers], criteria)}


def scores_schema(letters: Sequence[str], criteria: Sequence[Criterion]) -> JsonObject:
    """`{"scores": {"A": {"evidence": 0.5}}, "because": "…"}`."""
    number: JsonObject = {"type": "number", "minimum": 0, "maximum": 1}
    scores: JsonObject = {
        "type": "object",
        "required": [each.name for each in criteria],
        "properties": {each.name: number for each in criteria},
    }
    by_letter: JsonObject = {"type": "object", "required": [*letters], "properties": {each: scores for each in letters}}
    because: JsonObject = {"type": "string"}
    return {"type": "object", "required": ["scores"], "properties": {"scores": by_letter, "because": because}}


def scores_said(value: Json, letters: Mapping[str, str], criteria: Sequence[Criterion]) -> dict[str, dict[str, float]]:
    """The scores in a judge's answer that fits its schema, by name of the author."""
    said = json_object(json_object(value).get("scores"))
    return {
        name: {each.name: _score(json_object(said.get(letter)).get(each.name)) for each in criteria}
        for letter, name in letters.items()
    }


def agreement(answers: Sequence[Json]) -> float:
    """How alike answers are, 0 to 1, over all pairs; 1 for a single one."""
    pairs = [likeness(one, other) for one, other in combinations(answers, 2)]
    return round(sum(pairs) / len(pairs), 3) if pairs else 1.0


def likeness(one: Json, other: Json) -> float:
    """How alike two values are, 0 to 1; symmetric, 1 for the same."""
    if same(one, other):
        return 1.0
    if isinstance(one, dict) and isinstance(other, dict):
        names = one.keys() | other.keys()
        return sum(likeness(one.get(name), other.get(name)) for name in sorted(names)) / len(names)
    if isinstance(one, list) and isinstance(other, list):
        ours, theirs = [identity(each) for each in one], [identity(each) for each in other]
        common = sum(map({*theirs}.__contains__, ours)) + sum(map({*ours}.__contains__, theirs))
        return common / (len(one) + len(other))
    first, second = number_in(one), number_in(other)
    if first is not None and second is not None:
        return max(0.0, 1.0 - abs(first - second) / (CLOSE * max(abs(first), abs(second))))
    return similarity(one, other) if isinstance(one, str) and isinstance(other, str) else 0.0


def _score(value: Json) -> float:
    number = number_in(value)
    return 0.0 if number is None else min(1.0, max(0.0, number))
