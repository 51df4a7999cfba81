"""Documents in several files: references between them are followed, below the document's folder and within bounds."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.openapi.document import read_document
from adapters.openapi.files import MOST_FILES
from adapters.openapi.operations import Operations
from adapters.openapi.settings import ServiceSettings
from gateway.core.json import json_object
from tests.adapters.openapi.documents import document, operation


def read(folder: Path, main: Any, **files: str) -> Operations:
    """`files` by their path with `/` as `__`."""
    path = folder / "api" / "crm.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(main if isinstance(main, str) else json.dumps(main))
    for name, content in files.items():
        file = path.parent / (name.replace("__", "/") + ".yaml")
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    found = Operations(read_document(path), ServiceSettings(document=path))
    found.read()
    return found


def reasons(found: Operations) -> list[str]:
    return [str(json_object(each)["reason"]) for each in found.dropped]


def taking(schema: Any, **more: Any) -> Any:
    return operation(requestBody={"content": {"application/json": {"schema": schema}}}, **more)


MAIN = """
openapi: 3.1.0
info: {title: CRM, version: "1"}
paths:
  /pets/{id}: {$ref: "paths/pets.yaml"}
  /owners:
    post:
      requestBody: {content: {application/json: {schema: {$ref: "common.yaml#/schemas/Owner"}}}}
components: {schemas: {Name: {type: string}}}
"""
PETS = """
get:
  parameters: [{$ref: "../common.yaml#/parameters/id"}]
  responses: {}
"""
COMMON = """
parameters: {id: {name: id, in: path, required: true, schema: {$ref: "#/schemas/Id"}}}
schemas:
  Id: {type: integer}
  Pet: {type: object, properties: {owner: {$ref: "#/schemas/Owner"}, name: {$ref: "crm.yaml#/components/schemas/Name"}}}
  Owner: {type: object, properties: {pets: {type: array, items: {$ref: "./common.yaml#/schemas/Pet"}}}}
"""


def test_references_lead_from_file_to_file_and_back(tmp_path: Path) -> None:
    found = read(tmp_path, MAIN, paths__pets=PETS, common=COMMON)
    assert found.dropped == []
    get, post = found.found.values()
    assert get.definition["inputSchema"] == {
        "type": "object",
        "properties": {"id": {"$ref": "#/$defs/Id"}},
        "required": ["id"],
        "additionalProperties": False,
        "$defs": {"Id": {"type": "integer"}},
    }
    assert json_object(post.definition["inputSchema"])["$defs"] == {
        "Owner": {"type": "object", "properties": {"pets": {"type": "array", "items": {"$ref": "#/$defs/Pet"}}}},
        "Pet": {
            "type": "object",
            "properties": {"owner": {"$ref": "#/$defs/Owner"}, "name": {"$ref": "#/$defs/Name"}},
        },
        "Name": {"type": "string"},
    }


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("../secret.yaml#/a", "leads out of the folder"),
        ("sub/../../secret.yaml#/a", "leads out of the folder"),
        ("%2e%2e/secret.yaml#/a", "leads out of the folder"),
        ("linked.yaml#/a", "leads out of the folder"),
        ("/etc/passwd", "no file beside the document"),
        ("file:///etc/passwd", "no address is fetched"),
        ("https://example.com/a.yaml#/a", "no address is fetched"),
        ("//example.com/a.yaml", "no file beside the document"),
        ("keys.pem", "only files called"),
        ("none.yaml#/a", "cannot be read"),
        ("broken.yaml#/a", "neither JSON nor plain YAML"),
        ("good.yaml#a", "no anchors"),
        ("good.yaml#/none", "leads to nothing"),
        ("good.yaml#/circle", "in a circle"),
        ("good.yaml#/there", "in a circle"),
    ],
)
def test_what_cannot_be_followed_costs_its_own_operation_and_says_why(
    tmp_path: Path, reference: str, said: str
) -> None:
    (tmp_path / "secret.yaml").write_text("a: {type: string, description: hidden}")
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "linked.yaml").symlink_to(tmp_path / "secret.yaml")
    main = document({"/a": {"post": taking({"$ref": reference})}, "/b": {"get": operation()}})
    good = 'a: {}\ncircle: {$ref: "#/circle"}\nthere: {$ref: "back.yaml#/back"}\n'
    found = read(tmp_path, main, good=good, back='back: {$ref: "good.yaml#/there"}\n', broken="a: [")
    assert [*found.found] == ["get_b"]
    (reason,) = reasons(found)
    assert said in reason
    assert str(tmp_path) not in reason


def test_files_are_bounded_in_number_and_in_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = {
        f"f{n}": f'a: {{type: object, properties: {{b: {{$ref: "f{n + 1}.yaml#/a"}}}}}}' for n in range(MOST_FILES + 2)
    }
    found = read(tmp_path, document({"/a": {"post": taking({"$ref": "f0.yaml#/a"})}}), **chain)
    assert f"at most {MOST_FILES} files" in reasons(found)[0]
    monkeypatch.setattr("adapters.openapi.document.LARGEST_BYTES", 3000)
    (tmp_path / "small").mkdir()
    large = {"x": "a: {type: string}\n#" + "x" * 2000, "y": "a: {type: string}\n#" + "y" * 2000}
    paths = {f"/{each}": {"post": taking({"$ref": f"{each}.yaml#/a"})} for each in large}
    found = read(tmp_path / "small", document(paths), **large)
    assert [*found.found] == ["post_x"]
    assert "of 3000 for all files together" in reasons(found)[0]
