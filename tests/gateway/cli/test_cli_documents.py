"""What `check` finds in OpenAPI documents and sets, without a gateway."""

from pathlib import Path

import pytest

from gateway.cli.offline import problems_of
from gateway.cli.options import place
from gateway.config.problems import Problem

CONFIGURATION = """
servers:
  crm: {openapi: crm.yaml, base_url: "http://127.0.0.1:1"}
SETS
roles: {all: {allow: ["*"]}}
principals: {ana: {roles: [all], key: env:ANA}}
"""
GOOD = "openapi: 3.1.0\npaths: {/a: {get: {responses: {200: {description: ok}}}}}\n"


def found(folder: Path, document: str, sets: str = "") -> list[Problem]:
    (folder / "gateway.yaml").write_text(CONFIGURATION.replace("SETS", sets))
    if document:
        (folder / "crm.yaml").write_text(document)
    return list(problems_of(place(folder / "gateway.yaml", None, {})))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "the OpenAPI document cannot be read"),
        ("openapi: 2.0", "must be OpenAPI 3.0 or 3.1"),
        (GOOD.replace("get: {", "get: {parameters: [{$ref: 'x.yaml'}], "), "GET /a is left out"),
    ],
)
def test_a_document_that_cannot_be_read_whole_is_a_warning_at_its_place(
    tmp_path: Path, document: str, said: str
) -> None:
    (problem,) = found(tmp_path, document)
    assert (problem.severity, problem.path) == ("warning", "servers.crm.openapi")
    assert said in problem.message


def test_a_set_searched_by_what_is_not_installed_is_an_error(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, GOOD, "sets: {lean: {search: true, engine: vectors}, other: {engine: vectors}}")
    assert (problem.severity, problem.path) == ("error", "sets.lean.engine")
    assert "installed: none" in problem.message


POST = """
openapi: 3.1.0
paths:
  /refund: {post: {operationId: refund, responses: {200: {description: ok}}, parameters: [
    {name: currency, in: query, schema: {enum: [EUR]}}]}}
"""
DESK = """
sets:
  desk:
    tools:
      right: {tool: crm/refund, arguments: {currency: {value: EUR}}}
      wrong: {tool: crm/refund, arguments: {currency: {value: CHF}}}
      gone: {tool: crm/none}
      elsewhere: {tool: shop/none}
"""


def test_what_a_set_makes_of_an_operation_is_held_against_its_document(tmp_path: Path) -> None:
    shop = "  shop: {url: 'http://127.0.0.1:1/mcp'}\n"
    problems = found(tmp_path, POST, shop + DESK)
    assert [(each.severity, each.path) for each in problems] == [
        ("warning", "sets.desk.tools.wrong"),
        ("warning", "sets.desk.tools.gone"),
    ]
    assert "the value of currency does not fit" in problems[0].message
    assert problems[1].message == "the document of crm has no operation none"


@pytest.mark.parametrize(("names", "paths"), [("conflict", []), ("refuse", ["gateway.names"] * 2)])
def test_names_that_would_be_refused_are_known_from_documents(tmp_path: Path, names: str, paths: list[str]) -> None:
    again = f"  erp: {{openapi: crm.yaml, base_url: 'http://127.0.0.1:2'}}\ngateway: {{names: {names}}}\n"
    assert [each.path for each in found(tmp_path, POST, again)] == paths


def test_what_is_right_is_left_alone(tmp_path: Path) -> None:
    assert found(tmp_path, GOOD, "sets: {lean: {search: true}}") == []
