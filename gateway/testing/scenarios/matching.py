"""Patterns over JSON values: a part of what has to be there, or what a value has to be like. Pure.

Plain JSON stands for itself; of an object only the members that are named, everywhere in it. A mapping whose only keys
begin with `$` says what the value is like.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from gateway.core.contracts import violation
from gateway.core.json import Json, JsonObject

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+|\*)\]")
_LONGEST_SHOWN = 200


def mismatch(pattern: Json, value: Json, at: str = "") -> str:
    """Where and how `value` is not what the pattern says; empty where it is."""
    if isinstance(pattern, dict):
        if pattern and all(name.startswith("$") for name in pattern):
            return next(filter(None, (_operator(name, each, value, at) for name, each in pattern.items())), "")
        return _of_object(pattern, value, at)
    if isinstance(pattern, list):
        return _of_list(pattern, value, at)
    if _same(pattern, value):
        return ""
    return f"{at or 'it'} is {shown(value)}, not {shown(pattern)}"


def flaw(pattern: Json, at: str = "") -> str:
    """Why the pattern could never mean anything, and where in it; empty where it can. `$is` takes whatever there is."""
    if isinstance(pattern, list):
        inner: list[tuple[str, Json]] = [(f"{at}[{index}]", each) for index, each in enumerate(pattern)]
    elif not isinstance(pattern, dict):
        return ""
    elif pattern and all(name.startswith("$") for name in pattern):
        return next(filter(None, (_flaw_of(name, each, at) for name, each in pattern.items())), "")
    else:
        inner = [(f"{at}.{name}" if at else name, each) for name, each in pattern.items()]
    return next(filter(None, (flaw(each, place) for place, each in inner)), "")


def _flaw_of(name: str, wanted: Json, at: str) -> str:
    where = f"{at}: " if at else ""
    if name not in OPERATORS:
        return f"{where}there is no operator {name}; there are {', '.join(OPERATORS)}"
    takes = _TAKES.get(name)
    if takes is not None and not takes[0](wanted):
        return f"{where}{name} takes {takes[1]}, and {shown(wanted)} is none"
    if name in _OF_PATTERNS:
        return flaw(wanted, f"{at}.{name}" if at else name)
    if name == "$regex":
        try:
            re.compile(said_in(wanted))
        except re.error as error:
            return f"{where}$regex is no regular expression: {error}"
    return ""


def values_at(value: Json, path: str) -> list[Json]:
    """What stands at a path such as `$.lines[0].amount`, `lines[*].amount`; empty where nothing does.

    Raises: ValueError: it is no path.
    """
    found = [value]
    for step in _steps(path):
        found = [inner for each in found for inner in _below(each, step)]
    return found


def shown(value: Json) -> str:
    """The value on one line, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def said_in(value: Json) -> str:
    """The value as text: itself, or as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _of_object(pattern: JsonObject, value: Json, at: str) -> str:
    if not isinstance(value, dict):
        return f"{at or 'it'} is {shown(value)}, not an object"
    for name, each in pattern.items():
        inner = f"{at}.{name}" if at else name
        if name not in value:
            if isinstance(each, dict) and each.get("$exists") is False:
                continue
            return f"{inner} is missing"
        if wrong := mismatch(each, value[name], inner):
            return wrong
    return ""


def _of_list(pattern: list[Json], value: Json, at: str) -> str:
    if not isinstance(value, list):
        return f"{at or 'it'} is {shown(value)}, not a list"
    if len(pattern) != len(value):
        return f"{at or 'it'} has {len(value)} entries, not {len(pattern)}: {shown(value)}"
    found = (mismatch(each, value[index], f"{at}[{index}]") for index, each in enumerate(pattern))
    return next(filter(None, found), "")


def _same(one: Json, other: Json) -> bool:
    """Equal as JSON: `true` is no 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _operator(name: str, wanted: Json, value: Json, at: str) -> str:
    holds = OPERATORS.get(name)
    if holds is None:
        return f"{at or 'the pattern'}: there is no operator {name}; there are {', '.join(OPERATORS)}"
    if holds(wanted, value):
        return ""
    return f"{at or 'it'} is {shown(value)}, which is not {name} {shown(wanted)}"


def _contains(wanted: Json, value: Json) -> bool:
    if isinstance(value, list):
        return any(not mismatch(wanted, each) for each in value)
    return said_in(wanted).lower() in said_in(value).lower()


def _number(value: Json) -> float | None:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def _compared(compare: Callable[[float, float], bool]) -> Callable[[Json, Json], bool]:
    def holds(wanted: Json, value: Json) -> bool:
        one, other = _number(value), _number(wanted)
        return one is not None and other is not None and compare(one, other)

    return holds


def _between(wanted: Json, value: Json) -> bool:
    number, bounds = _number(value), _bounds(wanted)
    return number is not None and bounds is not None and bounds[0] <= number <= bounds[1]


def _bounds(wanted: Json) -> tuple[float, float] | None:
    match [_number(each) for each in wanted] if isinstance(wanted, list) else []:
        case [float() as low, float() as high]:
            return low, high
        case _:
            return None


def _any_of(wanted: Json, value: Json) -> bool:
    return isinstance(wanted, list) and any(not mismatch(each, value) for each in wanted)


def _all_of(wanted: Json, value: Json) -> bool:
    return isinstance(wanted, list) and all(not mismatch(each, value) for each in wanted)


def _length(wanted: Json, value: Json) -> bool:
    return isinstance(value, list | dict | str) and not mismatch(wanted, len(value))


def _schema(wanted: Json, value: Json) -> bool:
    return isinstance(wanted, dict) and not violation(wanted, value)


OPERATORS: Mapping[str, Callable[[Json, Json], bool]] = MappingProxyType(
    {
        "$is": lambda wanted, value: _same(wanted, value),
        "$not": lambda wanted, value: bool(mismatch(wanted, value)),
        "$exists": lambda wanted, value: wanted is True,
        "$contains": _contains,
        "$lacks": lambda wanted, value: not _contains(wanted, value),
        "$regex": lambda wanted, value: re.search(said_in(wanted), said_in(value)) is not None,
        "$oneOf": _any_of,
        "$all": _all_of,
        "$each": lambda wanted, value: isinstance(value, list) and all(not mismatch(wanted, each) for each in value),
        "$gt": _compared(lambda one, other: one > other),
        "$ge": _compared(lambda one, other: one >= other),
        "$lt": _compared(lambda one, other: one < other),
        "$le": _compared(lambda one, other: one <= other),
        "$between": _between,
        "$length": _length,
        "$schema": _schema,
    }
)
"""What a value may be asked to be like: `{$gt: 3}`, `{$contains: text}`; several in one mapping all have to hold."""

_OF_PATTERNS = frozenset({"$not", "$contains", "$lacks", "$oneOf", "$all", "$each", "$length"})
"""What they take is a pattern, or several."""
_TAKES: Mapping[str, tuple[Callable[[Json], bool], str]] = MappingProxyType(
    {
        "$exists": (lambda wanted: isinstance(wanted, bool), "true or false"),
        **dict.fromkeys(("$gt", "$ge", "$lt", "$le"), (lambda wanted: _number(wanted) is not None, "a number")),
        "$between": (lambda wanted: _bounds(wanted) is not None, "a list of two numbers"),
        **dict.fromkeys(("$oneOf", "$all"), (lambda wanted: isinstance(wanted, list), "a list")),
        "$schema": (lambda wanted: isinstance(wanted, dict), "a JSON Schema"),
    }
)


def _steps(path: str) -> Iterator[str | int]:
    rest = path.removeprefix("$").removeprefix(".")
    place = 0
    while place < len(rest):
        found = _STEP.match(rest, place)
        if found is None:
            raise ValueError(f"{path!r} is no path: write for example lines[0].amount, or lines[*].amount")
        yield found[1] if found[1] is not None else "*" if found[2] == "*" else int(found[2])
        place = found.end()
        if place < len(rest) and rest[place] == ".":
            place += 1


def _below(value: Json, step: str | int) -> list[Json]:
    if isinstance(value, list):
        if step == "*":
            return value
        return [value[step]] if isinstance(step, int) and step < len(value) else []
    if isinstance(value, dict):
        if step == "*":
            return [*value.values()]
        return [value[step]] if isinstance(step, str) and step in value else []
    return []
