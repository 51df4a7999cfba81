"""The section `roles` as it is written."""

import pytest
from pydantic import ValidationError

from policies.access.settings import RoleSettings, RuleSettings, rule_of


def test_entries_are_patterns_or_rules() -> None:
    role = RoleSettings.model_validate(
        {"allow": ["tool:a/*", {"call": "agent:*", "when": "args.a == 1", "reason": "r"}], "deny": [{"tag": "pay"}]}
    )

    assert role == RoleSettings(
        allow=("tool:a/*", RuleSettings(call="agent:*", when="args.a == 1", reason="r")),
        deny=(RuleSettings(tag="pay"),),
    )
    assert rule_of("tag:x").pattern == "tag:x"
    assert rule_of(RuleSettings(tag="pay")).pattern == "tag:pay"


@pytest.mark.parametrize(
    ("entry", "place", "says"),
    [
        ("orders", ("allow", 0, "pattern"), "no pattern"),
        ({"call": "orders"}, ("allow", 0, "rule", "call"), "no pattern"),
        ({"tag": ""}, ("allow", 0, "rule", "tag"), "tag:*"),
        ({"call": "*", "tag": "x"}, ("allow", 0, "rule", "tag"), "not both"),
        ({}, ("allow", 0, "rule"), "`call` is missing"),
        ({"call": "*", "when": ""}, ("allow", 0, "rule", "when"), "expected an argument"),
        ({"call": "*", "wen": "x"}, ("allow", 0, "rule", "wen"), "not permitted"),
        (5, ("allow", 0, "pattern"), "valid string"),
    ],
)
def test_what_is_wrong_has_its_place(entry: object, place: tuple[str | int, ...], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        RoleSettings.model_validate({"allow": [entry]})

    (error,) = refused.value.errors()
    assert error["loc"] == place
    assert says in error["msg"]


def test_a_wrong_condition_tells_the_offset_to_whoever_knows_the_line() -> None:
    with pytest.raises(ValidationError) as refused:
        RuleSettings(call="*", when="args.a = 1")

    (error,) = refused.value.errors()
    assert error.get("ctx", {})["offset"] == 7
