"""What a tool made of an operation answers with: the schema of its success, and values that hold to it. No I/O.

MCP clients refuse an answer that does not hold to the schema its tool was listed with, and documents are wrong often
enough. So the schema has a last alternative for what the document did not foresee: the answer stays the answer, it is
said how it differs, and no client has a reason to refuse it. An error would be worse: what was done would look undone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from adapters.openapi.document import Unresolved, resolved
from adapters.openapi.schemas import SchemaReader
from gateway.core.contracts import violation
from gateway.core.json import Json, JsonObject, json_object

RESULT, OTHERWISE, BODY = "result", "otherwise", "body"
LARGEST_SCHEMA = 16 * 1024
"""Characters; lists carry it for every tool."""
LARGEST_CHECKED = 128 * 1024
"""Bytes of an answer that is held against the schema."""
_MOST_WHY = 300
_UNFORESEEN: JsonObject = {
    "properties": {
        OTHERWISE: {"type": "string", "description": "How the answer is another than its document foresees."},
        BODY: {"description": "The answer."},
    },
    "required": [OTHERWISE],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a success looks like."""

    schema: JsonObject = field(repr=False)
    """As `outputSchema`."""
    kinds: tuple[tuple[JsonObject, bool], ...] = field(repr=False)
    """The alternatives, each alone, and whether the value stands under `RESULT` because it need not be an object."""

    def held(self, value: Json, size_bytes: int) -> JsonObject:
        """An answer as the schema has it."""
        if size_bytes > LARGEST_CHECKED:
            return unforeseen("too large to be held against its document", value)
        why = ""
        for schema, wrapped in self.kinds:
            said: Json = {RESULT: value} if wrapped else value
            broken = violation(schema, said)
            if not broken and isinstance(said, dict):
                return said
            why = why or broken.partition("; the contract is")[0] or "it is no object"
        return unforeseen(why[:_MOST_WHY], value)


def unforeseen(why: str, body: Json = None) -> JsonObject:
    """An answer the document did not foresee."""
    return {OTHERWISE: why} if body is None else {OTHERWISE: why, BODY: body}


def outcome_of(document: JsonObject, operation: JsonObject, schemas: SchemaReader) -> Outcome | None:
    """None where the document has no JSON schema for a success, or none that can be held to."""
    try:
        found = [*_successes(document, operation)]
        if not found:
            return None
        alone, definitions = schemas.alone(*found, absent="writeOnly")
        wrapped = [not _is_object(document, each) for each in found]
    except Unresolved:
        return None
    rest: JsonObject = {"$defs": definitions} if definitions else {}
    kinds: list[tuple[JsonObject, bool]] = []
    for each, wrap in zip(alone, wrapped, strict=True):
        schema: JsonObject = {"properties": {RESULT: each}, "required": [RESULT]} if wrap else json_object(each)
        if (schema, wrap) not in kinds:
            kinds.append((schema, wrap))
    said: JsonObject = {"type": "object", "anyOf": [*(schema for schema, _ in kinds), _UNFORESEEN], **rest}
    if len(str(said)) > LARGEST_SCHEMA or not _usable(said):
        return None
    return Outcome(schema=said, kinds=tuple(({**schema, **rest}, wrap) for schema, wrap in kinds))


def _usable(schema: JsonObject) -> bool:
    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError):
        return False
    return not violation(schema, unforeseen(""))


def _successes(document: JsonObject, operation: JsonObject) -> Iterator[Json]:
    for status, each in sorted(json_object(operation.get("responses")).items()):
        if not status.startswith("2"):
            continue
        for media_type, media in json_object(resolved(document, each).get("content")).items():
            schema = json_object(json_object(media).get("schema"))
            if media_type.partition(";")[0].strip().lower().endswith(("/json", "+json")) and schema:
                yield schema


def _is_object(document: JsonObject, schema: Json) -> bool:
    found = resolved(document, schema)
    return found.get("type") == "object" and found.get("nullable") is not True
