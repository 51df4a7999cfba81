"""Whether work goes round in circles: the same request again, the same in other words, the same round trip twice. Pure.

Three nets, each coarser than the one before, because agents word the same wish differently each time:

1. the same input, by its canonical JSON: keys in another order are no difference;
2. nearly the same words, whatever their order, case and inflection: words are compared by their beginnings, as a set.
   Where both name something exactly - a number, an order id, anything with a digit in it - and not the same, they are
   different requests, however alike they sound;
3. the same round trip twice (A, B, A, B): whatever is said on the way, it is not getting anywhere.

Nothing here knows languages, and nothing asks a model: what the nets let through, the hop limit stops.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise

from gateway.core.json import Json, canonical_json

ALIKE_FROM = 0.8
"""From this share of common words on, two requests are the same in other words."""
STEM_CHARS = 5
"""Words are compared by so many of their first letters: `lock` and `locks`, `database` and `databases` are one."""
SHORTEST_WORD = 3
_WORD = re.compile(r"\w+")


def digest(value: Json) -> str:
    """The same for the same JSON, hex; a number JSON's canonical form cannot express is told by how it is written."""
    try:
        raw = canonical_json(value)
    except ValueError:
        raw = repr(value).encode()
    return sha256(raw).hexdigest()


def similarity(one: Json, other: Json) -> float:
    """Share of common words, 0 to 1; symmetric; 0 where both name different things exactly."""
    ours, theirs = _Words.of(one), _Words.of(other)
    if ours.exact != theirs.exact:
        return 0.0
    common = len(ours.stems & theirs.stems)
    total = len(ours.stems) + len(theirs.stems)
    return 2 * common / total if total else float(one == other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """An earlier request that says the same."""

    number: int
    """Which one it was, from 0 in the order in which they were noted."""
    similarity: float


@dataclass(slots=True, kw_only=True)
class Requests:
    """Everything that was asked in one run, and of whom."""

    alike_from: float = ALIKE_FROM
    _asked: list[tuple[str, str, Json]] = field(default_factory=list[tuple[str, str, Json]])

    def note(self, target: str, input: Json) -> int:
        """Remember a request; its number."""
        self._asked.append((target, digest(input), input))
        return len(self._asked) - 1

    def repeated(self, target: str, input: Json) -> Repeat | None:
        """The earlier request to this target that says the same, the most alike first."""
        named = digest(input)
        earlier = [(number, asked) for number, asked in enumerate(self._asked) if asked[0] == target]
        same = next((number for number, asked in earlier if asked[1] == named), None)
        if same is not None:
            return Repeat(number=same, similarity=1.0)
        alike = [Repeat(number=number, similarity=similarity(asked[2], input)) for number, asked in earlier]
        best = max(alike, key=lambda each: each.similarity, default=None)
        return best if best is not None and best.similarity >= self.alike_from else None


def round_trip(path: Sequence[str]) -> tuple[str, ...]:
    """The round trip that a path ends in having made twice, (A, B) for A, B, A, B; empty where there is none."""
    for length in range(2, len(path) // 2 + 1):
        last, before = path[-length:], path[-2 * length : -length]
        if last == before and any(one != other for one, other in pairwise(last)):
            return tuple(last)
    return ()


@dataclass(frozen=True, slots=True)
class _Words:
    stems: frozenset[str]
    exact: frozenset[str]
    """What has a digit in it."""

    @classmethod
    def of(cls, value: Json) -> "_Words":
        words = [word.casefold() for text in _texts(value) for word in _WORD.findall(text)]
        exact = frozenset(word for word in words if any(map(str.isdigit, word)))
        stems = frozenset(word[:STEM_CHARS] for word in words if len(word) >= SHORTEST_WORD and word not in exact)
        return cls(stems, exact)


def _texts(value: Json) -> list[str]:
    """Every word there is in it, keys included."""
    if isinstance(value, dict):
        return [text for key, each in value.items() for text in (key, *_texts(each))]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [] if value is None else [str(value)]
