"""Which values meet which schema, and whom a change of schemas breaks."""

from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.contracts import violation
from gateway.core.json import Json, JsonObject
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.testing.contracts.breaks import ToolContract, Version, breaks, mismatches
from gateway.testing.contracts.comparison import gaps
from gateway.testing.contracts.expressions import texts_matching
from gateway.testing.contracts.generation import values_for

Fields = dict[str, st.SearchStrategy[Any]]


def an_object(always: Fields, optional: Fields | None = None) -> st.SearchStrategy[JsonObject]:
    nothing: Fields = {}
    return st.fixed_dictionaries(always, optional=optional or nothing)


NAMES = st.sampled_from(["a", "b", "c"])
SCALARS: st.SearchStrategy[JsonObject] = st.one_of(
    an_object({"type": st.just("integer")}, optional={"minimum": st.integers(-3, 3), "maximum": st.integers(0, 9)}),
    an_object({"type": st.just("number")}, optional={"exclusiveMinimum": st.integers(-3, 3)}),
    an_object({"type": st.just("string")}, optional={"minLength": st.integers(0, 3), "maxLength": st.integers(1, 6)}),
    an_object({"type": st.sampled_from(["boolean", "null"])}),
    an_object({"enum": st.lists(st.sampled_from(["x", "y", 1, None, True]), min_size=1, max_size=3)}),
    an_object({"const": st.sampled_from(["x", 1])}),
    st.just({}),
)


def around(inner: st.SearchStrategy[JsonObject]) -> st.SearchStrategy[JsonObject]:
    return st.one_of(
        an_object(
            {"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, max_size=3)},
            optional={
                "required": st.lists(NAMES, max_size=2, unique=True),
                "additionalProperties": st.one_of(st.booleans(), inner),
            },
        ),
        an_object(
            {"type": st.just("array"), "items": inner}, optional={"minItems": st.integers(0, 2), "maxItems": st.just(4)}
        ),
        an_object({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        an_object({"allOf": st.lists(inner, min_size=1, max_size=2)}),
    )


SCHEMAS = st.recursive(SCALARS, around, max_leaves=5)


@given(wide=SCHEMAS, tight=SCHEMAS, seed=st.integers(1, 100))
@settings(max_examples=300, deadline=None)
def test_what_is_let_pass_is_safe(wide: JsonObject, tight: JsonObject, seed: int) -> None:
    if not gaps(wide, tight):
        for value in values_for(wide, 20, seed):
            assert not violation(tight, value), (wide, tight, value)


@given(schema=SCHEMAS)
@settings(deadline=None)
def test_a_schema_is_no_change_from_itself(schema: JsonObject) -> None:
    assert gaps(schema, schema) == []


@given(schema=SCHEMAS, seed=st.integers(1, 100))
@settings(deadline=None)
def test_made_values_meet_their_schema_and_are_the_same_again(schema: JsonObject, seed: int) -> None:
    made = values_for(schema, 20, seed)
    assert [each for each in made if violation(schema, each)] == []
    assert len(made) <= 20
    assert made == values_for(schema, 20, seed)


@pytest.mark.parametrize(
    "pattern",
    [
        "^A[0-9]+$",
        r"^(x|yy){2,3}-\d{4}$",
        "^[^a-z]+$",
        r"^\w+@\w+[.](com|org)$",
        "[A-Z]{3}",
        "^[A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}$",
        r"^(?:EUR|USD) ?\d{1,6}\.\d\d$",
        r"^[\w.-]{3,}\?$",
    ],
)
def test_values_are_made_from_the_expression_of_a_schema(pattern: str) -> None:
    text: JsonObject = {"type": "string", "pattern": pattern}
    schema: JsonObject = {"type": "object", "properties": {"order": text}, "required": ["order"]}
    made = values_for(schema, 10)
    assert len(made) == 10
    assert not [each for each in made if violation(schema, each)]
    assert values_for(schema, 10) == made


@pytest.mark.parametrize(
    "pattern", ["(", ")", "a**", r"\pL", "(?=x)x", "((((a{200}){200}){200}){200}){200}", "(" * 400]
)
def test_of_an_expression_nothing_is_known_of_nothing_is_made(pattern: str) -> None:
    assert [*islice(texts_matching(pattern, 1), 3)] == []


@settings(deadline=None)
@given(pattern=st.text("ab[](){}|?*+^$\\.,-1d", max_size=30), seed=st.integers(0, 5))
def test_whatever_the_expression_is_an_end_is_found(pattern: str, seed: int) -> None:
    assert all(isinstance(each, str) for each in islice(texts_matching(pattern, seed), 4))


def test_boundaries_come_first() -> None:
    schema: JsonObject = {
        "type": "object",
        "required": ["amount"],
        "properties": {"amount": {"type": "integer", "minimum": 1, "maximum": 100}, "note": {"type": "string"}},
    }
    made = values_for(schema, 20)
    amounts = [each["amount"] for each in made if isinstance(each, dict)]
    assert [each for each in (1, 2, 99, 100) if each not in amounts] == []
    assert any(isinstance(each, dict) and "note" not in each for each in made)


INTEGER: JsonObject = {"type": "integer"}
A_OR_B: JsonObject = {"enum": ["a", "b", "c"]}


AIMS: list[tuple[JsonObject, list[Json]]] = [
    ({"type": "number", "multipleOf": 0.25, "minimum": 0.1, "maximum": 2}, [0.25, 0.5, 1.75, 2]),
    ({"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 50}, [7, 14, 42, 49]),
    ({"type": "integer", "multipleOf": 1.5, "minimum": 1, "maximum": 10}, [3, 6, 9]),
    ({"type": "integer", "minimum": 0.5, "maximum": 1.5}, [1]),
    ({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 5}, [2, 3, 4]),
    ({"minimum": 3, "maximum": 4}, [3, 4]),
    ({"type": "array", "items": A_OR_B, "uniqueItems": True, "minItems": 3}, [["a", "b", "c"]]),
    ({"type": "array", "items": {"const": 1}, "maxItems": 3}, [[], [1], [1, 1], [1, 1, 1]]),
    ({"type": "array", "prefixItems": [{"const": 1}, A_OR_B], "items": False, "minItems": 2}, [[1, "a"], [1, "c"]]),
    ({"type": "array", "items": {"enum": [1, 5]}, "contains": {"const": 5}, "maxItems": 2}, [[5], [1, 5]]),
    ({"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}, "minProperties": 1}, [{"a": 1}]),
    (
        {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}, "maxProperties": 1},
        [{}, {"a": 1}, {"b": 2}],
    ),
    (
        {"type": "object", "additionalProperties": {"enum": [1, 2]}, "propertyNames": {"enum": ["x", "y"]}},
        [{}, {"x": 1}, {"x": 2}, {"x": 1, "y": 1}],
    ),
    (
        {
            "type": "object",
            "patternProperties": {"^x$": {"const": 1}},
            "additionalProperties": False,
            "minProperties": 1,
        },
        [{"x": 1}],
    ),
    (
        {
            "type": "object",
            "properties": {"card": {"const": "4711"}, "code": {"const": "123"}, "note": {"const": "n"}},
            "dependentRequired": {"card": ["code"]},
            "additionalProperties": False,
        },
        [{}, {"card": "4711", "code": "123"}, {"code": "123", "note": "n"}],
    ),
    ({"type": "object", "properties": {"a": False, "b": {"const": 1}}}, [{}, {"b": 1}]),
    ({"oneOf": [{"const": 1}, {"type": "object", "required": ["a"], "properties": {"a": INTEGER}}]}, [1, {"a": 0}]),
    (
        {
            "type": "object",
            "required": ["by"],
            "properties": {"by": {"enum": ["card", "cash"]}, "no": {"const": "4711"}},
            "if": {"properties": {"by": {"const": "card"}}},
            "then": {"required": ["no"]},
            "else": {"properties": {"no": False}},
        },
        [{"by": "card", "no": "4711"}, {"by": "cash"}],
    ),
    ({"type": "string", "format": "date"}, ["2028-02-29"]),
    ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"enum": [True, 1]}}}, [True, 1]),
    ({"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}, [{"next": {}}]),
]


@pytest.mark.parametrize(("schema", "wanted"), AIMS)
def test_what_a_schema_says_is_aimed_at(schema: JsonObject, wanted: list[Json]) -> None:
    made = values_for(schema, 20)
    assert [each for each in made if violation(schema, each)] == []
    assert [each for each in wanted if all(each != one or type(each) is not type(one) for one in made)] == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"type": "number", "minimum": 1e308},
        {"type": "integer", "minimum": 10**400},
        {"type": "string", "pattern": "(?=x)x"},
        {"$ref": "#/$defs/nowhere", "not": {}},
    ],
)
def test_of_a_schema_nothing_can_meet_nothing_is_made_and_soon(schema: JsonObject) -> None:
    assert values_for(schema, 20) == []


def test_every_field_is_aimed_at_before_any_is_to_the_last() -> None:
    fields: JsonObject = {name: {"type": "integer", "minimum": 1, "maximum": 9} for name in "abcdefgh"}
    made = values_for({"type": "object", "required": [*fields], "properties": fields}, 20)
    seen = {name: [each[name] for each in made if isinstance(each, dict)] for name in fields}
    assert [name for name, values in seen.items() if 1 not in values or 9 not in values] == []


@pytest.mark.parametrize(
    ("wide", "tight", "path"),
    [
        ({"type": "number"}, {"type": "integer"}, ""),
        ({"type": "object"}, {"type": "object", "required": ["a"]}, "a"),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}},
            {"type": "object", "properties": {"a": {"type": "integer"}}},
            "a",
        ),
        (
            {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string"}}}},
            {"type": "array", "items": {"type": "object", "properties": {"p": {"enum": ["x"]}}}},
            "[].p",
        ),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, {"type": "integer"}, ""),
    ],
)
def test_a_gap_is_named_at_its_place(wide: JsonObject, tight: JsonObject, path: str) -> None:
    assert [each.path for each in gaps(wide, tight)] == [path]


def a_workflow(**said: Any) -> WorkflowSettings:
    return WorkflowSettings.model_validate({"pattern": "sequential", "agents": ["intake", "clerk"], **said})


def gives(properties: dict[str, Json], *required: str) -> JsonObject:
    return {"type": "object", "properties": properties, "required": [*required]}


NUMBER: Json = {"type": "number"}
TEXT: Json = {"type": "string"}
BEFORE = gives({"amount": NUMBER, "order": TEXT}, "amount", "order")


def consumers(stage: dict[str, Any], after: JsonObject) -> list[tuple[str, str, str]]:
    """Whom it breaks that the stage `intake` promises something else than before."""

    def version(promised: JsonObject) -> Version:
        return Version(workflows={"w": a_workflow(stages=[{"agent": "intake", "output_schema": promised}, stage])})

    return [(each.consumer, each.field, each.problem) for each in breaks(version(BEFORE), version(after))]


GONE = gives({"order": TEXT}, "order")


@pytest.mark.parametrize(
    ("stage", "field"),
    [
        ({"tool": "bank/pay", "input": {"sum": "$intake.amount"}}, "$intake.amount (input.sum)"),
        ({"tool": "bank/pay", "input": {"in": [{"sum": "$intake.amount"}]}}, "$intake.amount (input.in)"),
        ({"agent": "clerk", "when": "$intake.amount > 3", "input": {"a": 1}}, "$intake.amount (when)"),
        ({"agent": "clerk", "input": {"a": 1}, "claims": ["sum:$intake.amount"]}, "$intake.amount (claims)"),
        ({"agent": "clerk", "pass": ["intake.amount"]}, "$intake.amount (pass)"),
        ({"agent": "clerk", "input_schema": gives({"amount": NUMBER})}, "$intake.amount (input_schema.amount)"),
        (
            {"agent": "clerk", "input": {"a": 1}, "undo": {"tool": "bank/back", "input": {"sum": "$intake.amount"}}},
            "$intake.amount (undo.input)",
        ),
    ],
)
def test_whoever_reads_a_field_that_is_gone_is_named(stage: dict[str, Any], field: str) -> None:
    name = "pay" if "tool" in stage else "clerk"
    assert consumers(stage, GONE) == [(f"stage {name}", field, "is gone")]


PAY = {"tool": "bank/pay", "input": {"sum": "$intake.amount"}}


@pytest.mark.parametrize(
    ("after", "problem"),
    [
        (gives({"amount": TEXT, "order": TEXT}, "amount", "order"), "was number and is string now"),
        (gives({"amount": NUMBER, "order": TEXT}, "order"), "may be missing now"),
        (gives({"amount": {"type": ["number", "null"]}}, "amount"), "was number and is null or number now"),
    ],
)
def test_what_has_become_of_a_field_is_said(after: JsonObject, problem: str) -> None:
    assert [said for _, _, said in consumers(PAY, after)] == [problem]


@pytest.mark.parametrize(
    "after",
    [
        gives({"amount": {"type": "integer"}, "order": TEXT}, "amount", "order"),
        gives({"amount": NUMBER}, "amount"),
        gives({"amount": NUMBER, "order": TEXT, "more": TEXT}, "amount", "order", "more"),
    ],
)
def test_a_change_nobody_notices_breaks_nobody(after: JsonObject) -> None:
    assert consumers(PAY, after) == []


def test_a_tool_that_wants_more_breaks_whoever_does_not_give_it() -> None:
    workflows = {"w": a_workflow(stages=[{"tool": "bank/pay", "input": {"sum": 3}}])}
    old = Version(workflows=workflows, tools={"tool:bank/pay": ToolContract(takes=gives({"sum": NUMBER}, "sum"))})
    wants = gives({"sum": NUMBER, "currency": TEXT}, "sum", "currency")
    new = Version(workflows=workflows, tools={"tool:bank/pay": ToolContract(takes=wants)})
    assert [(each.consumer, each.field) for each in breaks(old, new)] == [("stage pay", "input.currency")]
    assert breaks(new, old) == []


def test_steps_of_a_plan_and_keys_of_the_scratchpad_have_readers_too() -> None:
    def version(promised: JsonObject) -> Version:
        plan = [
            {"id": "find", "agent": "intake", "output_schema": promised},
            {"id": "book", "agent": "clerk", "after": ["find"], "reads": ["quote"]},
        ]
        scratchpad = {"quote": {"schema": promised}}
        workflow = WorkflowSettings.model_validate(
            {"pattern": "supervisor", "agents": ["intake", "clerk"], "plan": plan, "scratchpad": scratchpad}
        )
        return Version(workflows={"w": workflow})

    found = [(each.consumer, each.field) for each in breaks(version(BEFORE), version(GONE))]
    assert found == [("step book", "$find (after)"), ("step book", "$quote (reads)")]


def test_what_never_fits_is_found_without_a_former_version() -> None:
    stages = [{"agent": "intake", "output_schema": gives({"amount": TEXT}, "amount")}, PAY]
    takes: JsonObject = {**gives({"sum": NUMBER}, "sum"), "additionalProperties": False}
    version = Version(workflows={"w": a_workflow(stages=stages)}, tools={"tool:bank/pay": ToolContract(takes=takes)})
    assert [(each.consumer, each.problem) for each in mismatches(version)] == [
        ("stage pay", "is string, where number is taken")
    ]
