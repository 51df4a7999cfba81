"""From documents to tools: names, schemas, hints, filters; and what is wrong with a document."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adapters.openapi.document import Unresolved, at, read_document
from adapters.openapi.schemas import SchemaReader
from adapters.openapi.settings import ServiceSettings
from gateway.core.errors import InvalidRequest
from tests.adapters.openapi.documents import TEXT, document, operation, parameter, read

PET: dict[str, Any] = {"type": "object", "properties": {"name": TEXT, "mother": {"$ref": "#/components/schemas/Pet"}}}
COMPONENTS = {
    "schemas": {"Pet": PET},
    "parameters": {"limit": parameter("limit", schema={"type": "integer"}, description="How many.")},
    "requestBodies": {
        "pet": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}
    },
}


def test_an_operation_is_a_tool_with_its_arguments_and_types() -> None:
    paths = {
        "/pets/{id}": {
            "parameters": [parameter("id", "path"), parameter("trace", "header")],
            "put": operation(
                {"$ref": "#/components/parameters/limit"},
                parameter("trace", "header", required=True),
                operationId="savePet",
                summary="Saves a pet",
                description="All of it.",
                tags=["pets"],
                requestBody={"$ref": "#/components/requestBodies/pet"},
            ),
        }
    }
    found = read(paths, components=COMPONENTS)
    assert found.dropped == []
    (tool,) = found.found.values()
    assert tool.definition == {
        "name": "savePet",
        "title": "Saves a pet",
        "description": "Saves a pet\n\nAll of it.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "id": TEXT,
                "trace": TEXT,
                "limit": {"type": "integer", "description": "How many."},
                "body": {"$ref": "#/$defs/Pet"},
            },
            "required": ["id", "trace", "body"],
            "additionalProperties": False,
            "$defs": {"Pet": {"type": "object", "properties": {"name": TEXT, "mother": {"$ref": "#/$defs/Pet"}}}},
        },
        "annotations": {"openWorldHint": True, "idempotentHint": True},
    }


@pytest.mark.parametrize(
    ("method", "hints"),
    [
        ("get", {"readOnlyHint": True, "idempotentHint": True}),
        ("head", {"readOnlyHint": True, "idempotentHint": True}),
        ("post", {}),
        ("patch", {}),
        ("put", {"idempotentHint": True}),
        ("delete", {"idempotentHint": True, "destructiveHint": True}),
    ],
)
def test_hints_are_those_of_the_method(method: str, hints: dict[str, bool]) -> None:
    (tool,) = read({"/a": {method: operation()}}).found.values()
    assert tool.definition["annotations"] == {"openWorldHint": True, **hints}


def test_names_are_legal_and_each_tool_has_one_of_its_own() -> None:
    paths = {
        "/a": {"get": operation(operationId="list things!"), "post": operation()},
        "/b": {"get": operation(operationId="list_things_"), "put": operation(operationId="x" * 90)},
    }
    names = [*read(paths).found]
    assert names[:2] == ["list_things", "post_a"]
    assert names[2].startswith("list_things_") and len(names[2]) == len("list_things") + 9
    assert names[3].startswith("xxx") and len(names[3]) == 64


def test_arguments_that_share_a_name_are_told_apart_and_credentials_are_no_arguments() -> None:
    schemes = {"securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "api_key"}}}
    item = operation(
        parameter("id", "path"),
        parameter("id"),
        parameter("body"),
        parameter("api_key"),
        parameter("Authorization", "header"),
        parameter("X-Fixed", "header"),
        requestBody={"content": {"text/plain": {"schema": TEXT}}},
    )
    settings = ServiceSettings(document=Path("x"), headers={"x-fixed": "1"})
    (tool,) = read({"/a/{id}": {"get": item}}, settings, components=schemes).found.values()
    schema: Any = tool.definition["inputSchema"]
    assert [*schema["properties"]] == ["id", "id_query", "body", "request_body"]
    assert schema["required"] == ["id"]


@pytest.mark.parametrize(
    ("include", "exclude", "names"),
    [
        ((), (), ["getA", "putA", "getB"]),
        (("getA",), (), ["getA"]),
        (("GET *",), (), ["getA", "getB"]),
        (("tag:good",), (), ["putA", "getB"]),
        (("get*",), ("* /b",), ["getA"]),
        ((), ("tag:*",), ["getA"]),
    ],
)
def test_operations_are_chosen_by_name_tag_method_and_path(
    include: tuple[str, ...], exclude: tuple[str, ...], names: list[str]
) -> None:
    paths = {
        "/a": {"get": operation(operationId="getA"), "put": operation(operationId="putA", tags=["good"])},
        "/b": {"get": operation(operationId="getB", tags=["good", "odd"])},
    }
    settings = ServiceSettings(document=Path("x"), include=include, exclude=exclude)
    assert [*read(paths, settings).found] == names


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (operation({"$ref": "https://example.com/p.json"}), "leads out of the document"),
        (operation({"$ref": "other.yaml#/p"}), "leads out of the document"),
        (operation({"$ref": "#/components/parameters/none"}), "leads to nothing"),
        (operation({"$ref": "#/components/parameters/circle"}), "in a circle"),
        (operation(parameter("a", "nowhere")), "in"),
        (operation(parameter("a", style="matrix")), "style matrix"),
        (operation(requestBody={"content": {"application/json": {"schema": {"$ref": "#/x"}}}}), "leads to nothing"),
        ({"parameters": "none", "tags": 7}, "tags"),
    ],
)
def test_one_operation_that_cannot_be_read_costs_itself_and_is_named(wrong: Any, said: str) -> None:
    circle = {"parameters": {"circle": {"$ref": "#/components/parameters/circle"}}}
    found = read({"/a": {"get": wrong}, "/b": {"get": operation()}}, components=circle)
    assert [*found.found] == ["get_b"]
    (dropped,) = found.dropped
    assert isinstance(dropped, dict)
    assert dropped["name"] == "GET /a"
    assert said in str(dropped["reason"])


def test_schemas_of_3_0_are_told_in_todays_words() -> None:
    reader = SchemaReader({"openapi": "3.0.3", "components": {"schemas": {"A": {"type": "string", "nullable": True}}}})
    schema: Any = {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/components/schemas/A"},
            "n": {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "maximum": 9, "exclusiveMaximum": False},
            "e": {"type": "string", "enum": ["x"], "nullable": True, "example": "x", "xml": {"name": "e"}},
            "o": {"oneOf": [{"type": "string"}], "nullable": True, "discriminator": {"propertyName": "k"}},
            "any": True,
        },
    }
    ((found,), definitions) = reader.alone(schema)
    assert found == {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/A"},
            "n": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9},
            "e": {"type": ["string", "null"], "enum": ["x", None], "examples": ["x"]},
            "o": {"anyOf": [{"oneOf": [{"type": "string"}]}, {"type": "null"}]},
            "any": True,
        },
    }
    assert definitions == {"A": {"type": ["string", "null"]}}


def test_types_of_the_same_last_name_stay_apart_and_too_many_are_refused() -> None:
    said = document({}, components={"schemas": {"A": TEXT, "B": {"A": {"type": "integer"}}}})
    schemas: Any = [{"$ref": "#/components/schemas/A"}, {"$ref": "#/components/schemas/B/A"}]
    found, definitions = SchemaReader(said).alone(*schemas)
    assert found == [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A_2"}]
    assert definitions == {"A": TEXT, "A_2": {"type": "integer"}}
    many = document(
        {}, components={"schemas": {f"T{n}": {"$ref": f"#/components/schemas/T{n + 1}"} for n in range(500)}}
    )
    with pytest.raises(Unresolved):
        SchemaReader(many).alone({"$ref": "#/components/schemas/T0"})


def test_pointers_are_unescaped() -> None:
    assert at({"paths": {"/a/{b}": {"x~y": [1, 2]}}}, "#/paths/~1a~1%7Bb%7D/x~0y/1") == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("openapi: 2.0.0", "OpenAPI 3.0 or 3.1"),
        ("swagger: '2.0'", "OpenAPI 3.0 or 3.1"),
        ("[]", "OpenAPI 3.0 or 3.1"),
        ("{", "neither JSON nor plain YAML"),
        ("a: [", "neither JSON nor plain YAML"),
        ("a: &x [1]\nb: [*x, *x]\n", "aliases"),
        ("a: !!python/object/apply:os.system ['true']", "neither JSON nor plain YAML"),
        ("a: !!binary aGk=", "neither JSON nor plain YAML"),
        ("a: " + "[" * 400 + "]" * 400, "neither JSON nor plain YAML"),
    ],
)
def test_what_is_no_document_is_refused_with_the_reason(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(InvalidRequest) as refused:
        read_document(path)
    assert said in refused.value.message
    assert str(tmp_path) not in refused.value.message


def test_yaml_is_read_by_the_rules_of_json(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("openapi: 3.1.0\ninfo: {version: 2020-01-01, x: yes}\nresponses: {200: {a: 1.5}}\n")
    assert read_document(path) == {
        "openapi": "3.1.0",
        "info": {"version": "2020-01-01", "x": True},
        "responses": {"200": {"a": 1.5}},
    }
    with pytest.raises(InvalidRequest):
        read_document(tmp_path / "none.yaml")


def test_what_only_documents_need_is_not_imported_before_one_is_read() -> None:
    script = "import sys; import adapters.openapi.upstream; print('openapi_pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=180, check=True)
    assert done.stdout.strip() == "False"
