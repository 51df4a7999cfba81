"""Many URI templates, and soon the few of them that a URI, or another template, has to be held against. Pure.

A template is found by the literal it begins with and by the one it ends with. Texts that begin alike stand together
when sorted, so those a text begins with are its neighbour's, and the neighbour's own beginnings (see `Beginnings`).
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice, takewhile
from typing import Generic, TypeVar

from adapters.mcp.templates import Template

T = TypeVar("T")


class Effort:
    """How many more steps may be taken, a step being one part of a template held against one letter."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    @property
    def spent(self) -> bool:
        return self._left < 0

    def take(self, template: Template, uri: str) -> bool:
        """Whether the two may still be held against each other."""
        self._left -= len(template.parts) * len(uri)
        return not self.spent


class Beginnings:
    """Texts, to be found by what begins with them and by what they begin with."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = sorted(frozenset(texts))
        self._within: list[int] = []
        open_ones: list[int] = []
        for at, text in enumerate(self._texts):
            while open_ones and not text.startswith(self._texts[open_ones[-1]]):
                open_ones.pop()
            self._within.append(open_ones[-1] if open_ones else -1)
            open_ones.append(at)

    def of(self, text: str) -> Iterator[str]:
        """Those that `text` begins with, the longest first."""
        at = bisect_right(self._texts, text) - 1
        while at >= 0:
            if text.startswith(self._texts[at]):
                yield self._texts[at]
            at = self._within[at]

    def beyond(self, text: str) -> Iterator[str]:
        """Those that begin with `text` and are longer."""
        first = bisect_right(self._texts, text)
        return takewhile(lambda each: each.startswith(text), islice(self._texts, first, None))


class TemplateIndex(Generic[T]):
    """What stands behind each of many templates."""

    def __init__(self, templates: Iterable[tuple[Template, T]]) -> None:
        self._groups: dict[str, dict[str, list[tuple[Template, T]]]] = {}
        for template, value in templates:
            if template.parts:
                tails = self._groups.setdefault(template.head, {})
                tails.setdefault(_turned(template.tail), []).append((template, value))
        self._heads = Beginnings(self._groups)
        self._tails = {head: Beginnings(tails) for head, tails in self._groups.items()}

    def candidates(self, uri: str) -> Iterator[tuple[Template, T]]:
        """Every one the URI may have been made from by how it begins and ends, the longest beginning first."""
        turned = _turned(uri)
        for head in self._heads.of(uri):
            for tail in self._tails[head].of(turned):
                yield from self._groups[head][tail]

    def alike(self, template: Template) -> Iterator[tuple[Template, T]]:
        """Every one that begins no longer than the template, and that may make the same URI by how both begin and
        end. Of two templates at least one is alike to the other."""
        turned = _turned(template.tail)
        for head in self._heads.of(template.head):
            tails, groups = self._tails[head], self._groups[head]
            for tail in (*tails.of(turned), *tails.beyond(turned)):
                yield from groups[tail]

    def find(self, uri: str, effort: Effort) -> T | None:
        """What stands behind the first template that may have made the URI; None where there is none, and where it
        would be too much effort to tell."""
        for template, value in self.candidates(uri):
            if not effort.take(template, uri):
                return None
            if template.matches(uri):
                return value
        return None

    def find_all(self, uri: str, effort: Effort) -> list[T] | None:
        """What stands behind each template that may have made the URI; None where that is too much effort to tell."""
        found: list[T] = []
        for template, value in self.candidates(uri):
            if not effort.take(template, uri):
                return None
            if template.matches(uri):
                found.append(value)
        return found


def _turned(text: str) -> str:
    return text[::-1]
