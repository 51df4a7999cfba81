"""Conditions: what the grammar accepts, and that Cedar decides them as an evaluator written apart from it does."""

from decimal import Decimal
from typing import Literal

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
    Term,
    path_text,
    quoted,
)
from policies.access.grammar import ExpressionError, parse_condition
from policies.access.policy import AccessPolicy
from policies.access.settings import RoleSettings, RuleSettings

Truth = Literal["true", "false", "undecided"]


# The oracle: written against the meaning of conditions, sharing no code with the way through Cedar.


def oracle(expression: Expression, arguments: Json) -> Truth:
    match expression:
        case Not():
            return {"true": "false", "false": "true", "undecided": "undecided"}[oracle(expression.term, arguments)]  # type: ignore[return-value]
        case And():
            said = {oracle(each, arguments) for each in expression.terms}
            return "false" if "false" in said else "undecided" if "undecided" in said else "true"
        case Or():
            said = {oracle(each, arguments) for each in expression.terms}
            return "true" if "true" in said else "undecided" if "undecided" in said else "false"
        case _:
            return oracle_term(expression, arguments)


def oracle_term(term: Term, arguments: Json) -> Truth:
    value = arguments
    for key in term.path:
        if not isinstance(value, dict):
            return "undecided"
        if key not in value:
            return "false" if isinstance(term, Has) else "undecided"
        value = value[key]
    match term:
        case Has():
            return "true"
        case Compare():
            said = compared(value, term.operator, term.value)
        case OneOf():
            each = [compared(value, "==", one) for one in term.values]
            said = None if None in each else True in each
        case Contains():
            if not isinstance(value, list):
                return "undecided"
            each = [compared(one, "==", term.value) for one in value]
            said = None if None in each else True in each
        case Like():
            said = fits(term.pieces, value) if isinstance(value, str) else None
    return "undecided" if said is None else "true" if said else "false"


def compared(value: Json, operator: str, literal: Scalar) -> bool | None:
    left: Decimal | str | bool
    if isinstance(literal, bool):
        if not isinstance(value, bool):
            return None
        left = value
    elif isinstance(literal, str):
        if not isinstance(value, str):
            return None
        left = value
    else:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        left = Decimal(str(value))
        if not left.is_finite():
            return None
        return {
            "==": left == literal,
            "!=": left != literal,
            "<": left < literal,
            "<=": left <= literal,
            ">": left > literal,
            ">=": left >= literal,
        }[operator]
    return (left == literal) if operator == "==" else (left != literal)


def fits(pieces: tuple[str, ...], text: str) -> bool:
    if len(pieces) == 1:
        return text == pieces[0]
    if not text.startswith(pieces[0]):
        return False
    rest = text[len(pieces[0]) :]
    for piece in pieces[1:-1]:
        at = rest.find(piece)
        if at < 0:
            return False
        rest = rest[at + len(piece) :]
    return rest.endswith(pieces[-1])


# Small alphabets, so that arguments often meet conditions.

KEYS = st.sampled_from(["a", "b", "c d"])
PATHS = st.lists(KEYS, min_size=1, max_size=2).map(tuple)
TEXTS = st.sampled_from(["", "x", "xy", 'q"\\', "é*", "a\nb", "💥"])
NUMBERS = st.decimals(min_value=-3, max_value=3, places=3) | st.sampled_from(
    [Decimal(0), Decimal(1), Decimal(-1), Decimal("0.3"), Decimal(900_000_000_000_000)]
)
BOOLEANS = st.booleans()
SCALARS: st.SearchStrategy[Scalar] = TEXTS | NUMBERS | BOOLEANS
LISTS = st.one_of(*(st.lists(each, min_size=1, max_size=3).map(tuple) for each in (TEXTS, NUMBERS, BOOLEANS)))
TERMS: st.SearchStrategy[Expression] = st.one_of(
    st.builds(Compare, PATHS, st.sampled_from(["==", "!="]), SCALARS),
    st.builds(Compare, PATHS, st.sampled_from(["<", "<=", ">", ">="]), NUMBERS),
    st.builds(OneOf, PATHS, LISTS),
    st.builds(Contains, PATHS, SCALARS),
    st.builds(Like, PATHS, st.lists(TEXTS, min_size=1, max_size=3).map(tuple)),
    st.builds(Has, PATHS),
)


def _joined(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.builds(Not, inner) | st.builds(And, several) | st.builds(Or, several)


EXPRESSIONS = st.recursive(TERMS, _joined, max_leaves=6)
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | BOOLEANS
    | TEXTS
    | st.sampled_from(["\ud800"])
    | st.integers(-2, 2)
    | st.integers()
    | st.floats()
    | NUMBERS.map(float)
    | st.sampled_from([0.1 + 0.2, 0.30001, 2**63, -(2**63), 9e14]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(KEYS, VALUES, max_size=3) | VALUES.filter(lambda value: isinstance(value, list | int))
EXAMPLES = 100


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


def without_halves(value: Json) -> Json:
    """Half a surrogate pair is no text: for conditions it is as good as null."""
    if isinstance(value, dict):
        return {key: without_halves(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_halves(each) for each in value]
    return None if value == "\ud800" else value


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
