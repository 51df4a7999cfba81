"""Conditions and arguments at random, and an evaluator of conditions that shares no code with the way through Cedar."""

from decimal import Decimal
from typing import Literal

from hypothesis import strategies as st

from gateway.core.json import Json
from policies.access.expression import And, Compare, Contains, Expression, Has, Like, Not, OneOf, Or, Scalar, Term

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


def without_halves(value: Json) -> Json:
    """Half a surrogate pair is no text: for conditions it is as good as null."""
    if isinstance(value, dict):
        return {key: without_halves(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_halves(each) for each in value]
    return None if value == "\ud800" else value
