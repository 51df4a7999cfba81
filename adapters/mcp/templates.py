"""URI templates of RFC 6570, level 1: enough to tell which template a URI was made from. Pure."""

import re
from dataclasses import dataclass

_EXPRESSION = re.compile(r"\{\w[\w.]*\}")
_STOPS = frozenset("/?#")
"""What a level 1 expression never expands to; the other reserved characters are let through, as servers do."""


@dataclass(frozen=True, slots=True)
class Template:
    """What matches the URIs a template makes."""

    literals: tuple[str, ...]
    """The text around the expressions; empty where the template is of a higher level, which matches nothing."""

    def matches(self, uri: str) -> bool:
        """Each literal at its leftmost place: with stops that no value holds, later places never match either."""
        if len(self.literals) < 2:
            return self.literals == (uri,)
        first, *middle, last = self.literals
        if not uri.startswith(first):
            return False
        at = len(first)
        for literal in middle:
            found = uri.find(literal, at + 1)
            if found < 0 or not _is_value(uri[at:found]):
                return False
            at = found + len(literal)
        end = len(uri) - len(last)
        return end > at and uri.endswith(last) and _is_value(uri[at:end])


def template_from(text: str) -> Template:
    """The matcher of a URI template. Adjacent expressions are ambiguous and count as a higher level."""
    literals = tuple(_EXPRESSION.split(text))
    if any("{" in each or "}" in each for each in literals) or not all(literals[1:-1]):
        return Template(())
    return Template(literals)


def _is_value(text: str) -> bool:
    return _STOPS.isdisjoint(text)
