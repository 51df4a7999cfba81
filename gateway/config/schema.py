"""The JSON Schema of the configuration, made from the types of its sections. Knows no section by name."""

import ast
import inspect
import itertools
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

# What pydantic calls a type it can validate; only this room and `validate` hand it on.
Section: TypeAlias = "type[Any] | TypeAdapter[Any]"

SCHEMA_FILE = Path(__file__).with_name("gateway.schema.json")
"""The schema as shipped; `schema_text` of the application's sections, which a test compares."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = "#/$defs/"


def adapter_of(section: Section) -> TypeAdapter[Any]:
    """The adapter of a section's type."""
    return section if isinstance(section, TypeAdapter) else TypeAdapter(section)


def json_schema(sections: Mapping[str, Section]) -> JsonObject:
    """The schema of the whole file, draft 2020-12; every field with the text that documents it in the code."""
    return _schema(sections, _Documented)


def schema_text(sections: Mapping[str, Section]) -> str:
    """`json_schema` as a file, the same for the same sections."""
    return json.dumps(json_schema(sections), indent=2, ensure_ascii=False) + "\n"


def shapes(sections: Mapping[str, Section]) -> dict[str, "Shape"]:
    """The shape of each section."""
    whole = _schema(sections, _Closed)
    definitions = json_object(whole["$defs"])
    return {name: shape_of([schema], definitions) for name, schema in json_object(whole["properties"]).items()}


def _schema(sections: Mapping[str, Section], generator: type[GenerateJsonSchema]) -> JsonObject:
    inputs = [(name, "validation", adapter_of(section)) for name, section in sections.items()]
    by_section, shared = TypeAdapter.json_schemas(
        cast("Any", inputs), ref_template=_REFERENCE + "{model}", schema_generator=generator
    )
    properties: dict[str, Json] = {
        name: {"description": f"Section `{name}`.", **by_section[name, "validation"]} for name in sorted(sections)
    }
    return {
        "$schema": DIALECT,
        "title": "Drawbridge configuration",
        "description": "gateway.yaml: what stands behind the gateway, who may knock, and what each may call.",
        "type": "object",
        "properties": properties,
        "patternProperties": {"^x-": {"description": "Yours: not looked at, for anchors."}},
        "additionalProperties": False,
        "$defs": shared.get("$defs", {}),
    }


@dataclass(frozen=True, slots=True)
class Shape:
    """Which entries a value may have, by the schema."""

    schemas: tuple[JsonObject, ...]
    """The alternatives, references followed."""
    definitions: JsonObject = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Every key any alternative knows by name."""
        return tuple(dict.fromkeys(name for each in self.schemas for name in json_object(each.get("properties"))))

    @property
    def closed(self) -> bool:
        """Whether a mapping may have no other keys than `names`."""
        mappings = [each for each in self.schemas if each.get("type") == "object"]
        return bool(mappings) and all(each.get("additionalProperties") is False for each in mappings)

    def entry(self, key: str | int) -> "Shape":
        """The shape of one entry of a mapping or list."""
        return shape_of(list(self._entries(key)), self.definitions)

    def _entries(self, key: str | int) -> Iterator[Json]:
        for each in self.schemas:
            if isinstance(key, int):
                prefix = json_list(each.get("prefixItems"))
                yield prefix[key] if key < len(prefix) else each.get("items")
            elif key in json_object(each.get("properties")):
                yield json_object(each.get("properties"))[key]
            else:
                yield each.get("additionalProperties")


def shape_of(schemas: list[Json], definitions: JsonObject) -> Shape:
    """The shape that any of the schemas describes."""
    return Shape(tuple(flat for schema in schemas for flat in _alternatives(schema, definitions)), definitions)


def _alternatives(schema: Json, definitions: JsonObject) -> Iterator[JsonObject]:
    if not isinstance(schema, dict):
        return
    reference = json_text(schema.get("$ref"))
    if reference:
        yield from _alternatives(definitions.get(reference.removeprefix(_REFERENCE)), definitions)
    either = [*json_list(schema.get("anyOf")), *json_list(schema.get("oneOf")), *json_list(schema.get("allOf"))]
    for each in either:
        yield from _alternatives(each, definitions)
    if not reference and not either:
        yield schema


class _Closed(GenerateJsonSchema):
    """Pydantic's schemas, in which a type that names its fields has no others."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        return self.finished(super().model_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        return self.finished(super().dataclass_schema(schema), schema["cls"])

    def finished(self, said: JsonSchemaValue, cls: type) -> JsonSchemaValue:
        """The schema of `cls`, with what pydantic leaves open."""
        said.setdefault("additionalProperties", False)
        return said


class _Documented(_Closed):
    """The same, with the texts in the code as descriptions."""

    def finished(self, said: JsonSchemaValue, cls: type) -> JsonSchemaValue:
        properties: dict[str, Any] = said.get("properties", {})
        keys = _keys(cls)
        for ancestor in cls.__mro__:
            annotated: dict[str, Any] = vars(ancestor).get("__annotations__", {})
            fields = {name: keys.get(name, name) for name in annotated}
            if not properties.keys().isdisjoint(fields.values()):
                for name, text in _field_texts(ancestor).items():
                    properties.get(fields[name], {}).setdefault("description", text)
        if cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}("):
            said.setdefault("description", inspect.cleandoc(cls.__doc__))
        return super().finished(said, cls)


def _keys(cls: type) -> dict[str, str]:
    """Field -> its key in a file, of those whose key Python could not have as a name."""
    fields = cls.model_fields if issubclass(cls, BaseModel) else {}
    return {name: field.alias for name, field in fields.items() if field.alias}


def _field_texts(cls: type) -> dict[str, str]:
    """The text under each field of a class; empty where the source is not at hand."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return {}
    body = cast("ast.ClassDef", ast.parse(source).body[0]).body
    texts: dict[str, str] = {}
    for statement, following in itertools.pairwise(body):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = inspect.cleandoc(text)
            case _:
                continue
    return texts
