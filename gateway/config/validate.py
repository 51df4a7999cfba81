"""A section's values against its type: every error at once, each with its place and what would be right.

Knows pydantic's errors and how to say them; knows no section by name.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from gateway.config.document import Document, child
from gateway.config.problems import Problem, closest
from gateway.config.schema import Shape
from gateway.core.json import Json

REFERENCE = "write a reference to it: env:NAME, file:PATH or keyring:SERVICE/NAME"
_LONGEST_SHOWN = 60
_SECRET_WORDS = frozenset(
    {
        *("key", "keys", "secret", "secrets", "token", "tokens", "password", "passwords", "passwd", "passphrase"),
        *("credential", "credentials", "authorization", "apikey", "cookie", "bearer", "private", "pepper", "dsn"),
    }
)
_SECRET_MAPPINGS = frozenset({"headers", "env"})

_EXPECTED: Mapping[str, str] = {
    "string_type": "expected text",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "decimal_type": "expected a number",
    "decimal_parsing": "expected a number",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "set_type": "expected a list",
    "frozen_set_type": "expected a list",
    "dict_type": "expected a mapping",
    "mapping_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "dataclass_type": "expected a mapping",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "string_pattern_mismatch": "must match {pattern}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "finite_number": "expected a finite number",
}
_UNKNOWN_KEY = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_MISSING = frozenset({"missing", "missing_argument", "missing_keyword_only_argument"})
_OF_ITS_OWN = frozenset({"value_error", "assertion_error"})


def unknown_keys(data: Json, shape: Shape, path: str, document: Document) -> Iterator[Problem]:
    """Keys nothing reads. Asked of the schema, because not every type refuses what it does not know."""
    if isinstance(data, dict):
        for name, value in data.items():
            inner = child(path, name)
            if shape.closed and name not in shape.names:
                yield _unknown_key(name, shape, inner, document)
            else:
                yield from unknown_keys(value, shape.entry(name), inner, document)
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from unknown_keys(value, shape.entry(index), child(path, index), document)


def validated(name: str, adapter: TypeAdapter[Any], data: Json, document: Document) -> tuple[object, list[Problem]]:
    """The section as its type has it, and what is wrong with it; the first counts only where nothing is."""
    try:
        return adapter.validate_python(data), []
    except ValidationError as error:
        grouped: dict[str, list[Problem]] = {}
        for detail in error.errors(include_url=False):
            problem = _problem(name, data, detail, document)
            if problem is not None:
                grouped.setdefault(problem.path, []).append(problem)
        return None, [_merged(problems) for problems in grouped.values()]


def is_secret(path: str) -> bool:
    """Whether what stands at the path looks like a secret, so that it is never shown."""
    steps = re.split(r'[.\["\]]+', path.lower())
    if not _SECRET_MAPPINGS.isdisjoint(steps):
        return True
    last = next((step for step in reversed(steps) if step and not step.isdigit()), "")
    return not _SECRET_WORDS.isdisjoint(re.split(r"[_-]+", last))


def _unknown_key(name: str, shape: Shape, path: str, document: Document) -> Problem:
    place = document.place_of(path)
    suggestion = closest(name, shape.names)
    expected = (
        "" if suggestion else f"known here: {', '.join(shape.names)}" if shape.names else "nothing can stand here"
    )
    return Problem(
        message="unknown key",
        path=path,
        line=place.line,
        column=place.column,
        expected=expected,
        suggestion=suggestion,
    )


def _problem(section: str, data: Json, detail: ErrorDetails, document: Document) -> Problem | None:
    path, found, missing = _walk(section, data, detail["loc"])
    kind = detail["type"]
    if kind in _UNKNOWN_KEY:
        return None
    if kind in _MISSING:
        inner = child(path, missing) if missing else path
        message = f"`{missing}` is missing" if missing else detail["msg"]
        place = document.place_of(path)
        return Problem(message=message, path=inner, line=place.line, column=place.column)
    context: dict[str, Any] = detail.get("ctx", {})
    place = document.place_of(path)
    message, expected = _words(kind, detail["msg"], context, found, secret=is_secret(path))
    line, column = place.value_line, place.value_column
    if isinstance(found, dict | list):
        line, column = place.line, place.column
    elif place.verbatim and isinstance(context.get("offset"), int):
        column += context["offset"]
    return Problem(
        message=message,
        path=path,
        line=line,
        column=column,
        expected=expected,
        suggestion=_suggestion(found, context),
    )


def _walk(section: str, data: Json, location: Iterable[int | str]) -> tuple[str, Json, str]:
    """Path, value, and the step that leads nowhere: pydantic's locations name alternatives of unions as well."""
    path, value, missing = section, data, ""
    for step in location:
        if isinstance(value, dict) and str(step) in value:
            path, value, missing = child(path, str(step)), value[str(step)], ""
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            path, value, missing = child(path, step), value[step], ""
        else:
            missing = str(step)
    return path, value, missing


def _words(kind: str, message: str, context: Mapping[str, Any], found: Json, *, secret: bool) -> tuple[str, str]:
    expected = _EXPECTED.get(kind, "").format_map(context)
    if kind in _OF_ITS_OWN or (not expected and context):
        # The type's own words; they may quote the value, which for a secret must not be shown.
        said = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
        if secret and _quotes(said, found):
            return "cannot be used as it stands", REFERENCE
        return said, REFERENCE if secret and "env:" not in said else ""
    if secret:
        return "is not what is expected here", expected or REFERENCE
    if found is None:
        return "has no value", expected or message
    return f"{_shown(found)} is not possible here", expected or message[:1].lower() + message[1:]


def _quotes(message: str, found: Json) -> bool:
    texts = [found] if isinstance(found, str) else [str(each) for each in _scalars(found)]
    return any(len(text) > 2 and text in message for text in texts)


def _scalars(value: Json) -> Iterator[Json]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _scalars(each)
    elif value is not None and not isinstance(value, bool):
        yield value


def _shown(value: Json) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f"{value!r}" if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def _suggestion(found: Json, context: Mapping[str, Any]) -> str:
    choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
    return closest(found, choices) if isinstance(found, str) else ""


def _merged(problems: list[Problem]) -> Problem:
    """One problem where a value fits none of several alternatives."""
    first = problems[0]
    expected = " or ".join(dict.fromkeys(each.expected for each in problems if each.expected))
    suggestion = next((each.suggestion for each in problems if each.suggestion), "")
    return Problem(
        message=first.message,
        path=first.path,
        line=first.line,
        column=first.column,
        expected=expected,
        suggestion=suggestion,
    )
