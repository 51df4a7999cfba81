"""Whether a value meets its contract, and what is said where the contract itself is none."""

import pytest

from gateway.core.contracts import violation
from gateway.core.json import Json, JsonObject


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        ({"type": "object", "required": ["n"]}, {"n": 1}, ""),
        ({"type": "object", "required": ["n"]}, {}, "'n' is a required property"),
        ({"type": "nothing"}, 1, "the contract itself cannot be used"),
        ({"type": "string", "pattern": "("}, "x", "the contract itself cannot be used"),
        ({"$ref": "http://127.0.0.1/schema"}, 1, "the contract itself cannot be used"),
    ],
)
def test_a_broken_contract_is_said_and_fetches_nothing(schema: JsonObject, value: Json, said: str) -> None:
    found = violation(schema, value)
    assert (found == "") if not said else (said in found)
