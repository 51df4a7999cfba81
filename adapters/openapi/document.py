"""An OpenAPI document as JSON: read from its files, bounded, references followed inside them and nowhere else.

YAML is read by JSON's rules: dates stay texts, keys become texts, and aliases are refused, because a few hundred bytes
of them can stand for gigabytes.
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import ClassVar, cast

import orjson
import yaml

from adapters.openapi.files import PROBLEMS, in_one
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.pointers import NothingThere, at_pointer

LARGEST_BYTES = 16 * 1024 * 1024
"""Of all files of a document together."""
_DEEPEST = 100
_MOST_HOPS = 20


class Unresolved(Exception):
    """A reference that leads nowhere in the document."""


class _JsonLoader(yaml.CSafeLoader):
    """YAML whose scalars are JSON's."""

    yaml_implicit_resolvers: ClassVar = {  # pyright: ignore[reportIncompatibleVariableOverride] - as PyYAML has it
        first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_document(path: Path) -> JsonObject:
    """The document in a file, and in those beside it that it refers to; blocks.

    Raises: InvalidRequest: there is none, it is too large, or neither JSON nor YAML; or no OpenAPI 3.0 or 3.1.
    """
    document, size_bytes = _read(path, LARGEST_BYTES, "the OpenAPI document")
    if not json_text(document.get("openapi")).startswith(("3.0", "3.1")):
        raise InvalidRequest("the document must be OpenAPI 3.0 or 3.1: its member `openapi` says which")
    return in_one(path, document, _read, LARGEST_BYTES - size_bytes)


def _read(path: Path, most_bytes: int, name: str) -> tuple[JsonObject, int]:
    """What is in a file, and its size; `name` is what messages call it. Raises: InvalidRequest."""
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise InvalidRequest(f"{name} cannot be read: {error.strerror}") from error
    if len(content) > most_bytes:
        raise InvalidRequest(f"{name} is larger than {most_bytes} bytes, of {LARGEST_BYTES} for all files together")
    try:
        found = _json(_loaded(content), _DEEPEST)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{name} is neither JSON nor plain YAML: {_first_line(error)}") from error
    if not isinstance(found, dict):
        raise InvalidRequest(f"{name} must be an object, OpenAPI 3.0 or 3.1")
    return found, len(content)


def _loaded(content: bytes) -> object:
    if content.lstrip()[:1] == b"{":
        found: object = orjson.loads(content)
        return found
    for event in yaml.parse(content, _JsonLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases, which are not read")
    return yaml.load(content, _JsonLoader)  # noqa: S506 - a CSafeLoader


def resolved(document: JsonObject, value: Json) -> JsonObject:
    """An object, or what a reference object in its place leads to. Raises: Unresolved."""
    for _ in range(_MOST_HOPS):
        found = json_object(value)
        reference = found.get("$ref")
        if not isinstance(reference, str):
            return found
        value = at(document, reference)
    raise Unresolved("references lead in a circle")


def at(document: JsonObject, reference: str) -> Json:
    """What a reference within the document leads to. Raises: Unresolved: it leads out of it, or to nothing."""
    if not reference.startswith("#/"):
        why = json_text(json_object(document.get(PROBLEMS)).get(reference)) or "it leads out of the document"
        raise Unresolved(f"{reference[:100]} cannot be followed: {why}")
    # In a URI the braces of a path are written so.
    pointer = reference.removeprefix("#").replace("%7B", "{").replace("%7D", "}")
    try:
        return at_pointer(document, pointer)
    except NothingThere as error:
        raise Unresolved(f"{reference[:100]} leads to nothing") from error


def _json(value: object, depth: int) -> Json:
    if depth == 0:
        raise ValueError("nested too deeply")
    if isinstance(value, Mapping):
        entries = cast("Mapping[Hashable, object]", value).items()
        return {_key(key): _json(each, depth - 1) for key, each in entries}
    if isinstance(value, list):
        return [_json(each, depth - 1) for each in cast("list[object]", value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"a value of type {type(value).__name__}")


def _key(key: Hashable) -> str:
    # Status codes are numbers to YAML.
    return str(key).lower() if isinstance(key, bool) else str(key)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
