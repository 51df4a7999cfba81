"""Texts that a regular expression of a schema matches, written from the expression. Pure, and bounded.

Knows what contracts are made of: characters, classes, groups, alternatives, repeats. Of what it does not know
(look-around, properties of characters) it gives nothing; whether a text really matches is for whoever asks to see.
"""

import random
import re
from collections.abc import Callable, Iterator
from itertools import repeat

LONGEST_PATTERN = 500
BOUNDARIES = 2
"""Texts before those that are drawn."""
_MORE = 6
"""Drawn repeats over the least."""
_MOST = 200
"""Repeats of one piece."""
_LONGEST_WORK = 2_000
"""Repeats in one text."""
_DEEPEST = 20
"""Groups within groups."""
_ESCAPE = r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|.)"
_PIECE = re.compile(
    _ESCAPE + r"|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?:|\?P?<\w+>)?|\{\d+(?:,\d*)?\}|.",
    re.DOTALL,
)
_IN_CLASS = re.compile(_ESCAPE + "|.", re.DOTALL)
_DIGITS, _LETTERS = "0123456789", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ASCII = "".join(map(chr, range(32, 127)))
_CLASSES = {
    "d": _DIGITS,
    "w": _LETTERS + _DIGITS + "_",
    "s": " ",
    "D": _LETTERS,
    "W": " -.",
    "S": _LETTERS + _DIGITS,
}
_CONTROL = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_NOWHERE = frozenset(("^", "$", r"\b", r"\A", r"\z", r"\Z"))


def texts_matching(pattern: str, seed: int) -> Iterator[str]:
    """One with as few repeats as may be, one with more, then drawn ones, without end; nothing where there is none."""
    drawing = random.Random(seed)  # noqa: S311 - the same texts are to be had again
    if len(pattern) > LONGEST_PATTERN:
        return
    counts: tuple[Callable[[int, int], int], ...] = (lambda low, high: low, lambda low, high: min(high, low + _MORE))
    try:
        for count in counts:
            yield _Writer(pattern, drawing, count).text()
        for _ in repeat(None):
            yield _Writer(pattern, drawing, lambda low, high: drawing.randint(low, min(high, low + _MORE))).text()
    except (ValueError, IndexError):
        return


class _Writer:
    """One text, written while the expression is read."""

    def __init__(self, pattern: str, drawing: random.Random, count: Callable[[int, int], int]) -> None:
        self._pieces = _PIECE.findall(pattern)
        self._place = 0
        self._drawing = drawing
        self._count = count
        self._depth = 0
        self._left = _LONGEST_WORK

    def text(self) -> str:
        """Raises: ValueError: it is no expression of those that are known."""
        write = self._alternatives()
        if self._place < len(self._pieces):
            raise ValueError("a group is closed that was never opened")
        return write()

    def _alternatives(self) -> Callable[[], str]:
        branches = [self._sequence()]
        while self._next() == "|":
            self._place += 1
            branches.append(self._sequence())
        return lambda: self._drawing.choice(branches)()

    def _sequence(self) -> Callable[[], str]:
        parts: list[Callable[[], str]] = []
        while self._next() not in ("", "|", ")"):
            parts.append(self._repeated(self._piece()))
        return lambda: "".join(part() for part in parts)

    def _piece(self) -> Callable[[], str]:
        piece = self._next()
        self._place += 1
        if piece.startswith("("):
            if self._next() == "?":
                raise ValueError("a group of a kind that is not known")
            self._depth += 1
            if self._depth > _DEEPEST:
                raise ValueError("too deep")
            inner = self._alternatives()
            if self._next() != ")":
                raise ValueError("a group is not closed")
            self._place += 1
            self._depth -= 1
            return inner
        if piece in _NOWHERE:
            return str
        if piece in ("*", "+", "?"):
            raise ValueError("nothing is repeated")
        among = _ASCII if piece == "." else _members(piece)
        if not among:
            raise ValueError("a class without members")
        return lambda: self._drawing.choice(among)

    def _repeated(self, part: Callable[[], str]) -> Callable[[], str]:
        low, high = 1, 1
        match self._next():
            case "*":
                low, high = 0, _MOST
            case "+":
                low, high = 1, _MOST
            case "?":
                low, high = 0, 1
            case said if said.startswith("{") and len(said) > 1:
                least, comma, most = said[1:-1].partition(",")
                low = int(least)
                high = int(most) if most else _MOST if comma else low
            case _:
                return part
        self._place += 1
        if self._next() == "?":
            self._place += 1
        if low > _MOST:
            raise ValueError("too long")
        return lambda: "".join(self._once(part) for _ in range(self._count(low, max(low, high))))

    def _once(self, part: Callable[[], str]) -> str:
        self._left -= 1
        if self._left < 0:
            raise ValueError("too long")
        return part()

    def _next(self) -> str:
        return self._pieces[self._place] if self._place < len(self._pieces) else ""


def _members(piece: str) -> str:
    """Characters that a piece stands for. Raises: ValueError: it is none that is known."""
    if not piece.startswith("[") or piece == "[":
        return _escaped(piece)
    inner = piece[1:-1]
    negated = inner.startswith("^")
    parts = _IN_CLASS.findall(inner.removeprefix("^"))
    found = ""
    place = 0
    while place < len(parts):
        first = _escaped(parts[place])
        if place + 2 < len(parts) and parts[place + 1] == "-" and len(first) == 1:
            last = ord(_escaped(parts[place + 2]))
            found += "".join(map(chr, range(ord(first), min(last, ord(first) + 255) + 1)))
            place += 3
        else:
            found += first
            place += 1
    return "".join(each for each in _ASCII if each not in found) if negated else found


def _escaped(piece: str) -> str:
    if not piece.startswith("\\"):
        return piece
    said = piece[1:]
    if said in _CLASSES:
        return _CLASSES[said]
    if len(said) > 1:
        return chr(int(said[1:], 16))
    if said in _CONTROL:
        return _CONTROL[said]
    if said.isalnum():
        raise ValueError(f"{piece} is not known")
    return said
