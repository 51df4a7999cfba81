"""Findings: what is legal and still not meant."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway.core.json import Json, JsonObject
from policies.access.expression import Expression
from policies.access.grammar import parse_condition
from policies.access.lint import lint, possible
from policies.access.settings import RoleSettings
from tests.fakes_access import ARGUMENTS, EXPRESSIONS, oracle, without_halves

ROLES: TypeAdapter[dict[str, RoleSettings]] = TypeAdapter(dict[str, RoleSettings])


def found(roles: JsonObject, held: tuple[str, ...] = ("s",)) -> list[tuple[str, str]]:
    return [(each.path, each.message) for each in lint(ROLES.validate_python(roles), held=held)]


def test_roles_that_mean_something_are_left_alone() -> None:
    assert found({"s": {"allow": ["tool:a/*", "agent:x"], "deny": ["tool:a/x", "tool:b/*"]}}) == []


def test_a_role_nobody_has_is_found() -> None:
    assert found({"s": {}, "t": {}}) == [("roles.t", "nobody has the role t")]


def test_an_allow_denied_as_a_whole_is_found() -> None:
    assert found({"s": {"allow": ["tool:a/x"], "deny": ["tool:a/*"]}}) == [
        ("roles.s.allow[0]", "tool:a/x is denied as a whole by s.deny[0] (tool:a/*)")
    ]


def test_a_rule_another_covers_is_found_once() -> None:
    assert found({"s": {"allow": ["tool:a/x", "tool:a/*", "tool:a/*"]}}) == [
        ("roles.s.allow[0]", "tool:a/x is covered already by s.allow[1] (tool:a/*)"),
        ("roles.s.allow[0]", "tool:a/x is covered already by s.allow[2] (tool:a/*)"),
        ("roles.s.allow[2]", "tool:a/* is covered already by s.allow[1] (tool:a/*)"),
    ]


def test_a_conditional_rule_shadows_nothing() -> None:
    assert found({"s": {"allow": ["tool:a/x"], "deny": [{"call": "tool:a/*", "when": "args.a == 1"}]}}) == []


def test_a_condition_that_can_never_be_true_is_found() -> None:
    when = "args.a == 1 and args.a == 2"

    assert found({"s": {"allow": [{"call": "*", "when": when}], "deny": [{"call": "agent:*", "when": when}]}}) == [
        ("roles.s.allow[0]", f"the condition {when!r} can never be true, so it allows nothing"),
        ("roles.s.deny[0]", f"the condition {when!r} can never be true, so it only denies what it cannot decide"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("args.a > 5 and args.a < 5", False),
        ("args.a >= 5 and args.a < 5", False),
        ("args.a >= 5 and args.a <= 5", True),
        ("args.a > 5 and args.a > 7 and args.a < 6", False),
        ("args.a < 5 and args.a < 3 and args.a > 4", False),
        ("args.a == 'x' and args.a > 1", False),
        ("args.a == 'x' and args.a != 'x'", False),
        ("args.a in [1, 2] and args.a > 2", False),
        ("args.a in [1, 2] and args.a >= 2", True),
        ("args.a in [1, 2] and args.a < 1", False),
        ("args.a in [1, 2] and args.a not in [1, 2]", False),
        ("args.a in ['x'] and args.a == 'x'", True),
        ("args.a == true and args.a == false", False),
        ("not (args.a >= 5) and args.a > 5", False),
        ("not (args.a == 1 or args.b == 1) and args.b == 1", False),
        ("not (args.a == 1 and args.a == 2)", True),
        ("not has args.a and args.a == 1", False),
        ("not has args.a and has args.a", False),
        ("has args.a and args.a == 1", True),
        ("args.a == 1 and args.a == 2 or args.b == 1", True),
        ("args.b == 1 and (args.a == 1 and args.a == 2 or args.c == 1 and args.c == 2)", False),
        ("args.t like 'a*' and args.t contains 'x'", False),
        ("args.t like 'a*' and args.t == 'b'", True),
    ],
)
def test_simple_contradictions_are_seen(text: str, expected: bool) -> None:
    assert possible(parse_condition(text)) is expected


@given(EXPRESSIONS, st.lists(ARGUMENTS, min_size=1, max_size=5))
@settings(deadline=None, max_examples=80)
def test_nothing_possible_is_called_impossible(expression: Expression, many: list[Json]) -> None:
    if any(oracle(expression, without_halves(arguments)) == "true" for arguments in many):
        assert possible(expression)
