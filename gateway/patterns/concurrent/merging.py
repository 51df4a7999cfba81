"""Many results made one, by rule: nothing anybody said is lost, and whoever said otherwise is named. Pure.

Every rule but `first` gives the same whatever the order in which the results came. A field on which nobody could be
preferred is null in the merged value and stands, with everything that was said, among the conflicts. Null itself says
nothing and contradicts nobody.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median_low
from typing import Literal, TypeAlias, get_args

from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.patterns.shared.sameness import as_whole, identity, number_in, number_of, same

MergeRule: TypeAlias = Literal["first", "all", "union", "vote", "mean", "owner"]
MERGE_RULES: tuple[MergeRule, ...] = get_args(MergeRule)

ANSWER = "answer"
"""Field under which an answer stands that is no object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one of several said."""

    who: str
    value: Json
    worker: str = ""
    """Whom fields may belong to; by default whoever said it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """The same field, different values."""

    field: str
    """Its path: `price`, `terms.days`, `positions[7].price`."""
    said: tuple[tuple[Json, tuple[str, ...]], ...]
    """Each value with those who said it."""
    resolved: bool = False
    """The rule preferred one of them, or made one of them all."""
    chosen: Json = None

    @property
    def who(self) -> frozenset[str]:
        return frozenset(name for _, names in self.said for name in names)

    def to_json(self) -> JsonObject:
        said: list[Json] = [{"value": value, "by": [*names]} for value, names in self.said]
        shown: JsonObject = {"field": self.field, "said": said, "resolved": self.resolved}
        return {**shown, "chosen": self.chosen} if self.resolved else shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    value: Json
    conflicts: tuple[Conflict, ...] = ()

    @property
    def open(self) -> tuple[Conflict, ...]:
        return tuple(each for each in self.conflicts if not each.resolved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """How several become one."""

    rule: MergeRule = "all"
    compared: bool = True
    """Whether `all` looks for conflicts; not where each was asked about something else."""
    owners: Mapping[str, str] = field(default_factory=dict[str, str])
    """Path of a field -> the worker whose word counts there and below."""
    keys: Mapping[str, str] = field(default_factory=dict[str, str])
    """Path of a list -> the field that says which of its entries are about the same."""
    tolerance: float = 0.0
    """Numbers that differ by no more than this share of the larger one are the same."""
    tolerances: Mapping[str, float] = field(default_factory=dict[str, float])
    """Path of a field -> by how much numbers may differ there; in place of the share."""
    free: frozenset[str] = frozenset()
    """Paths of fields in which everybody may say something else: kept side by side."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the results a value stands."""

    path: str = ""
    """As it is told: `positions[7].price`."""
    pattern: str = ""
    """As settings name it, without the keys of entries, whatever stands in those: `positions.price`."""

    def member(self, name: str) -> "Place":
        return Place(*(f"{each}.{name}" if each else name for each in (self.path, self.pattern)))

    def entry(self, key: str) -> "Place":
        """`key`: its identity."""
        return Place(f"{self.path}[{key.strip(chr(34))}]", self.pattern)


def merged(said: Sequence[Said], ways: Merging) -> Merged:
    """All of them as one. `first` takes the first of the sequence; for the other rules its order does not count."""
    if ways.rule == "first":
        return Merged(value=said[0].value if said else None)
    ordered = sorted(said, key=lambda each: each.who)
    if ways.rule == "all":
        value: JsonObject = {each.who: each.value for each in said}
        objects = [each for each in ordered if isinstance(each.value, dict)]
        return Merged(value=value, conflicts=_merged(Place(), objects, ways, "").conflicts if ways.compared else ())
    fields = [
        each if isinstance(each.value, dict) else Said(who=each.who, worker=each.worker, value={ANSWER: each.value})
        for each in ordered
        if each.value is not None
    ]
    return _merged(Place(), fields, ways, "")


def _merged(place: Place, said: list[Said], ways: Merging, owner: str) -> Merged:
    said = [each for each in said if each.value is not None]
    if not said:
        return Merged(value=None)
    pattern = place.pattern
    owner = ways.owners.get(pattern, owner)
    if pattern in ways.free:
        return Merged(value={each.who: each.value for each in said})
    if all(isinstance(each.value, dict) for each in said):
        return _merged_objects(place, said, ways, owner)
    if all(isinstance(each.value, list) for each in said):
        key = ways.keys.get(pattern, "")
        if key and all(_has_key(entry, key) for each in said for entry in json_list(each.value)):
            return _merged_entries(place, key, said, ways, owner)
        if ways.rule in ("union", "mean", "all") or (ways.rule == "owner" and not _of_owner(said, owner)):
            return Merged(value=_united(said))
    return _settled(place, said, ways, owner)


def _merged_objects(place: Place, said: list[Said], ways: Merging, owner: str) -> Merged:
    names = dict.fromkeys(name for each in said for name in json_object(each.value))
    value: JsonObject = {}
    conflicts: list[Conflict] = []
    for name in names:
        within = [
            Said(who=each.who, worker=each.worker, value=json_object(each.value)[name])
            for each in said
            if name in json_object(each.value)
        ]
        one = _merged(place.member(name), within, ways, owner)
        value[name] = one.value
        conflicts += one.conflicts
    return Merged(value=value, conflicts=tuple(conflicts))


def _merged_entries(place: Place, key: str, said: list[Said], ways: Merging, owner: str) -> Merged:
    """Lists whose entries say what they are about: entries about the same are made one."""
    about: dict[str, list[Said]] = {}
    for each in said:
        for entry in json_list(each.value):
            one = Said(who=each.who, worker=each.worker, value=entry)
            about.setdefault(identity(json_object(entry)[key]), []).append(one)
    entries: list[Json] = []
    conflicts: list[Conflict] = []
    for which, those in about.items():
        one = _merged(place.entry(which), those, ways, owner)
        entries.append(one.value)
        conflicts += one.conflicts
    return Merged(value=entries, conflicts=tuple(conflicts))


def _united(said: list[Said]) -> list[Json]:
    """Every different entry once; a list that all gave is left as it is."""
    if all(same(each.value, said[0].value) for each in said):
        return json_list(said[0].value)
    return [*{identity(entry): entry for each in said for entry in json_list(each.value)}.values()]


def _settled(place: Place, said: list[Said], ways: Merging, owner: str) -> Merged:
    """A field whose values cannot be taken apart any further."""
    groups = _groups(place, said, ways)
    agreed = groups[0][0]
    numbers = [number for each in said if (number := number_in(each.value)) is not None]
    if ways.rule == "mean" and len(numbers) == len(said):
        agreed = _mean(numbers)
    if len(groups) == 1:
        return Merged(value=agreed)
    resolved, chosen = False, None
    if ways.rule == "mean" and len(numbers) == len(said):
        resolved, chosen = True, agreed
    elif ways.rule == "vote":
        resolved, chosen = _voted(groups)
    elif ways.rule == "owner" and (own := _of_owner(said, owner)):
        own_groups = _groups(place, own, ways)
        resolved, chosen = len(own_groups) == 1, own_groups[0][0]
    conflict = Conflict(
        field=place.path or ANSWER, said=tuple(groups), resolved=resolved, chosen=chosen if resolved else None
    )
    return Merged(value=conflict.chosen, conflicts=(conflict,))


def _groups(place: Place, said: list[Said], ways: Merging) -> list[tuple[Json, tuple[str, ...]]]:
    """Those who said the same, under one value each: for numbers the lower middle one of those that are close."""
    alike: dict[str, list[Said]] = {}
    numbers = [each for each in said if number_in(each.value) is not None]
    start: Json = None
    for number in sorted(numbers, key=lambda each: number_of(each.value)):
        if start is None or not _close(start, number.value, place, ways):
            start = number.value
        alike.setdefault(f"number {identity(start)}", []).append(number)
    for each in said:
        if number_in(each.value) is None:
            alike.setdefault(identity(each.value), []).append(each)
    found: list[tuple[Json, tuple[str, ...]]] = []
    for those in alike.values():
        middle = those[0].value
        if number_in(middle) is not None:
            middle = median_low([number_of(each.value) for each in those])
        found.append((as_whole(middle), tuple(sorted({each.who for each in those}))))
    return sorted(found, key=lambda group: (group[1], identity(group[0])))


def _voted(groups: list[tuple[Json, tuple[str, ...]]]) -> tuple[bool, Json]:
    most = max(len(names) for _, names in groups)
    leading = [value for value, names in groups if len(names) == most]
    return len(leading) == 1, leading[0]


def _of_owner(said: list[Said], owner: str) -> list[Said]:
    return [each for each in said if owner and (each.worker or each.who) == owner]


def _close(one: Json, other: Json, place: Place, ways: Merging) -> bool:
    first, second = number_of(one), number_of(other)
    apart = abs(first - second)
    allowed = ways.tolerances.get(place.pattern)
    return apart <= (ways.tolerance * max(abs(first), abs(second)) if allowed is None else allowed)


def _mean(numbers: list[float]) -> Json:
    # Exactly rounded, so that the order of the numbers does not count.
    return as_whole(math.fsum(numbers) / len(numbers))


def _has_key(entry: Json, key: str) -> bool:
    return isinstance(json_object(entry).get(key), str | int | float)
