"""What agents remember for later runs: texts that are found again by what they say. Knows no engine."""

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.core.json import JsonObject
from gateway.core.labels import CLEAN, Labels

LONGEST_WORD = 64
"""Characters of a word that count; numbers in base64 are no words."""
WORDS_AT_MOST = 32
"""Words of a query that count."""
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlace:
    """One memory of one tenant; workflows that name the same share it."""

    tenant: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memo:
    """One entry of a memory."""

    id: str
    text: str
    at_us: int
    tags: tuple[str, ...] = ()
    run_id: str = ""
    step_id: str = ""
    agent: str = ""
    """Subject of whoever wrote it."""
    labels: Labels = CLEAN

    @property
    def size_bytes(self) -> int:
        return sum(len(each.encode(errors="replace")) for each in (self.text, *self.tags))


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much a memory may hold of one tenant."""

    entries: int
    bytes: int
    after_us: int
    """What is older has lapsed."""


class Memory(Protocol):
    """Entries of any number of places. Nothing in here tells who may ask."""

    async def add(self, place: MemoryPlace, memo: Memo, room: Room) -> None:
        """Keep an entry; one whose id is there already stays as it is. What has lapsed goes, then the oldest, until
        the rest has room."""
        ...

    async def search(self, place: MemoryPlace, query: str, *, after_us: int, limit: int) -> tuple[Memo, ...]:
        """Entries that have to do with the query, the best first, of equals the latest; in the same order each time."""
        ...

    async def list(self, place: MemoryPlace, *, after_us: int, limit: int) -> tuple[Memo, ...]:
        """Newest first."""
        ...

    async def forget(self, place: MemoryPlace, ids: Collection[str]) -> int:
        """Take entries away; how many there were."""
        ...

    async def lapse(self, name: str, before_us: int, *, tenant: str = "") -> int:
        """Take away what is older, of one tenant or of all; how many there were."""
        ...

    async def names(self, tenant: str = "") -> Mapping[str, int]:
        """How many entries each memory has, by its name: of one tenant or of all."""
        ...


class MemoryType(Protocol):
    """What the entry points `gateway.memory` name."""

    def __call__(self, options: JsonObject, /) -> Memory:
        """An engine set up from a memory's options. Raises: InvalidRequest: they make no sense."""
        ...


def words_in(text: str) -> list[str]:
    """The words of a text as a full-text engine is to compare them: no case, no accents, letters and digits only."""
    # Twice: some letters have no case before they are taken apart, and others are taken apart into capitals.
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text.casefold()).casefold())
    bare = "".join(sign for sign in plain if not unicodedata.combining(sign))
    return [found[0][:LONGEST_WORD] for found in _WORD.finditer(bare)]


def words_asked(query: str) -> list[str]:
    """The words of a query, each once."""
    return [*dict.fromkeys(words_in(query))][:WORDS_AT_MOST]
