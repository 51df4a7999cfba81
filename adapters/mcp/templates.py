"""URI templates (RFC 6570, all four levels): which template a URI may have been made from, and whether two of them may
make the same one. Pure, and bounded in time by the lengths of both, whatever a server's template looks like.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

_EXPRESSION = re.compile(r"\{([+#./;?&]?)([\w%.]+(?:\*|:\d{1,4})?(?:,[\w%.]+(?:\*|:\d{1,4})?)*)\}")
LONGEST_URI = 65_536
"""Characters; a longer one matches no template."""
MOST_GAPS = 16
"""A template with more expressions makes nothing."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What an expression becomes: at least so many characters, none of them a stop; or, where it begins with a
    character of its own, either that and more of them, or nothing."""

    lead: str
    stops: str
    least: int = 0


# The other reserved characters are let through, as servers do.
_GAPS: Mapping[str, Gap] = {
    "": Gap("", "/?#", 1),
    "+": Gap("", "", 1),
    "#": Gap("#", ""),
    ".": Gap(".", "/?#"),
    "/": Gap("/", "?#"),
    ";": Gap(";", "/?#"),
    "?": Gap("?", "#"),
    "&": Gap("&", "#"),
}
_SIMPLE = _GAPS[""]


@dataclass(frozen=True, slots=True)
class Template:
    """What matches the URIs a template makes."""

    parts: tuple[str | Gap, ...]
    """Literals and gaps in turn, from literal to literal; empty where it is no template, which matches nothing."""

    @property
    def head(self) -> str:
        """With what all its URIs begin."""
        return _literal(self.parts[0]) if self.parts else ""

    @property
    def tail(self) -> str:
        """With what all its URIs end."""
        return _literal(self.parts[-1]) if self.parts else ""

    def matches(self, uri: str) -> bool:
        """Whether it may have made the URI."""
        if not self.parts or not uri.startswith(self.head) or len(uri) > LONGEST_URI:
            return False
        at = frozenset({0})
        for part in self.parts:
            at = _after_literal(uri, at, part) if isinstance(part, str) else _after_gap(uri, at, part)
            if not at:
                return False
        return len(uri) in at

    def meets(self, other: "Template") -> bool:
        """Whether the two may make the same URI. Said too often rather than too seldom."""
        if not self.parts or not other.parts or not _fit(self.head, other.head, self.tail, other.tail):
            return False
        mine, others = self._segments(), other._segments()
        if mine is None or others is None:
            return True
        return len(mine) == len(others) and all(map(_segments_fit, mine, others))

    def _segments(self) -> list[str] | None:
        """What lies between slashes, gaps as NUL; None where a gap may hold slashes, or be none at all."""
        if any(part != _SIMPLE for part in self.parts if isinstance(part, Gap)):
            return None
        return "".join(part if isinstance(part, str) else "\0" for part in self.parts).split("/")


@lru_cache(maxsize=1024)
def template_from(text: str) -> Template:
    """The matcher of a URI template."""
    parts: list[str | Gap] = []
    end = 0
    for found in _EXPRESSION.finditer(text):
        parts += [text[end : found.start()], _GAPS[found[1]]]
        end = found.end()
    parts.append(text[end:])
    broken = any("{" in part or "}" in part for part in parts if isinstance(part, str))
    return Template(() if broken or len(parts) > 2 * MOST_GAPS + 1 else tuple(parts))


def _after_literal(uri: str, at: Iterable[int], literal: str) -> frozenset[int]:
    return frozenset(place + len(literal) for place in at if uri.startswith(literal, place))


def _after_gap(uri: str, at: Iterable[int], gap: Gap) -> frozenset[int]:
    """Everywhere the gap may end that begins at one of these places."""
    ends: set[int] = set()
    # The first stop behind the places looked at so far: up to it all ends are known.
    stop = -1
    for place in sorted(at):
        if gap.lead:
            ends.add(place)
            if not uri.startswith(gap.lead, place):
                continue
        begins = place + len(gap.lead)
        if begins > stop:
            stop = min((end for each in gap.stops if (end := uri.find(each, begins)) >= 0), default=len(uri))
            ends.update(range(begins + gap.least, stop + 1))
    return frozenset(ends)


def _fit(head: str, other_head: str, tail: str, other_tail: str) -> bool:
    heads = head.startswith(other_head) or other_head.startswith(head)
    return heads and (tail.endswith(other_tail) or other_tail.endswith(tail))


def _segments_fit(mine: str, other: str) -> bool:
    if "\0" not in mine and "\0" not in other:
        return mine == other
    head, _, _ = mine.partition("\0")
    other_head, _, _ = other.partition("\0")
    _, _, tail = mine.rpartition("\0")
    _, _, other_tail = other.rpartition("\0")
    return _fit(head, other_head, tail, other_tail)


def _literal(part: str | Gap) -> str:
    return part if isinstance(part, str) else ""
