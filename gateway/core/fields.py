"""Fields of a value by where they stand: what is there, and the value without some of it. Pure.

`policy_id` names a field, `pages[]` every entry of a list, `citations[].page` a field of every entry.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gateway.core.json import Json, json_list, json_object


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOut:
    """What is not to be seen of a value any more."""

    field: str
    values: tuple[str, ...]
    """As `key_of` gives them."""

    def left_of(self, value: Json) -> Json:
        return _without(value, self.field, frozenset(self.values))


def found_at(value: Json, field: str) -> list[Json]:
    """Every value that stands at the field; none where there is no such field."""
    head, _, rest = field.partition(".")
    fields, name = json_object(value), head.removesuffix("[]")
    found = fields.get(name)
    entries: list[Json] = [found]
    if isinstance(found, list) or name not in fields:
        entries = json_list(found)
    return [each for entry in entries for each in found_at(entry, rest)] if rest else entries


def value_at(value: Json, path: str) -> Json:
    """What stands at `a.b`, no entry of a list; the value itself for an empty path, null where nothing does."""
    for name in path.split(".") if path else ():
        value = json_object(value).get(name)
    return value


def without(value: Json, field: str, bad: Iterable[Json]) -> Json:
    """The value without what is `bad` at the field: without the entries of the innermost list, else the field."""
    return _without(value, field, frozenset(map(key_of, bad)))


def _without(value: Json, field: str, bad: frozenset[str]) -> Json:
    fields = json_object(value)
    head, _, rest = field.partition(".")
    name = head.removesuffix("[]")
    if name not in fields:
        return value
    found = fields[name]
    if isinstance(found, list):
        kept: Json = [*_kept(found, rest, bad)]
    elif not rest:
        kept = None if among(found, bad) else found
    else:
        kept = _without(found, rest, bad)
    if kept is None and (found is not None or (not rest and among(None, bad))):
        return {key: each for key, each in fields.items() if key != name}
    return {**fields, name: kept}


def among(value: Json, keys: frozenset[str]) -> bool:
    """Whether the value is one of those with these keys."""
    # As JSON tells values apart: for Python true is 1.
    return key_of(value) in keys


def key_of(value: Json) -> str:
    return json.dumps(value, sort_keys=True)


def _kept(entries: list[Json], rest: str, bad: frozenset[str]) -> Iterator[Json]:
    for entry in entries:
        if not rest:
            if not among(entry, bad):
                yield entry
        elif "[]" in rest:
            yield _without(entry, rest, bad)
        elif not any(among(each, bad) for each in found_at(entry, rest)):
            yield entry
