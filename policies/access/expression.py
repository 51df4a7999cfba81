"""Conditions on arguments, as values. Knows neither how they are written nor who evaluates them.

A condition is judged in three values: true, false, and undecided where an argument it needs is missing or of another
type. `and`, `or` and `not` follow Kleene's strong logic, so the order of terms never matters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias, assert_never

Scalar: TypeAlias = "str | bool | Decimal"
Operator = Literal["==", "!=", "<", "<=", ">", ">="]
SlotType = Literal["string", "boolean", "number", "strings", "booleans", "numbers", "present"]
"""What type a term expects of an argument; `present` asks only whether it is there."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One argument as one term needs it."""

    path: tuple[str, ...]
    type: SlotType


@dataclass(frozen=True, slots=True)
class Compare:
    path: tuple[str, ...]
    operator: Operator
    value: Scalar


@dataclass(frozen=True, slots=True)
class OneOf:
    path: tuple[str, ...]
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    path: tuple[str, ...]
    value: Scalar


@dataclass(frozen=True, slots=True)
class Like:
    path: tuple[str, ...]
    pieces: tuple[str, ...]
    """The literal text between the wildcards; one piece more than there are wildcards."""


@dataclass(frozen=True, slots=True)
class Has:
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Not:
    term: "Expression"


@dataclass(frozen=True, slots=True)
class And:
    terms: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Or:
    terms: tuple["Expression", ...]


Term: TypeAlias = Compare | OneOf | Contains | Like | Has
Expression: TypeAlias = Term | Not | And | Or


def type_of(value: Scalar) -> Literal["string", "boolean", "number"]:
    """The type an argument must have to be compared with `value`."""
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def slot_of(term: Term) -> Slot:
    """What a term needs of the arguments."""
    match term:
        case Compare():
            return Slot(term.path, type_of(term.value))
        case OneOf():
            return Slot(term.path, type_of(term.values[0]))
        case Contains():
            return Slot(term.path, _SETS[type_of(term.value)])
        case Like():
            return Slot(term.path, "string")
        case Has():
            return Slot(term.path, "present")
        case _:
            assert_never(term)


def terms_of(expression: Expression) -> Iterator[Term]:
    """Every term, from left to right."""
    match expression:
        case Not():
            yield from terms_of(expression.term)
        case And() | Or():
            for each in expression.terms:
                yield from terms_of(each)
        case _:
            yield expression


def path_text(path: tuple[str, ...]) -> str:
    """A path as it is written: `args.order.id`, `args["odd key"]`."""
    return "args" + "".join(f".{key}" if is_name(key) else f"[{quoted(key)}]" for key in path)


def is_name(key: str) -> bool:
    """Whether a key can be written after a dot."""
    return key.isascii() and key.replace("-", "_").isidentifier()


def quoted(text: str) -> str:
    """`text` as a literal of the language."""
    return '"' + "".join(_ESCAPES.get(char, char) for char in text) + '"'


_SETS: dict[str, SlotType] = {"string": "strings", "boolean": "booleans", "number": "numbers"}
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "*": "\\*"}
