"""Of a call's arguments, those that conditions name, as the types Cedar has. Knows no rule and no engine.

An argument that is missing or of another type is simply not there. Numbers keep their order towards every number a
condition can name: those have at most three digits after the point, Cedar's decimals four, so whatever lies strictly
between two neighbours is put in the middle, and whatever lies beyond Cedar's range at its end.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_FLOOR, Context, Decimal
from typing import TypeAlias, assert_never, cast

from gateway.core.json import Json
from policies.access.cedar import attribute
from policies.access.expression import Slot, SlotType

MOST_ELEMENTS = 1000
"""Longest list that is looked into; a longer one counts as of another type, so conditions on it stay undecided."""

CedarValue: TypeAlias = bool | str | list["CedarValue"] | dict[str, dict[str, str]]

_MISSING = object()
_NO_OBJECT = object()
_GRID = Decimal("0.001")
_MIDDLE = Decimal("0.0005")
_END = Decimal(922_337_203_685_477)
_EXACT = Context(prec=60)


def projection(slots: Iterable[Slot]) -> Callable[[Json], dict[str, CedarValue]]:
    """What turns the arguments of a call into context attributes for `slots`."""
    named = tuple((attribute(slot), slot) for slot in sorted(set(slots), key=attribute))

    def project(arguments: Json) -> dict[str, CedarValue]:
        said: dict[str, CedarValue] = {}
        for name, slot in named:
            value = as_cedar(_found(arguments, slot.path), slot.type)
            if value is not None:
                said[name] = value
        return said

    return project


def trouble(arguments: Json, slot: Slot) -> str:
    """Why a condition on `slot` cannot be decided, or empty; names no value."""
    found = _found(arguments, slot.path)
    if found is _MISSING:
        return "" if slot.type == "present" else "is missing"
    if found is _NO_OBJECT:
        return "is not there to look at"
    return "" if as_cedar(found, slot.type) is not None else f"is not {_CALLED[slot.type]}"


_CALLED: Mapping[SlotType, str] = {
    "string": "a text",
    "boolean": "true or false",
    "number": "a number",
    "strings": "a list of texts",
    "booleans": "a list of true and false",
    "numbers": "a list of numbers",
    "present": "there",
}


def _found(arguments: Json, path: tuple[str, ...]) -> object:
    value: Json = arguments
    for key in path:
        if not isinstance(value, dict):
            return _NO_OBJECT
        if key not in value:
            return _MISSING
        value = value[key]
    return value


def as_cedar(value: object, type_: SlotType) -> CedarValue | None:
    """The value as a Cedar value of the type; None where it has another."""
    match type_:
        case "present":
            return None if value is _NO_OBJECT else value is not _MISSING
        case "boolean":
            return value if isinstance(value, bool) else None
        case "string":
            return value if isinstance(value, str) and _is_unicode(value) else None
        case "number":
            return _decimal(value)
        case "booleans":
            return _elements(value, "boolean")
        case "strings":
            return _elements(value, "string")
        case "numbers":
            return _elements(value, "number")
        case _:
            assert_never(type_)


def _elements(value: object, type_: SlotType) -> list[CedarValue] | None:
    if not isinstance(value, list):
        return None
    items = cast("list[object]", value)
    if len(items) > MOST_ELEMENTS:
        return None
    said: list[CedarValue] = []
    for each in items:
        element = as_cedar(each, type_)
        if element is None:
            return None
        said.append(element)
    return said


def _is_unicode(text: str) -> bool:
    """Whether every character can be encoded; JSON can smuggle in halves of surrogate pairs."""
    return not any("\ud800" <= char <= "\udfff" for char in text) if not text.isascii() else True


def _decimal(value: object) -> CedarValue | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # repr gives the shortest text that reads back as the same float, which is what the caller wrote.
    exact = Decimal(value) if isinstance(value, int) else Decimal(repr(value))
    if not exact.is_finite():
        return None
    exact = max(-_END, min(_END, exact))
    floor = exact.quantize(_GRID, rounding=ROUND_FLOOR, context=_EXACT)
    placed = floor if floor == exact else floor + _MIDDLE
    return {"__extn": {"fn": "decimal", "arg": f"{placed:f}"}}
