"""Conditions: what the grammar accepts, and that Cedar decides them as an evaluator written apart from it does."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.content import plain
from gateway.core.json import Json
from gateway.core.limits import Budget
from gateway.core.model import Capability, Request, principal
from gateway.core.verdict import Allow
from policies.access.expression import (
    And,
    Compare,
    Contains,
    Expression,
    Has,
    Like,
    Not,
    OneOf,
    Or,
    Scalar,
    path_text,
    quoted,
)
from policies.access.grammar import ExpressionError, parse_condition
from policies.access.policy import AccessPolicy
from policies.access.settings import RoleSettings, RuleSettings
from tests.fakes_access import ARGUMENTS, EXPRESSIONS, oracle, without_halves


def written(expression: Expression) -> str:
    match expression:
        case Not():
            return f"not ({written(expression.term)})"
        case And():
            return " and ".join(f"({written(each)})" for each in expression.terms)
        case Or():
            return " or ".join(f"({written(each)})" for each in expression.terms)
        case Compare():
            return f"{path_text(expression.path)} {expression.operator} {literal(expression.value)}"
        case OneOf():
            return f"{path_text(expression.path)} in [{', '.join(map(literal, expression.values))}]"
        case Contains():
            return f"{path_text(expression.path)} contains {literal(expression.value)}"
        case Like():
            return f'{path_text(expression.path)} like "{"*".join(quoted(p)[1:-1] for p in expression.pieces)}"'
        case Has():
            return f"has {path_text(expression.path)}"


def literal(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return quoted(value) if isinstance(value, str) else f"{value:f}"


EXAMPLES = 100
TOOL = Capability(name="tool:t/x", kind="tool", owner="t", local="x")


def allowed(policy: AccessPolicy, arguments: Json) -> bool:
    request = Request(
        id="r",
        principal=principal("p", roles=frozenset({"r"})),
        capability=TOOL.name,
        operation="call",
        budget=Budget(deadline_s=1),
        body=plain(arguments),
    )
    return isinstance(policy.check_request(request, TOOL), Allow)


def ruled_by(role: RoleSettings) -> AccessPolicy:
    return AccessPolicy(roles={"r": role}, lines=lambda _: 0)


@given(EXPRESSIONS)
@settings(deadline=None, max_examples=100)
def test_what_is_written_is_read_back_as_it_was(expression: Expression) -> None:
    assert parse_condition(written(expression)) == expression


@given(EXPRESSIONS, st.lists(ARGUMENTS, min_size=1, max_size=6))
@settings(deadline=None, max_examples=EXAMPLES)
def test_cedar_decides_as_the_oracle_does(expression: Expression, many: list[Json]) -> None:
    rule = RuleSettings(call="tool:t/x", when=written(expression))
    allowing = ruled_by(RoleSettings(allow=(rule,)))
    denying = ruled_by(RoleSettings(allow=("*",), deny=(rule,)))

    for arguments in many:
        truth = oracle(expression, without_halves(arguments))
        assert allowed(allowing, arguments) is (truth == "true")
        assert allowed(denying, arguments) is (truth == "false")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("args.a == 1", Compare(("a",), "==", Decimal(1))),
        ("100 >= args.a", Compare(("a",), "<=", Decimal(100))),
        ("true == args.a", Compare(("a",), "==", True)),
        ("args.order-id != 'x'", Compare(("order-id",), "!=", "x")),
        ('args["odd key"].in == "y"', Compare(("odd key", "in"), "==", "y")),
        ("args.a not in [1, 2]", Not(OneOf(("a",), (Decimal(1), Decimal(2))))),
        ("args.t like 'a*\\*'", Like(("t",), ("a", "*"))),
        ("has args.a and not args.b contains 'x'", And((Has(("a",)), Not(Contains(("b",), "x"))))),
        ("args.a == 1 or args.b == 2 and args.c == 3", None),
        ("args.a == -1.125", Compare(("a",), "==", Decimal("-1.125"))),
    ],
)
def test_conditions_are_read_as_the_grammar_says(text: str, expected: Expression | None) -> None:
    parsed = parse_condition(text)

    if expected is None:
        assert isinstance(parsed, Or)
        assert isinstance(parsed.terms[1], And)
    else:
        assert parsed == expected


@pytest.mark.parametrize(
    ("text", "offset", "says"),
    [
        ("", 0, "expected an argument"),
        ("args", 0, "say which argument"),
        ("args.", 5, "name after the dot"),
        ("args[1] == 2", 5, "in quotes"),
        ('args["a" == 2', 9, "']'"),
        ("amount <= 100", 0, "for example args.amount"),
        ("args.a", 6, "expected ==, !="),
        ("args.a = 1", 7, "`==`"),
        ("args.a == 1 && args.b == 2", 12, "`and`"),
        ("args.a == 1 || args.b == 2", 12, "`or`"),
        ("!(args.a == 1)", 0, "`not`"),
        ("args.a ~ 1", 7, "`like`"),
        ("args.a == 'x", 10, "never closed"),
        ("args.a == 1e5", 10, "100 or 99.5"),
        ("args.a == -", 10, "100 or 99.5"),
        ("args.a == 1.2345", 10, "digits after the point"),
        ("args.a == 9999999999999999", 10, "compare long ids as texts"),
        ("args.a < 'x'", 7, "only numbers"),
        ("args.a < true", 7, "only numbers"),
        ("'x' < args.a", 4, "only numbers"),
        ("args.a == null", 10, "has args.x"),
        ("null == args.a", 0, "has args.x"),
        ("args.a == args.b", 10, "text in quotes"),
        ("args.a in []", 11, "text in quotes"),
        ("args.a in [1, 'x']", 10, "all texts"),
        ("args.a in 1", 10, "'['"),
        ("args.a not 1", 11, "'in'"),
        ("args.a like 1", 12, "in quotes"),
        ("1 in args.a", 2, "such as `==`"),
        ("(args.a == 1", 12, "')'"),
        ("args.a == 1 args.b == 2", 12, "`and`, `or` or the end"),
        ("args.a == '\\q'", 11, "backslash"),
        ("args.a == '\0'", 11, "cannot be part"),
        ("args.a == 1 § 2", 12, "means nothing here"),
        ("not " * 20 + "args.a == 1", 68, "levels"),
        ("(" * 20 + "args.a == 1" + ")" * 20, 17, "levels"),
        (" and ".join(["args.a == 1"] * 65), 64 * 16, "comparisons"),
        (f"args.a in [{', '.join(['1'] * 65)}]", 10, "values in a list"),
        ("args.a == '" + "x" * 2000 + "'", 2000, "at most 2000 characters"),
    ],
)
def test_what_is_no_condition_is_refused_with_its_place(text: str, offset: int, says: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        parse_condition(text)

    assert refused.value.offset == offset
    assert says in str(refused.value)


@given(st.text(max_size=60))
@settings(deadline=None)
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        parse_condition(text)
    except ExpressionError:
        return


def test_the_largest_condition_still_fits_into_cedar() -> None:
    terms = " or ".join(f"args.a{number} == {number}" for number in range(64))
    policy = ruled_by(RoleSettings(allow=(RuleSettings(call="*", when="not " * 15 + f"({terms})"),)))

    assert allowed(policy, {f"a{number}": -1 for number in range(64)})


def test_a_list_too_long_to_look_into_leaves_the_condition_undecided() -> None:
    policy = ruled_by(RoleSettings(allow=(RuleSettings(call="*", when="args.a contains 1"),)))

    assert allowed(policy, {"a": [*range(1000)]})
    assert not allowed(policy, {"a": [*range(1001)]})
