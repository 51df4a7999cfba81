"""Texts and patterns of a scenario file that are held to what they may be as the file is read, each with its place."""

import re
from typing import Annotated

from pydantic import AfterValidator, JsonValue
from pydantic_core import PydanticCustomError

from gateway.testing.scenarios.matching import flaw, values_at


def _checked_path(path: str) -> str:
    try:
        values_at(None, path)
    except ValueError as error:
        raise PydanticCustomError("path", "{wrong}", {"wrong": str(error)}) from error
    return path


def _checked_regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise PydanticCustomError("regex", "{wrong}", {"wrong": f"no regular expression: {error}"}) from error
    return text


def _checked_pattern(pattern: JsonValue) -> JsonValue:
    if wrong := flaw(pattern):
        raise PydanticCustomError("pattern", "{wrong}", {"wrong": wrong})
    return pattern


Path = Annotated[str, AfterValidator(_checked_path)]
Regex = Annotated[str, AfterValidator(_checked_regex)]
Pattern = Annotated[JsonValue, AfterValidator(_checked_pattern)]
"""See `matching`."""
