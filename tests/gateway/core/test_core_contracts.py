"""Whether a value meets its contract, and what is said where the contract itself is none."""

import pytest

from gateway.core.contracts import refuse_contract, violation
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        ({"type": "object", "required": ["n"]}, {"n": 1}, ""),
        ({"type": "object", "required": ["n"]}, {}, "'n' is a required property"),
        ({"type": "nothing"}, 1, "the contract itself cannot be used"),
        ({"type": "string", "pattern": "("}, "x", "the contract itself cannot be used"),
        ({"$ref": "http://127.0.0.1/schema"}, 1, "the contract itself cannot be used"),
        ({"$ref": "#"}, 1, "the contract itself cannot be used"),
        ({"minimum": "many"}, 1, "the contract itself cannot be used"),
        ({"multipleOf": 0}, 1, "the contract itself cannot be used"),
        ({"multipleOf": "0.5"}, 1, "the contract itself cannot be used"),
        ({"required": 7}, {}, "the contract itself cannot be used"),
        ({"properties": ["a"]}, {"a": 1}, "the contract itself cannot be used"),
    ],
)
def test_a_broken_contract_is_said_and_fetches_nothing(schema: JsonObject, value: Json, said: str) -> None:
    found = violation(schema, value)
    assert (found == "") if not said else (said in found)


LONG = "a" * 20_000 + "!"


@pytest.mark.parametrize(
    ("schema", "value", "holds"),
    [
        ({"pattern": "^(a+)+$"}, LONG, False),
        ({"pattern": "^(a+)+$"}, "aaa", True),
        ({"pattern": "b"}, "abc", True),
        ({"pattern": "b"}, 7, True),
        ({"multipleOf": 0.01}, 0.07, True),
        ({"multipleOf": 0.01}, 47.99, True),
        ({"multipleOf": 0.01}, 0.075, False),
        ({"multipleOf": 0.1}, 1.1, True),
        ({"multipleOf": 1e-7}, 1e300, True),
        ({"multipleOf": 3}, 10**30, False),
        ({"multipleOf": 2}, True, True),
        ({"multipleOf": 2}, "3", True),
        ({"patternProperties": {"^(a+)+$": {"type": "integer"}}}, {LONG: "x"}, True),
        ({"patternProperties": {"^x-": {"type": "integer"}}}, {"x-1": "one"}, False),
        ({"properties": {"n": {}}, "additionalProperties": False}, {"n": 1, "m": 2}, False),
        ({"properties": {"n": {}}, "additionalProperties": False}, {"n": 1}, True),
        ({"patternProperties": {"^(x+)+-": {}}, "additionalProperties": False}, {"x-1": 1, "xx-2": 2}, True),
        (
            {"patternProperties": {"^x-": {}}, "additionalProperties": {"type": "integer"}},
            {"x-1": "a", "n": "b"},
            False,
        ),
        ({"patternProperties": {"^x-": {}}, "additionalProperties": {"type": "integer"}}, {"x-1": "a", "n": 2}, True),
        ({"additionalProperties": True}, {"n": 1}, True),
    ],
)
def test_expressions_hold_or_not_and_take_no_time_on_any_value(schema: JsonObject, value: Json, holds: bool) -> None:
    assert (violation(schema, value) == "") is holds


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "(?=a)"},
        {"properties": {"n": {"allOf": [{"pattern": "(a)\\1"}]}}},
        {"patternProperties": {"(": {}}},
        {"patternProperties": {"a": {}}, "unevaluatedProperties": False},
    ],
)
def test_a_contract_that_might_take_forever_is_refused(schema: JsonObject) -> None:
    with pytest.raises(InvalidRequest):
        refuse_contract(schema)
    assert "cannot be used" in violation(schema, {"a": "b"})
