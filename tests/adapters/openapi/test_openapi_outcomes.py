"""What operations announce to answer with, and answers that hold to it whatever the service says."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from adapters.openapi.answers import result_of
from adapters.openapi.outcomes import LARGEST_CHECKED, Outcome
from gateway.core.json import Json
from gateway.core.labels import CLEAN
from tests.adapters.openapi.documents import TEXT, call, document, operation, read, service
from tests.fakes_upstreams import Behave, Exchange, raw_server

PET: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "born": {"type": "string", "format": "date"},
        "secret": {"type": "string", "writeOnly": True},
        "mother": {"$ref": "#/components/schemas/Pet"},
    },
    "required": ["id", "secret"],
}
COMPONENTS = {"schemas": {"Pet": PET, "Circle": {"$ref": "#/components/schemas/Circle"}}}
A_PET = {"$ref": "#/components/schemas/Pet"}
UNFORESEEN = {
    "properties": {
        "otherwise": {"type": "string", "description": "How the answer is another than its document foresees."},
        "body": {"description": "The answer."},
    },
    "required": ["otherwise"],
}


def answers(schema: Any, *, status: str = "200", kind: str = "application/json") -> dict[str, Any]:
    return {status: {"description": "ok", "content": {kind: {"schema": schema}}}}


def hold(schema: Mapping[str, Json], value: Json) -> None:
    """As a client looks at it."""
    Draft202012Validator(dict(schema)).validate(value)  # pyright: ignore[reportUnknownMemberType] - partial stubs


def outcome(responses: dict[str, Any], **more: Any) -> Outcome | None:
    found = read({"/a": {"get": {**operation(), "responses": responses}}}, components=COMPONENTS, **more)
    assert found.dropped == []
    (tool,) = found.found.values()
    assert tool.definition.get("outputSchema") == (None if tool.outcome is None else tool.outcome.schema)
    return tool.outcome


def test_a_success_is_announced_without_what_only_requests_have() -> None:
    found = outcome(answers(A_PET))
    assert found is not None
    told = {name: each for name, each in PET["properties"].items() if name != "born"}
    told |= {"born": TEXT, "mother": {"$ref": "#/$defs/Pet"}}
    assert found.schema == {
        "type": "object",
        "anyOf": [{"$ref": "#/$defs/Pet"}, UNFORESEEN],
        "$defs": {"Pet": {"type": "object", "properties": told, "required": ["id"]}},
    }
    assert found.held({"id": 1, "extra": True}, 10) == {"id": 1, "extra": True}


@pytest.mark.parametrize(
    "schema",
    [{"type": "array", "items": TEXT}, {"type": ["object", "null"]}, {"allOf": [A_PET]}, {"enum": ["a", None]}],
)
def test_what_need_not_be_an_object_stands_in_one(schema: dict[str, Any]) -> None:
    found = outcome(answers(schema))
    assert found is not None
    assert found.schema["type"] == "object"
    values: list[Json] = [["a"], None, {"id": 1}, "a"]
    for value in values:
        said = found.held(value, 10)
        hold(found.schema, said)
        assert [*said] in (["result"], ["otherwise", "body"], ["otherwise"])


@pytest.mark.parametrize(
    "responses",
    [
        {"200": {"description": "ok"}},
        {"204": {"description": "nothing"}, **answers(PET, status="400")},
        answers(TEXT, kind="text/plain"),
        answers({}),
        answers({"type": "object", "properties": {"a": {"type": 7}}}),
        answers({"$ref": "#/components/schemas/None"}),
        answers({"$ref": "#/components/schemas/Circle"}),
        answers({"enum": ["x" * 20_000]}),
    ],
)
def test_nothing_is_announced_that_cannot_be_held_to(responses: dict[str, Any]) -> None:
    assert outcome(responses) is None


def test_several_successes_are_alternatives() -> None:
    found = outcome({**answers(A_PET), **answers({"type": "array"}, status="2XX"), **answers(A_PET, status="201")})
    assert found is not None
    assert found.held([1], 3) == {"result": [1]}
    assert found.held({"id": 1}, 3) == {"id": 1}
    assert found.held({"id": "1"}, 3) == {"otherwise": "$.id: '1' is not of type 'integer'", "body": {"id": "1"}}
    assert found.held({"id": 1}, LARGEST_CHECKED + 1)["body"] == {"id": 1}


def test_a_type_that_never_ends_is_not_looked_for() -> None:
    endless = {"type": "object", "properties": {"a": {"allOf": [{"$ref": "#/components/schemas/E"}]}}}
    item = {**operation(), "responses": answers(endless)}
    components = {"schemas": {"E": {"allOf": [{"$ref": "#/components/schemas/E"}]}}}
    (tool,) = read({"/a": {"get": item}}, components=components).found.values()
    assert tool.outcome is not None
    said = "the contract itself cannot be used: RecursionError"
    assert tool.outcome.held({"a": 1}, 3) == {"otherwise": said, "body": {"a": 1}}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "result", "a"]), inner, max_size=3)
    ),
    max_leaves=6,
)
SCHEMAS: Any = st.sampled_from(
    [
        A_PET,
        {"type": "array", "items": A_PET},
        {"type": "object", "additionalProperties": False, "properties": {"result": {"type": "string"}}},
        {"type": "string", "pattern": "^a+$"},
        {"oneOf": [A_PET, {"type": "integer"}]},
        {"not": {"type": "object"}},
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(SCHEMAS, min_size=1, max_size=2), VALUES, st.sampled_from(["application/json", "text/html", ""]))
def test_no_answer_breaks_what_was_announced_and_none_is_lost(schemas: list[Any], value: Json, kind: str) -> None:
    responses = {**answers(schemas[0], status="201"), **answers(schemas[-1])}
    found = outcome(responses)
    assert found is not None
    body = json.dumps(value).encode()
    result = result_of(200, kind, body, CLEAN, found)
    said = result.body.content().structured
    hold(found.schema, said)
    assert isinstance(said, dict)
    if kind == "application/json":
        assert value in (said, said.get("result"), said.get("body"))
    assert result.is_error is False


def replying(body: bytes, **how: Any) -> Behave:
    def answer(exchange: Exchange) -> None:
        exchange.answer(body, **how)

    return answer


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "how", "said"),
    [
        (b'{"id":1}', {}, {"id": 1}),
        (b'{"id":"x"}', {}, {"otherwise": "$.id: 'x' is not of type 'integer'", "body": {"id": "x"}}),
        (b"", {"status": 204}, {"otherwise": "HTTP status 204, without a body"}),
        (b"<p>", {"content_type": "text/html"}, {"otherwise": "it is no JSON but text/html"}),
        (b'{"id":', {}, {"otherwise": "it is no JSON but application/json"}),
        (json.dumps({"id": 1, "x": "y" * 10_000}).encode(), {}, {"id": 1, "x": "y" * 10_000}),
    ],
)
async def test_answers_of_a_service_hold_to_what_was_announced(
    tmp_path: Path, body: bytes, how: dict[str, Any], said: Json
) -> None:
    paths = {"/pets": {"get": {**operation(operationId="getPet"), "responses": answers(A_PET)}}}
    async with (
        raw_server(replying(body, **how)) as server,
        service(tmp_path, document(paths, components=COMPONENTS), base_url=f"http://127.0.0.1:{server.port}") as crm,
    ):
        (tool,) = (await crm.capabilities()).capabilities
        result = await call(crm, "getPet")
    assert tool.output_schema is not None
    hold(tool.output_schema, result.body.content().structured)
    assert result.body.content().structured == said


@pytest.mark.anyio
async def test_a_failure_holds_to_nothing(tmp_path: Path) -> None:
    paths = {"/pets": {"get": {**operation(operationId="getPet"), "responses": answers(A_PET)}}}
    async with (
        raw_server(replying(b'{"no":1}', status=404)) as server,
        service(tmp_path, document(paths, components=COMPONENTS), base_url=f"http://127.0.0.1:{server.port}") as crm,
    ):
        result = await call(crm, "getPet")
    assert (result.is_error, result.body.content().structured) == (True, None)
