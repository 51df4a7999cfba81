"""Values that meet a JSON Schema: its boundaries first, then some drawn from a seed. Pure, and bounded.

Covers what contracts of agents and tools are made of; of a schema it cannot meet it gives nothing rather than something
wrong, because every value is checked before it is handed out.
"""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from gateway.core.contracts import refuse_contract, violation
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.testing.contracts.alternatives import forms_of, together, types_meant
from gateway.testing.contracts.members import Members
from gateway.testing.contracts.scalars import number_drawn, numbers_at_edges, text_drawn, texts_at_edges

MOST_VALUES = 100
_TRIES = 20
"""Drawn values looked at for each that is wanted."""
_HOPELESS = 100
"""After so many of which none will do, none is looked for."""
_DEEPEST = 6
_DEEPER_THAN_ANY = 12
"""What has to be there at this depth is left out: the schema demands itself without end."""
_ROOM = 200
"""Values within one, after which nothing is in it that need not be."""
_LONGEST_LIST = 4
_LONGEST_EDGE = 50


def values_for(schema: JsonObject, count: int, seed: int = 1) -> list[Json]:
    """At most `count` different values that meet the schema: the boundaries of each of its fields, then drawn ones."""
    try:
        refuse_contract(schema)
    except InvalidRequest:
        return []
    found: dict[str, Json] = {}
    for tried, value in enumerate(islice(_Drawing(schema, seed).all(), count * _TRIES)):
        if len(found) >= min(count, MOST_VALUES) or (not found and tried >= _HOPELESS):
            break
        key = _key(value)
        if key not in found and not violation(schema, value):
            found[key] = value
    return [*found.values()]


class _Drawing:
    """Candidates for one schema."""

    def __init__(self, schema: JsonObject, seed: int) -> None:
        self._root = schema
        self._random = random.Random(seed)  # noqa: S311 - the same values are to be had again
        self._room = _ROOM
        self._known: dict[str, Members] = {}

    def _members(self, said: JsonObject) -> Members:
        """The same for the same schema: names by expressions take their time."""
        return self._known.setdefault(_key(said), Members(said))

    def all(self) -> Iterator[Json]:
        """Endless: boundaries first."""
        edges = self._edges(self._root, 0)
        while True:
            self._room = _ROOM
            for value in islice(edges, 1):
                yield value
                break
            else:
                yield self._drawn(self._root, 0)

    def _edges(self, schema: Json, depth: int) -> Iterator[Json]:
        """Of every form in turn: the first of each, then the second."""
        yield from _in_turn(self._of_form(each, depth) for each in forms_of(schema, self._root))

    def _of_form(self, said: JsonObject, depth: int) -> Iterator[Json]:
        yield from json_list(said.get("examples"))
        if "default" in said:
            yield said["default"]
        if "const" in said or "enum" in said:
            yield from [said["const"]] if "const" in said else json_list(said["enum"])
            return
        if depth <= _DEEPEST:
            yield from self._of_types(said, types_meant(said), depth)

    def _of_types(self, said: JsonObject, types: frozenset[str], depth: int) -> Iterator[Json]:
        if "object" in types:
            yield from self._of_objects(said, depth)
        if "array" in types:
            yield from self._of_lists(said, depth)
        if "number" in types:
            yield from numbers_at_edges(said, whole=False)
        elif "integer" in types:
            yield from numbers_at_edges(said, whole=True)
        if "string" in types:
            yield from texts_at_edges(said)
        if "boolean" in types:
            yield from (True, False)
        if "null" in types:
            yield None

    def _of_objects(self, said: JsonObject, depth: int) -> Iterator[Json]:
        """Only what has to be there, then all there is; with more than that; what demands others, with and without it;
        then the boundaries of each field in turn."""
        members = self._members(said)
        least = self._filled(members, members.required, depth)
        whole = self._filled(members, [*members.required, *members.known], depth)
        yield least
        yield whole
        if members.takes_others:
            yield from self._with_others(members, least, depth)
        for name in members.triggers:
            yield self._filled(members, [*members.required, name], depth)
            yield self._filled(members, [each for each in whole if each != name], depth)
        edges = (self._with(members, whole, name, depth) for name in whole)
        yield from _in_turn(edges)

    def _with(self, members: Members, whole: JsonObject, name: str, depth: int) -> Iterator[Json]:
        for each in self._edges(members.schema_of(name), depth + 1):
            yield {**whole, name: each}

    def _with_others(self, members: Members, least: JsonObject, depth: int) -> Iterator[Json]:
        """One member more, each boundary of it, and as many as may be."""
        for name in members.other_names[:3]:
            yield {**least, name: self._drawn(members.schema_of(name), depth + 1)}
        for name in members.other_names[:1]:
            yield from ({**least, name: each} for each in self._edges(members.schema_of(name), depth + 1))
        yield self._filled(members, [*least, *members.other_names], depth)

    def _filled(self, members: Members, wanted: Iterable[str], depth: int) -> JsonObject:
        """An object with these members as far as there may be so many, and with more where that is too few."""
        required = members.required
        names = [*required, *(each for each in members.with_dependents(wanted) if each not in required)]
        names = names[: max(len(required), members.most)]
        spare = (each for each in (*members.known, *members.other_names) if each not in names)
        names += islice(spare, max(0, members.least - len(names)))
        return {name: self._drawn(members.schema_of(name), depth + 1) for name in names}

    def _of_lists(self, said: JsonObject, depth: int) -> Iterator[Json]:
        """The shortest, one more, the longest; then the boundaries of an item, beside others and often."""
        least, most = _lengths(said)
        for length in dict.fromkeys((least, min(most, least + 1), min(most, _LONGEST_EDGE))):
            yield self._list_of(said, length, depth)
        first, room = _item(said, 0), min(most, max(1, least, _contained(said) + 1))
        for each in self._edges(first, depth + 1):
            yield self._list_of(said, room, depth, [each])
        if not said.get("uniqueItems"):
            yield from ([each] * min(most, max(2, least)) for each in self._edges(first, depth + 1))

    def _list_of(self, said: JsonObject, length: int, depth: int, first: Sequence[Json] = ()) -> list[Json]:
        """So many items, the first given; no two the same where that is demanded, as far as there are so many."""
        items: list[Json] = [*first]
        for place in range(len(items), length):
            schema = _item(said, place)
            if place - len(first) < _contained(said):
                schema = together(json_object(schema), json_object(said["contains"]))
            unlike = items if said.get("uniqueItems") else ()
            items.append(self._unlike(unlike, schema, depth))
        return items

    def _unlike(self, items: Sequence[Json], schema: Json, depth: int) -> Json:
        """An item that is none of these, as far as one is found."""
        there = {_key(each) for each in items}
        drawn = (self._drawn(schema, depth + 1) for _ in range(_TRIES))
        candidates = chain(drawn, self._edges(schema, depth + 1))
        return next((each for each in candidates if _key(each) not in there), None)

    def _drawn(self, schema: Json, depth: int) -> Json:
        self._room -= 1
        forms = forms_of(schema, self._root) if depth < _DEEPER_THAN_ANY else []
        said = self._random.choice(forms) if forms else {}
        if "const" in said:
            return said["const"]
        if values := json_list(said.get("enum")):
            return self._random.choice(values)
        match self._random.choice(sorted(types_meant(said)) or ["string"]):
            case "object":
                return self._object(said, depth)
            case "array":
                least, most = _lengths(said)
                most = least if depth > _DEEPEST else max(least, min(most, _LONGEST_LIST))
                return self._list_of(said, self._random.randint(least, most), depth)
            case "integer":
                return number_drawn(said, self._random, whole=True)
            case "number":
                return number_drawn(said, self._random, whole=False)
            case "boolean":
                return self._random.random() < 0.5
            case "null":
                return None
            case _:
                return text_drawn(said, self._random)

    def _object(self, said: JsonObject, depth: int) -> JsonObject:
        members = self._members(said)
        # The deeper, the fewer: a schema that has itself in it, often, would have no end.
        may = self._room > 0 and depth < _DEEPEST
        wanted = [each for each in members.known if may and self._random.random() < 0.7 / max(1, depth)]
        if members.takes_others and may:
            others = members.other_names
            wanted += self._random.sample(others, min(len(others), self._random.randint(0, 3)))
        return self._filled(members, wanted, depth)


def _key(value: Json) -> str:
    """What tells one value from another; 1 and true are two."""
    return json.dumps(value, sort_keys=True)


def _in_turn(several: Iterable[Iterator[Json]]) -> Iterator[Json]:
    """The first of each, then the second of each that has one, and so on."""
    left = [*several]
    while left:
        going: list[Iterator[Json]] = []
        for each in left:
            for value in islice(each, 1):
                yield value
                going.append(each)
        left = going


def _item(said: JsonObject, place: int) -> Json:
    """What the item in this place has to meet."""
    items = said.get("items", {})
    first = json_list(said.get("prefixItems")) or (items if isinstance(items, list) else [])
    if place < len(first):
        return first[place]
    return said.get("additionalItems", {}) if isinstance(items, list) else items


def _lengths(said: JsonObject) -> tuple[int, int]:
    """The least and the most items; between the two, and not far from the least, there is something to try."""
    first = json_list(said.get("prefixItems"))
    least = max(_whole(said.get("minItems"), 0), _contained(said))
    longest = len(first) if said.get("items") is False else max(_LONGEST_LIST, len(first), least)
    return least, max(least, _whole(said.get("maxItems"), longest)) if "maxItems" in said else max(least, longest)


def _contained(said: JsonObject) -> int:
    """How many items have to be like `contains`."""
    return _whole(said.get("minContains"), 1) if isinstance(said.get("contains"), dict) else 0


def _whole(value: Json, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default
