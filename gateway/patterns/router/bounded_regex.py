"""Regular expressions an operator writes and strangers' texts are matched against: only those that end soon. Pure.

Python's engine backtracks. A repeat within a repeat, `(a+)+`, takes time without end on the wrong text; two open
repeats one behind the other take its square, three its cube. So nothing may be repeated that itself repeats or chooses,
there are no back references and no look-around, the ways in which an expression can be tried are counted (an open
repeat has as many as a window has characters) and bounded, and what is left sees a window of the text at a time. What
is refused can mostly be written as keywords.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.core.errors import InvalidRequest

LONGEST_PATTERN = 300
WINDOW_CHARS = 120
OVERLAP_CHARS = 40
MOST_WAYS = 2 * (WINDOW_CHARS + 1) ** 2
"""Two open repeats and something optional."""
_PIECE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?[=!<P]|\(\?:|\{\d*,?\d*\}[?+]?|[*+?][?+]?|.", re.DOTALL)
_BRACES = re.compile(r"\{(\d*)(,?)(\d*)\}")


@dataclass(slots=True)
class _Group:
    """What an open parenthesis has inside so far."""

    varies: bool = False
    """Something in it repeats, is optional or has alternatives."""
    alternatives: int = 1


def bounded(pattern: str) -> re.Pattern[str]:
    """The expression, compiled; case does not matter to it.

    Raises: InvalidRequest: it is none, or one that might take forever on the wrong text.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise InvalidRequest(f"the regex is longer than {LONGEST_PATTERN} characters")
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidRequest(f"{pattern!r} is no regular expression: {error}") from error
    if _ways(pattern) > MOST_WAYS:
        raise InvalidRequest(f"{pattern!r} can be tried in too many ways: it might take forever; use fewer repeats")
    return compiled


def found_in(pattern: re.Pattern[str], text: str) -> Iterator[int]:
    """Where it matches, window by window: a match longer than the overlap may be missed between two of them."""
    seen = 0
    for start in range(0, max(1, len(text)), WINDOW_CHARS - OVERLAP_CHARS):
        match = pattern.search(text[: start + WINDOW_CHARS], max(start, seen))
        if match is not None:
            yield match.start()
            seen = max(match.end(), match.start() + 1)


def _ways(pattern: str) -> float:
    """In how many ways it can be tried from one place. Raises: InvalidRequest: nobody can say."""
    groups, closed, previous = [_Group()], _Group(), ""
    ways = 1.0
    for piece in _PIECE.findall(pattern):
        if piece in ("(?=", "(?!", "(?<", "(?P") or re.fullmatch(r"\\[1-9]", piece):
            raise InvalidRequest(f"{pattern!r}: named groups, look-around and back references are not possible here")
        if piece.startswith("("):
            groups.append(_Group())
        elif piece.startswith(")"):
            closed = groups.pop()
            groups[-1].varies |= closed.varies
        elif piece.startswith("|"):
            groups[-1].varies = True
            groups[-1].alternatives += 1
            ways *= groups[-1].alternatives / (groups[-1].alternatives - 1)
        elif (times := _times(piece)) is not None:
            least, most = times
            if previous.startswith(")") and most > 1 and closed.varies:
                raise InvalidRequest(f"{pattern!r} repeats what itself repeats or chooses: it might take forever")
            groups[-1].varies |= least != most
            ways *= min(most, WINDOW_CHARS) - least + 1 if most > least else 1
        previous = piece
    return ways


def _times(piece: str) -> tuple[float, float] | None:
    """How often at least and at most what stands before is repeated; None where the piece is no repeat."""
    if piece[0] in "*+?":
        return (1.0 if piece[0] == "+" else 0.0, 1.0 if piece[0] == "?" else float("inf"))
    match = _BRACES.match(piece)
    if match is None or not (match[1] or match[3]):
        return None
    least = float(match[1] or 0)
    most = float(match[3]) if match[3] else float("inf") if match[2] else least
    return least, most
