"""Values that meet a JSON Schema: its boundaries first, then some drawn from a seed. Pure, and bounded.

Covers what contracts of agents and tools are made of; of a schema it cannot meet it gives nothing rather than something
wrong, because every value is checked before it is handed out.
"""

import random
from collections.abc import Iterator
from itertools import islice

from gateway.core.contracts import violation
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.pointers import referred_to
from gateway.testing.contracts.comparison import types_of
from gateway.testing.contracts.expressions import BOUNDARIES, texts_matching

MOST_VALUES = 100
_TRIES = 20
"""Drawn values looked at for each that is wanted."""
_DEEPEST = 6
_LONGEST_TEXT = 40
_LONGEST_LIST = 4
_WORDS = ("", "a", "order 4711", "ü", "0", "null", "<b>", "'; --", " ")
_KEEPS: dict[str, tuple[str, ...]] = {
    "date": ("2026-02-28",),
    "date-time": ("2026-02-28T23:59:59Z",),
    "time": ("23:59:59Z",),
    "email": ("ana@example.org",),
    "uri": ("https://example.org/a?b=c",),
    "uuid": ("00000000-0000-4000-8000-000000000000",),
    "ipv4": ("192.0.2.1",),
}


def values_for(schema: JsonObject, count: int, seed: int = 1) -> list[Json]:
    """At most `count` different values that meet the schema: the boundaries of each of its fields, then drawn ones."""
    drawing = _Drawing(schema, seed)
    tried = islice(drawing.all(), count * _TRIES)
    found: list[Json] = []
    for value in tried:
        if len(found) >= min(count, MOST_VALUES):
            break
        if value not in found and not violation(schema, value):
            found.append(value)
    return found


class _Drawing:
    """Candidates for one schema."""

    def __init__(self, schema: JsonObject, seed: int) -> None:
        self._root = schema
        self._random = random.Random(seed)  # noqa: S311 - the same values are to be had again

    def all(self) -> Iterator[Json]:
        """Endless: boundaries first."""
        yield from self._boundaries(self._root, 0)
        while True:
            yield self._drawn(self._root, 0)

    def _boundaries(self, schema: Json, depth: int) -> Iterator[Json]:
        said = self._followed(schema)
        yield from json_list(said.get("examples"))
        if "const" in said:
            yield said["const"]
        yield from json_list(said.get("enum"))
        if "const" in said or "enum" in said or depth > _DEEPEST:
            return
        types = types_of(said)
        if "object" in types and ("properties" in said or said.get("type") == "object"):
            yield from self._of_objects(said, depth)
        if "array" in types and "type" in said:
            yield from self._of_lists(said, depth)
        if "type" in said:
            yield from _of_numbers(said, types)
        if "string" in types and "type" in said:
            yield from _of_texts(said)
        if "boolean" in types and "type" in said:
            yield from (True, False)
        if "null" in types and "type" in said:
            yield None

    def _of_objects(self, said: JsonObject, depth: int) -> Iterator[Json]:
        """Only what has to be there, then all there is, then each boundary of each field in turn."""
        properties = json_object(said.get("properties"))
        required = [each for each in json_list(said.get("required")) if isinstance(each, str)]
        usual = {name: self._drawn(schema, depth + 1) for name, schema in properties.items()}
        least: JsonObject = {name: usual.get(name, "a") for name in required}
        yield least
        yield {**least, **usual}
        for name, schema in properties.items():
            for each in self._boundaries(schema, depth + 1):
                yield {**least, **usual, name: each}

    def _of_lists(self, said: JsonObject, depth: int) -> Iterator[Json]:
        least, most = _whole(said.get("minItems"), 0), _whole(said.get("maxItems"), _LONGEST_LIST)
        items = said.get("items", {})
        for length in dict.fromkeys((least, min(most, least + 1), min(most, 50))):
            yield [self._drawn(items, depth + 1) for _ in range(length)]
        for each in self._boundaries(items, depth + 1):
            yield [each] * max(1, least)

    def _drawn(self, schema: Json, depth: int) -> Json:
        said = self._followed(schema)
        if "const" in said:
            return said["const"]
        if values := json_list(said.get("enum")):
            return self._random.choice(values)
        kinds = sorted(types_of(said)) if "type" in said else ["object"] if "properties" in said else ["string"]
        match self._random.choice(kinds):
            case "object":
                return self._object(said, depth)
            case "array":
                return self._list(said, depth)
            case "integer":
                low, high = _span(said, whole=True)
                return self._random.randint(int(low), int(high))
            case "number":
                low, high = _span(said, whole=False)
                return round(self._random.uniform(low, high), 4)
            case "boolean":
                return self._random.random() < 0.5
            case "null":
                return None
            case _:
                return self._text(said)

    def _object(self, said: JsonObject, depth: int) -> JsonObject:
        required = json_list(said.get("required"))
        made: JsonObject = {}
        for name, schema in json_object(said.get("properties")).items():
            if name in required or (depth < _DEEPEST and self._random.random() < 0.7):
                made[name] = self._drawn(schema, depth + 1)
        for name in required:
            if isinstance(name, str):
                made.setdefault(name, "a")
        return made

    def _list(self, said: JsonObject, depth: int) -> list[Json]:
        least, most = _whole(said.get("minItems"), 0), _whole(said.get("maxItems"), _LONGEST_LIST)
        length = least if depth > _DEEPEST else self._random.randint(least, max(least, min(most, _LONGEST_LIST)))
        return [self._drawn(said.get("items", {}), depth + 1) for _ in range(length)]

    def _text(self, said: JsonObject) -> str:
        if pattern := json_text(said.get("pattern")):
            drawn = islice(texts_matching(pattern, self._random.randrange(2**32)), BOUNDARIES, None)
            if (text := next(drawn, None)) is not None:
                return text
        offered = [*_of_texts(said)]
        return str(self._random.choice(offered)) if offered else "a"

    def _followed(self, schema: Json) -> JsonObject:
        """The schema, one alternative of those it has, what it refers to, and everything it demands together."""
        said = json_object(schema)
        for _ in range(_DEEPEST):
            reference = json_text(said.get("$ref"))
            either = [*json_list(said.get("anyOf")), *json_list(said.get("oneOf"))]
            if reference.startswith("#/"):
                found = json_object(referred_to(self._root, reference))
                said = {**{name: each for name, each in said.items() if name != "$ref"}, **found}
            elif either:
                chosen = json_object(self._random.choice(either))
                said = {**{n: each for n, each in said.items() if n not in ("anyOf", "oneOf")}, **chosen}
            elif "allOf" in said:
                said = _together(said)
            else:
                break
        return said


def _together(said: JsonObject) -> JsonObject:
    whole = {name: each for name, each in said.items() if name != "allOf"}
    for each in map(json_object, json_list(said.get("allOf"))):
        properties = {**json_object(whole.get("properties")), **json_object(each.get("properties"))}
        required = [*json_list(whole.get("required")), *json_list(each.get("required"))]
        whole |= each
        if properties:
            whole["properties"] = properties
        if required:
            whole["required"] = required
    return whole


def _span(said: JsonObject, *, whole: bool) -> tuple[float, float]:
    step = 1.0 if whole else 0.01
    lows = [_number(said.get("minimum"), 0), _number(said.get("exclusiveMinimum"), step)]
    highs = [_number(said.get("maximum"), 0), _number(said.get("exclusiveMaximum"), -step)]
    low = max((each for each in lows if each is not None), default=None)
    high = min((each for each in highs if each is not None), default=None)
    if low is None:
        low = -1000.0 if high is None else high - 1000
    return low, max(low, low + 1000 if high is None else high)


def _of_numbers(said: JsonObject, types: frozenset[str]) -> Iterator[Json]:
    if "integer" in types:
        low, high = _span(said, whole=True)
        yield from dict.fromkeys((int(low), int(low) + 1, 0, 1, int(high) - 1, int(high)))
    if "number" in types:
        low, high = _span(said, whole=False)
        yield from (low, high, round((low + high) / 2, 4), 0.1)


def _of_texts(said: JsonObject) -> Iterator[Json]:
    kept = _KEEPS.get(json_text(said.get("format")))
    least, most = _whole(said.get("minLength"), 0), _whole(said.get("maxLength"), _LONGEST_TEXT)
    if kept is not None:
        yield from kept
        return
    if pattern := json_text(said.get("pattern")):
        yield from islice(texts_matching(pattern, 1), BOUNDARIES)
    yield "a" * least
    yield "x" * min(most, 1000)
    yield from (each.ljust(least, "a")[:most] for each in _WORDS)


def _number(value: Json, beside: float) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else value + beside


def _whole(value: Json, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default
