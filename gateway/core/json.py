"""JSON as a type, and its canonical bytes. Knows nothing of what the JSON means."""

from collections.abc import Mapping
from typing import TypeAlias, cast

import rfc8785

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"


def canonical_json(value: Json) -> bytes:
    """Canonical bytes of a JSON value, the same in every language (RFC 8785).

    Raises: ValueError: the value is not JSON, or holds a number RFC 8785 cannot express.
    """
    return rfc8785.dumps(value)


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
