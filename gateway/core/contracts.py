"""Whether a value meets a JSON Schema, and what to tell whoever has to mend it. Fetches nothing.

Values are strangers'. So the keywords with regular expressions are matched by an engine that always ends soon.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import islice
from math import isfinite
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, UnknownType, ValidationError, relevance
from jsonschema.validators import extend  # pyright: ignore[reportUnknownVariableType] - partial stubs
from referencing import Registry
from referencing.exceptions import Unresolvable

from gateway.core.errors import InvalidRequest
from gateway.core.expressions import found, refuse_expression
from gateway.core.json import Json

_CONTRACT_CHARS = 400
_ERRORS_AT_MOST = 20
# An empty registry resolves nothing outside the schema itself: a `$ref` must not make the gateway fetch an address.
_NOTHING_ELSE: Registry[Any] = Registry()
# Contracts are strangers' too, and checked by use: a bound that is a text, a step of nought, a circle of references.
_UNUSABLE = (
    *(SchemaError, UnknownType, Unresolvable),
    *(TypeError, ValueError, AttributeError, ArithmeticError, RecursionError),
)


def violation(schema: Mapping[str, Json], value: Json) -> str:
    """Where and how `value` breaks the contract, with the contract; empty where it holds."""
    try:
        refuse_contract(schema)
        validator = _validator(schema, registry=_NOTHING_ELSE)
        errors: list[ValidationError] = list(islice(validator.iter_errors(value), _ERRORS_AT_MOST))
    except InvalidRequest as error:
        return f"the contract itself cannot be used: {error.message}"
    except _UNUSABLE as error:
        return f"the contract itself cannot be used: {type(error).__name__}"
    if not errors:
        return ""
    worst = max(errors, key=relevance)
    contract = json.dumps(schema, ensure_ascii=False)
    shown = contract if len(contract) <= _CONTRACT_CHARS else contract[:_CONTRACT_CHARS] + "…"
    return f"{worst.json_path}: {worst.message[:200]}; the contract is {shown}"


def refuse_contract(schema: Mapping[str, Json]) -> None:
    """Raises: InvalidRequest: an expression in it is none, or might take forever."""
    names: set[str] = set()
    todo: list[Json] = [dict(schema)]
    while todo:
        each = todo.pop()
        if isinstance(each, list):
            todo += each
        if not isinstance(each, dict):
            continue
        names |= each.keys()
        pattern, by_pattern = each.get("pattern"), each.get("patternProperties")
        if isinstance(pattern, str):
            refuse_expression(pattern)
        for one in by_pattern if isinstance(by_pattern, dict) else ():
            refuse_expression(one)
        todo += each.values()
    if {"patternProperties", "unevaluatedProperties"} <= names:
        raise InvalidRequest("patternProperties and unevaluatedProperties do not go together: use additionalProperties")


def _matches(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not found(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _members_by_pattern(validator: Any, patterns: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    for pattern, wanted in patterns.items() if isinstance(value, dict) else ():
        for name, member in cast("dict[str, Any]", value).items():
            if found(pattern, name):
                yield from validator.descend(member, wanted, path=name, schema_path=pattern)


def _other_members(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(value, dict):
        return
    patterns: Mapping[str, Any] = schema.get("patternProperties", {})
    members, known = cast("dict[str, Any]", value), schema.get("properties", {})
    others = [name for name in members if name not in known and not any(found(each, name) for each in patterns)]
    if isinstance(wanted, dict):
        for name in others:
            yield from validator.descend(members[name], wanted, path=name)
    elif not wanted and others:
        named = ", ".join(map(repr, others[:_ERRORS_AT_MOST]))
        yield ValidationError(f"Additional properties are not allowed ({named} unexpected)")


def _multiples(validator: Any, step: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    """By the numbers as they are written: 0.07 is a multiple of 0.01, although no float is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not isfinite(value) or _exact(value) % _exact(step):
        yield ValidationError(f"{value!r} is not a multiple of {step!r}")


def _exact(number: int | float) -> Fraction:
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))


_OURS = {
    "pattern": _matches,
    "patternProperties": _members_by_pattern,
    "additionalProperties": _other_members,
    "multipleOf": _multiples,
}
_validator = cast("Callable[..., Any]", extend(Draft202012Validator, _OURS))
