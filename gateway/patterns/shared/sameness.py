"""Whether two JSON values are the same, and which of them are numbers. Pure."""

import json

from gateway.core.json import Json


def same(one: Json, other: Json) -> bool:
    """Whether two values are the same JSON; 1 and 1.0 are, 1 and true are not."""
    return identity(one) == identity(other)


def identity(value: Json) -> str:
    """The same text for the same JSON."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)


def _plain(value: Json) -> Json:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return as_whole(value)


def number_in(value: Json) -> float | None:
    """None where it is none that can be reckoned with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Compared, not converted: JSON has whole numbers that no float can hold.
    return value if abs(value) < 1e300 else None


def number_of(value: Json) -> float:
    """The number; 0 where it is none."""
    return number_in(value) or 0


def as_whole(value: Json) -> Json:
    """3 for 3.0: the mean of whole numbers is one where it can be."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
