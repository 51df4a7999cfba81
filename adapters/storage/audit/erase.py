"""Erasure of kept bodies. The chain holds digests only, so it stays valid; the records themselves are never erased."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from adapters.storage.audit.reader import AuditReader, Query
from adapters.storage.audit.schema import BUSY_S
from gateway.core.errors import Unavailable
from gateway.core.json import json_text

_AT_ONCE = 500


def bodies_of(path: Path, query: Query) -> frozenset[str]:
    """Digests of the bodies that are kept of every record that matches (`limit` does not count).

    Raises: NotFound: there is no log; Unavailable: it cannot be read.
    """
    digests = {
        digest
        for entry in AuditReader(path).entries(query)
        for name in ("request_digest", "result_digest")
        if (digest := json_text(entry.fields.get(name)))
    }
    with _connected(path) as connection:
        look = "SELECT 1 FROM bodies WHERE digest = ?"
        return frozenset(each for each in digests if connection.execute(look, (each,)).fetchone() is not None)


def erase_bodies(path: Path, query: Query) -> int:
    """Erase what was said in every record that matches (`limit` does not count); gives how many bodies went.

    A body that other records of the tenant share goes for them too. Works beside a running gateway.

    Raises: NotFound: there is no log; Unavailable: it cannot be read or written.
    """
    left = [*bodies_of(path, query)]
    erased = 0
    with _connected(path) as connection:
        connection.execute("PRAGMA secure_delete = ON").fetchall()
        while left:
            # Whoever records waits for the end of this.
            some, left = left[:_AT_ONCE], left[_AT_ONCE:]
            connection.execute("BEGIN IMMEDIATE")
            erased += sum(
                connection.execute("DELETE FROM bodies WHERE digest = ?", (digest,)).rowcount for digest in some
            )
            connection.execute("COMMIT")
        # The write-ahead log still holds the pages as they were; a busy reader may keep it for a while.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return erased


@contextmanager
def _connected(path: Path) -> Generator[sqlite3.Connection]:
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S)
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise Unavailable(f"{path} cannot be used: {error}") from error
