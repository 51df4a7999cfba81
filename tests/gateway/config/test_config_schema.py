"""The JSON Schema: legal, closed, documented, and of one mind with the loader."""

import json
from dataclasses import dataclass

import jsonschema
import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from gateway.config.load import parse
from gateway.config.problems import ConfigurationError
from gateway.config.schema import json_schema, schema_text
from gateway.core.json import json_object


class Base(BaseModel):
    kept: int = 0
    """From the base."""


class Entry(Base):
    """One entry."""

    model_config = ConfigDict(extra="forbid")

    name: str
    """Its name,
    over two lines."""
    short: str = Field(default="", description="Said in the field.")
    unsaid: int = 0
    schema_: str = Field(default="", alias="schema")
    """Its name is taken."""


@dataclass(frozen=True)
class Plain:
    depth: int = 4
    """How deep."""


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


SECTIONS = {"entries": dict[str, Entry], "plain": Plain, "open": Open}


def test_it_is_a_legal_schema_of_draft_2020_12() -> None:
    schema = json_schema(SECTIONS)

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


def test_fields_carry_the_texts_that_document_them() -> None:
    definitions = json_object(json_schema(SECTIONS)["$defs"])
    entry = json_object(definitions["Entry"])
    properties = json_object(entry["properties"])

    assert entry["description"] == "One entry."
    assert json_object(properties["name"])["description"] == "Its name,\nover two lines."
    assert json_object(properties["schema"])["description"] == "Its name is taken."
    assert json_object(properties["kept"])["description"] == "From the base."
    assert json_object(properties["short"])["description"] == "Said in the field."
    assert "description" not in json_object(properties["unsaid"])
    plain = json_object(definitions["Plain"])
    assert "description" not in plain
    assert json_object(json_object(plain["properties"])["depth"])["description"] == "How deep."


def test_a_class_whose_source_is_gone_is_described_without_texts() -> None:
    made = type("Made", (BaseModel,), {"__annotations__": {"x": int}, "__module__": __name__})

    schema = json_schema({"made": made})

    assert "x" in json.dumps(schema)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("{}", True),
        ("entries: {a: {name: x, kept: 2}}", True),
        ("plain: {depth: 1}", True),
        ("open: {anything: [1]}", True),
        ("x-mine: 1", True),
        ("entries: {a: {}}", False),
        ("entries: {a: {name: x, nam: y}}", False),
        ("plain: {dept: 1}", False),
        ("other: {}", False),
        ("plain: {depth: deep}", False),
    ],
)
def test_schema_and_loader_agree(text: str, fits: bool) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(SECTIONS))
    try:
        parse(text, SECTIONS)
        loads = True
    except ConfigurationError:
        loads = False

    as_json = yaml.safe_load(text)
    errors = list(validator.iter_errors(as_json))  # pyright: ignore[reportUnknownMemberType] - jsonschema's overload
    assert (not errors) is fits
    assert loads is fits


def test_the_file_is_the_schema_and_the_same_each_time() -> None:
    assert json.loads(schema_text(SECTIONS)) == json_schema(SECTIONS)
    assert schema_text(SECTIONS) == schema_text(SECTIONS)
