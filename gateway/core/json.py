"""JSON as a type, its canonical bytes, and how strangers' JSON is read. Knows nothing of what the JSON means."""

import json
from collections.abc import Callable, Mapping
from math import isinf
from typing import NoReturn, TypeAlias, cast

import rfc8785

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"


def canonical_json(value: Json) -> bytes:
    """Canonical bytes of a JSON value, the same in every language (RFC 8785).

    Raises: ValueError: the value is not JSON, or holds a number RFC 8785 cannot express.
    """
    return rfc8785.dumps(value)


def strict_json(raw: bytes) -> Json:
    """JSON to Python, for what is judged and then handed on as it came: every reader must find the same in it.

    Raises: ValueError: not JSON, nested too deeply, a member named twice, or a number that most readers take for
    infinity; says which, and of a number where.
    """
    text = raw.decode(json.detect_encoding(raw), "surrogatepass")
    try:
        value: Json = (_strict if len(text) < _DIGITS else _strict_of_long).decode(text)
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error
    except _Endless as error:
        raise ValueError(_endless_in(text)) from error
    return value


def endless_number(raw: bytes) -> str:
    """Where in JSON that a reader refused for its numbers the first endless one stands, as a sentence."""
    return _endless_in(raw.decode(json.detect_encoding(raw), "surrogatepass"))


_DIGITS = 308
"""A whole number of fewer is within what a double holds."""
_PLACE_CHARS = 200


class _Endless(ValueError):
    """A number beyond what a double holds: JavaScript reads it as infinity, and other readers each in their own way."""


def _object_of_once(pairs: list[tuple[str, Json]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is named twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise _Endless
    return number


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        _finite(text)
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


_strict = json.JSONDecoder(object_pairs_hook=_object_of_once, parse_float=_finite, parse_constant=_no_number)
_strict_of_long = json.JSONDecoder(
    object_pairs_hook=_object_of_once, parse_float=_finite, parse_int=_whole, parse_constant=_no_number
)


def _endless_in(text: str) -> str:
    """The place is written like `$.order.lines[2]`."""
    endless = object()

    def marked(read: Callable[[str], object]) -> Callable[[str], object]:
        def number(said: str) -> object:
            try:
                return read(said)
            except _Endless:
                return endless

        return number

    try:
        found: object = json.loads(text, parse_float=marked(_finite), parse_int=marked(_whole))
    except (ValueError, RecursionError):
        found = None
    todo: list[tuple[str, object]] = [("$", found)]
    while todo:
        place, each = todo.pop()
        if each is endless:
            return f"{place} is a number beyond 1.8e308, which nobody can reckon with"
        if isinstance(each, dict):
            members = cast("dict[str, object]", each)
            todo += [(_below(place, f".{name[:_PLACE_CHARS]}"), member) for name, member in reversed(members.items())]
        elif isinstance(each, list):
            items = [*enumerate(cast("list[object]", each))]
            todo += [(_below(place, f"[{number}]"), item) for number, item in reversed(items)]
    return "it has a number that nobody can reckon with"


def _below(place: str, step: str) -> str:
    """Never long: strangers choose how their members are called, and how deep they lie."""
    return place if place.endswith("…") else f"{place}{step}" if len(place) <= _PLACE_CHARS else f"{place}…"


def json_object(value: Json) -> JsonObject:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def json_list(value: Json) -> list[Json]:
    """`value` if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def json_text(value: Json, default: str = "") -> str:
    """`value` if it is a string, else `default`."""
    return value if isinstance(value, str) else default


def json_from(value: Mapping[str, object]) -> JsonObject:
    """Claim that a mapping built from JSON types is a JSON object."""
    return cast("JsonObject", dict(value))
