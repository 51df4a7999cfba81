"""Schemas of OpenAPI 3.0 and 3.1 as JSON Schema 2020-12 that stands by itself. Pure.

3.1 is JSON Schema already; 3.0 has words of its own (`nullable`, a Boolean `exclusiveMaximum`, `example`). References
into the document become references into `$defs`, so that types that refer to themselves stay as they are.
"""

from collections.abc import Iterable
from typing import Literal, TypeAlias

from adapters.openapi.document import Unresolved, at, resolved
from gateway.core.json import Json, JsonObject, json_list, json_object

_ONE = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then", "unevaluatedItems")
_ONE_MORE = ("unevaluatedProperties", "contentSchema")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_BY_NAME = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_ONLY_OPENAPI = frozenset({"discriminator", "xml", "externalDocs", "example", "nullable"})
_NOT_HELD = _ONLY_OPENAPI | {"format", "pattern", "default", "examples"}
"""Words of answers that are left out: each checks what the first two mean by rules of its own, and the rest is long."""
MOST_DEFINITIONS = 400
"""Types one operation may draw in; a document whose types all know each other would fill every tool."""


Absent: TypeAlias = Literal["readOnly", "writeOnly"]
"""Members of which kind are not there, whatever `required` says (OpenAPI, schema object)."""


class SchemaReader:
    """Schemas of one document."""

    def __init__(self, document: JsonObject) -> None:
        self._document = document
        self._old = str(document.get("openapi", "")).startswith("3.0")

    def alone(self, *schemas: Json, absent: Absent = "readOnly") -> tuple[list[Json], JsonObject]:
        """Schemas, and the definitions they refer to under `#/$defs/…`; by default of what is sent.

        Raises: Unresolved: a reference leads nowhere, or far too much depends on them.
        """
        names: dict[str, str] = {}
        found = [self._schema(each, names, absent) for each in schemas]
        definitions: JsonObject = {}
        while len(definitions) < len(names):
            if len(names) > MOST_DEFINITIONS:
                raise Unresolved(f"it depends on more than {MOST_DEFINITIONS} types")
            for reference, name in list(names.items()):
                if name not in definitions:
                    resolved(self._document, {"$ref": reference})  # one that only leads on has to end somewhere
                    definitions[name] = self._schema(at(self._document, reference), names, absent)
        return found, definitions

    def _schema(self, schema: Json, names: dict[str, str], absent: Absent) -> Json:
        if not isinstance(schema, dict):
            return schema if isinstance(schema, bool) else {}
        found: JsonObject = {}
        left_out = _ONLY_OPENAPI if absent == "readOnly" else _NOT_HELD
        for keyword, held in schema.items():
            if keyword == "$ref" and isinstance(held, str):
                found[keyword] = f"#/$defs/{_named(held, names)}"
            elif keyword in (*_ONE, *_ONE_MORE):
                found[keyword] = self._schema(held, names, absent)
            elif keyword in _LISTS:
                found[keyword] = [self._schema(each, names, absent) for each in json_list(held)]
            elif keyword in _BY_NAME:
                found[keyword] = {name: self._schema(each, names, absent) for name, each in json_object(held).items()}
            elif keyword == "required" and isinstance(held, list):
                members = json_object(schema.get("properties"))
                found[keyword] = [each for each in held if json_object(members.get(str(each))).get(absent) is not True]
            elif keyword not in left_out:
                found[keyword] = held
        if "example" in schema and "examples" not in schema and absent == "readOnly":
            found["examples"] = [schema["example"]]
        return _modern(found, schema) if self._old else found


def _named(reference: str, names: dict[str, str]) -> str:
    """A name for what a reference leads to: its last step, or that with a number where another has it."""
    known = names.get(reference)
    if known is not None:
        return known
    last = reference.rpartition("/")[2]
    wanted = "".join(each if each.isascii() and (each.isalnum() or each in "_-.") else "_" for each in last) or "_"
    return names.setdefault(reference, _free(wanted, names.values()))


def _free(wanted: str, taken: Iterable[str]) -> str:
    taken = frozenset(taken)
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    return name


def _modern(found: JsonObject, schema: JsonObject) -> JsonObject:
    """What 3.0 says otherwise (OpenAPI 3.1, appendix on migrating)."""
    for bound in ("Maximum", "Minimum"):
        exclusive, plain = found.get(f"exclusive{bound}"), bound.lower()
        if isinstance(exclusive, bool):
            del found[f"exclusive{bound}"]
            if exclusive and plain in found:
                found[f"exclusive{bound}"] = found.pop(plain)
    if schema.get("nullable") is True:
        return _nullable(found)
    return found


def _nullable(found: JsonObject) -> JsonObject:
    kind = found.get("type")
    if isinstance(kind, str):
        found["type"] = [kind, "null"]
        if "enum" in found and None not in json_list(found["enum"]):
            found["enum"] = [*json_list(found["enum"]), None]
        return found
    return {"anyOf": [found, {"type": "null"}]}
