"""The written form of conditions: `args.amount <= 100 and args.currency in ["EUR", "USD"]`. Text to values, no more.

either     = both { "or" both }
both       = one { "and" one }
one        = "not" one | "(" either ")" | "has" path | literal OPERATOR path
           | path ( OPERATOR literal | [ "not" ] "in" list | "contains" literal | "like" string )
path       = "args" ( "." NAME | "[" string "]" ) { "." NAME | "[" string "]" }
literal    = string | number | "true" | "false"
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from policies.access.expression import (
    And,
    Compare,
    Contains,
    Expression,
    Has,
    Like,
    Not,
    OneOf,
    Operator,
    Or,
    Scalar,
    type_of,
)

LONGEST = 2000
MOST_TERMS = 64
DEEPEST = 16
MOST_DIGITS_AFTER_POINT = 3
LARGEST = Decimal(900_000_000_000_000)
"""Cedar's decimals end at 922,337,203,685,477 and have four places; the fourth is ours, see `project`."""

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<number>-?[0-9]+(?:\.[0-9]+)?(?![A-Za-z0-9_.]))
      | (?P<name>[A-Za-z_][A-Za-z0-9_-]*)
      | (?P<sign>==|!=|<=|>=|<|>|\(|\)|\[|\]|,|\.)""",
    re.VERBOSE | re.DOTALL,
)
_OPERATORS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_HINTS = {"&": "write `and`", "|": "write `or`", "!": "write `not`", "=": "compare with `==`", "~": "write `like`"}
_ESCAPED = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'", "*": "*"}
_STAR = "\0"
"""An escaped star on its way through `_piece`; a literal NUL is refused."""


class ExpressionError(ValueError):
    """What is wrong with a condition, and where."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} (column {offset + 1} of the condition)")
        self.offset = offset
        """Characters from the start of the condition."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    offset: int


def parse_condition(text: str) -> Expression:
    """The condition written as `text`.

    Raises: ExpressionError: it is none; the message says what would be.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"a condition has at most {LONGEST} characters", LONGEST)
    return _Parser(text).whole()


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            char = text[at]
            if char in "\"'":
                raise ExpressionError("this text is never closed", at)
            if char.isdigit() or char == "-":
                raise ExpressionError("numbers are written as 100 or 99.5", at)
            raise ExpressionError(_HINTS.get(char, f"{char!r} means nothing here"), at)
        if found.lastgroup != "space":
            yield _Token(str(found.lastgroup), found.group(), at)
        at = found.end()
    yield _Token("end", "", len(text))


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._terms = 0

    def whole(self) -> Expression:
        expression = self._either(0)
        if self._next.kind != "end":
            raise self._wrong(f"expected `and`, `or` or the end instead of {self._next.text!r}")
        return expression

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def _took(self, text: str) -> bool:
        """Whether the next token was `text`, which is then consumed."""
        token = self._next
        if token.kind in ("name", "sign") and token.text == text:
            self._at += 1
            return True
        return False

    def _need(self, text: str) -> None:
        if not self._took(text):
            raise self._wrong(f"expected {text!r}")

    def _wrong(self, message: str) -> ExpressionError:
        return ExpressionError(message, self._next.offset)

    def _either(self, depth: int) -> Expression:
        terms = self._joined("or", lambda: self._both(depth))
        return terms[0] if len(terms) == 1 else Or(terms)

    def _both(self, depth: int) -> Expression:
        terms = self._joined("and", lambda: self._one(depth))
        return terms[0] if len(terms) == 1 else And(terms)

    def _joined(self, word: str, each: Callable[[], Expression]) -> tuple[Expression, ...]:
        terms = [each()]
        while self._took(word):
            terms.append(each())
        return tuple(terms)

    def _one(self, depth: int) -> Expression:
        if depth > DEEPEST:
            raise self._wrong(f"at most {DEEPEST} levels of `not` and parentheses")
        if self._took("not"):
            return Not(self._one(depth + 1))
        if self._took("("):
            inner = self._either(depth + 1)
            self._need(")")
            return inner
        self._terms += 1
        if self._terms > MOST_TERMS:
            raise self._wrong(f"at most {MOST_TERMS} comparisons in one condition")
        if self._took("has"):
            return Has(self._path())
        if self._is_literal():
            return self._flipped()
        return self._comparison(self._path())

    def _is_literal(self) -> bool:
        return self._next.kind in ("string", "number") or self._next.text in ("true", "false", "null")

    def _flipped(self) -> Expression:
        value = self._literal()
        operator = self._take()
        if operator.text not in _OPERATORS:
            raise ExpressionError("expected a comparison such as `==` or `<=`", operator.offset)
        return self._compare(self._path(), _FLIPPED[operator.text], value, operator.offset)

    def _path(self) -> tuple[str, ...]:
        start = self._next
        if not self._took("args"):
            raise self._wrong("expected an argument, for example args.amount")
        keys: list[str] = []
        while True:
            if self._took("."):
                name = self._take()
                if name.kind != "name":
                    raise ExpressionError("expected a name after the dot", name.offset)
                keys.append(name.text)
            elif self._took("["):
                key = self._take()
                if key.kind != "string":
                    raise ExpressionError('expected a name in quotes, for example args["order id"]', key.offset)
                keys.append(_unescaped(key))
                self._need("]")
            else:
                break
        if not keys:
            raise ExpressionError("say which argument, for example args.amount", start.offset)
        return tuple(keys)

    def _comparison(self, path: tuple[str, ...]) -> Expression:
        sign = self._take()
        if sign.text in _OPERATORS and sign.kind == "sign":
            return self._compare(path, sign.text, self._literal(), sign.offset)
        match sign.text:
            case "in":
                return OneOf(path, self._list())
            case "not":
                self._need("in")
                return Not(OneOf(path, self._list()))
            case "contains":
                return Contains(path, self._literal())
            case "like":
                return self._like(path)
            case _:
                raise ExpressionError("expected ==, !=, <, <=, >, >=, in, contains or like", sign.offset)

    def _compare(self, path: tuple[str, ...], operator: str, value: Scalar, offset: int) -> Expression:
        if operator not in ("==", "!=") and type_of(value) != "number":
            raise ExpressionError(f"only numbers can be compared with {operator}", offset)
        return Compare(path, cast("Operator", operator), value)

    def _literal(self) -> Scalar:
        token = self._take()
        if token.kind == "string":
            return _unescaped(token)
        if token.kind == "number":
            return _number(token)
        match token.text:
            case "true":
                return True
            case "false":
                return False
            case "null" | "None":
                raise ExpressionError("there is no null; ask `has args.x` whether an argument is there", token.offset)
            case _:
                raise ExpressionError("expected a text in quotes, a number, true or false", token.offset)

    def _list(self) -> tuple[Scalar, ...]:
        start = self._next
        self._need("[")
        values = [self._literal()]
        while self._took(","):
            values.append(self._literal())
        self._need("]")
        if len(values) > MOST_TERMS:
            raise ExpressionError(f"at most {MOST_TERMS} values in a list", start.offset)
        if len({type_of(value) for value in values}) > 1:
            raise ExpressionError("the values of a list are all texts, all numbers, or true and false", start.offset)
        return tuple(values)

    def _like(self, path: tuple[str, ...]) -> Expression:
        token = self._take()
        if token.kind != "string":
            raise ExpressionError('expected a text in quotes, for example "order-*"', token.offset)
        return Like(path, tuple(piece.replace(_STAR, "*") for piece in _unescaped(token, star=_STAR).split("*")))


def _unescaped(token: _Token, *, star: str = "*") -> str:
    said: list[str] = []
    inner = iter(enumerate(token.text[1:-1], token.offset + 1))
    for offset, char in inner:
        if char == "\\":
            _, escaped = next(inner)
            if escaped not in _ESCAPED:
                raise ExpressionError(f"\\{escaped} means nothing; a backslash is written \\\\", offset)
            said.append(star if escaped == "*" else _ESCAPED[escaped])
        elif char == _STAR or "\ud800" <= char <= "\udfff":
            raise ExpressionError("this character cannot be part of a text", offset)
        else:
            said.append(char)
    return "".join(said)


def _number(token: _Token) -> Decimal:
    value = Decimal(token.text)
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > MOST_DIGITS_AFTER_POINT:
        raise ExpressionError(f"at most {MOST_DIGITS_AFTER_POINT} digits after the point", token.offset)
    if abs(value) > LARGEST:
        raise ExpressionError("too large a number; compare long ids as texts", token.offset)
    return value
