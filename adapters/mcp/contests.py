"""Which URIs and templates of several servers could be taken for each other's. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

from adapters.mcp.template_index import TemplateIndex
from adapters.mcp.templates import template_from

Offer: TypeAlias = tuple[str, str]
"""Owner, and the text of a URI or template."""
MOST_COMPARED = 50_000
"""URIs and templates held against each other for one view; a server may list thousands of either."""
_LETTERS = 1_000
"""Letters times parts that count as one more comparison: long ones take their time."""


def contested(
    listed: Sequence[Offer], made: Sequence[Offer], looks_marked: Callable[[str], bool]
) -> dict[str, frozenset[str]]:
    """By owner, the texts of URIs (`listed`) and templates (`made`) that another's could be taken for; and those that
    look as if they said already whose they are."""
    found: dict[str, set[str]] = {}
    if len({owner for owner, _ in (*listed, *made)}) > 1:
        for owner, text in (*_same((*listed, *made)), *_overlapping(listed, made)):
            found.setdefault(owner, set()).add(text)
    for owner, text in (*listed, *made):
        if looks_marked(text):
            found.setdefault(owner, set()).add(text)
    return {owner: frozenset(texts) for owner, texts in found.items()}


def _same(offered: Iterable[Offer]) -> Iterator[Offer]:
    """Every text that several offer."""
    owners: dict[str, set[str]] = {}
    for owner, text in offered:
        owners.setdefault(text, set()).add(owner)
    return ((owner, text) for text, several in owners.items() if len(several) > 1 for owner in several)


def _overlapping(listed: Sequence[Offer], made: Sequence[Offer]) -> Iterator[Offer]:
    """Every two that different servers offer of which one is a template and may have made what the other stands for.
    Of more than can be compared in good time, all: said too often rather than too seldom."""
    compared = 0
    for offer, other, compare in _to_compare(listed, made):
        compared += 1 + len(offer[1]) * len(other[1]) // _LETTERS
        if compared > MOST_COMPARED:
            yield from (*listed, *made)
            return
        if compare():
            yield offer
            yield other


def _to_compare(listed: Sequence[Offer], made: Sequence[Offer]) -> Iterator[tuple[Offer, Offer, Callable[[], bool]]]:
    """Two offers of different owners, and what compares them."""
    matchers = {text: template_from(text) for _, text in made}
    alike: dict[tuple[str, str, str], list[str]] = {}
    for owner, text in made:
        alike.setdefault((owner, matchers[text].head, matchers[text].tail), []).append(text)
    # Those of one owner that begin and end alike are passed over together.
    index = TemplateIndex((matchers[texts[0]], (owner, texts)) for (owner, _, _), texts in alike.items())
    for owner, uri in listed:
        for _, (another, texts) in index.candidates(uri):
            if another != owner:
                yield from (((owner, uri), (another, text), partial(matchers[text].matches, uri)) for text in texts)
    for owner, made_by in made:
        template = matchers[made_by]
        for _, (another, texts) in index.alike(template):
            if another != owner:
                yield from (
                    ((owner, made_by), (another, text), partial(matchers[text].meets, template)) for text in texts
                )
