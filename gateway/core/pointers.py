"""JSON Pointers (RFC 6901): where in a value something stands, and what does. Pure."""

import re
from collections.abc import Iterable

from gateway.core.json import Json

_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


class NothingThere(LookupError):
    """The value has nothing at the pointer."""


def is_pointer(text: str) -> bool:
    """Whether it is one: empty for the whole value, or steps that each begin with a slash."""
    return _POINTER.fullmatch(text) is not None


def steps_in(pointer: str) -> list[str]:
    """The names on the way, as they stand in the value."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def at_pointer(value: Json, pointer: str) -> Json:
    """What stands there; of a list, entries count from 0. Raises: NothingThere."""
    return _at(value, steps_in(pointer))


def referred_to(document: Json, reference: Json) -> Json:
    """What a reference within its own document, `#/$defs/price`, leads to; null where that is nothing."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    try:
        return at_pointer(document, reference.removeprefix("#"))
    except NothingThere:
        return None


def _at(value: Json, steps: Iterable[str]) -> Json:
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and _INDEX.fullmatch(step) and int(step) < len(value):
            value = value[int(step)]
        else:
            raise NothingThere(step)
    return value
