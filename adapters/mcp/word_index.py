"""Tools found by their words: SQLite's FTS5, in memory. See `ports.tool_search`."""

import re
import sqlite3
import weakref
from collections.abc import Mapping, Sequence

from anyio import to_thread

from gateway.core.json import Json
from gateway.core.ports.tool_search import ToolDocument, ToolIndex

MOST_WORDS = 32
"""Words of a query that count."""
_LONGEST_WORD = 64
_BEGINNING = 3
"""Letters from which on a word may be the beginning of a longer one."""
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
_TABLE = (
    "CREATE VIRTUAL TABLE tools USING fts5(place UNINDEXED, name, title, description, arguments,"
    " tokenize = 'porter unicode61 remove_diacritics 2')"
)
# What a tool is called says most of what it is for; what its arguments are called says least.
_SEARCH = "SELECT place FROM tools WHERE tools MATCH ? ORDER BY bm25(tools, 0, 10.0, 6.0, 3.0, 1.0), place LIMIT ?"


class WordSearch:
    """See `ToolSearch`. Any word of the query counts, whole or as the beginning of one; endings are forgiven."""

    def __init__(self, options: Mapping[str, Json]) -> None:
        """Has no options."""

    async def index(self, documents: Sequence[ToolDocument]) -> ToolIndex:
        return await to_thread.run_sync(WordIndex, documents)


class WordIndex:
    """See `ToolIndex`."""

    def __init__(self, documents: Sequence[ToolDocument]) -> None:
        connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        weakref.finalize(self, connection.close)
        self._connection = connection
        self._names = [each.name for each in documents]
        connection.execute(_TABLE)
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO tools VALUES (?, ?, ?, ?, ?)", map(_row, enumerate(documents)))
        connection.execute("COMMIT")

    async def search(self, query: str, limit: int) -> Sequence[str]:
        """See `ToolIndex.search`. Takes a millisecond or two over thousands of tools: no thread is worth it."""
        words = list(dict.fromkeys(_words(query)))[:MOST_WORDS]
        if not words:
            return ()
        wanted = " OR ".join(f'"{word}"*' if len(word) >= _BEGINNING else f'"{word}"' for word in words)
        found: list[tuple[int]] = self._connection.execute(_SEARCH, (wanted, limit)).fetchall()
        return [self._names[place] for (place,) in found]


def _row(numbered: tuple[int, ToolDocument]) -> tuple[int, str, str, str, str]:
    place, document = numbered
    return (
        place,
        " ".join(_words(document.name)),
        " ".join(_words(document.title)),
        " ".join(_words(document.description)),
        " ".join(_words(document.arguments)),
    )


def _words(text: str) -> list[str]:
    """`refundOrder_v2` is four words here: refund, order, v, 2."""
    return [part[:_LONGEST_WORD].lower() for part in _PART.findall(text)]
