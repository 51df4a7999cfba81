"""Erasure of kept bodies. The chain holds digests only, so it stays valid; the records themselves are never erased."""

import sqlite3
from pathlib import Path

from adapters.storage.audit.reader import AuditReader, Query
from adapters.storage.audit.schema import BUSY_S
from gateway.core.errors import Unavailable
from gateway.core.json import json_text


def erase_bodies(path: Path, query: Query) -> int:
    """Erase what was said in every record that matches (`limit` does not count); gives how many bodies went.

    A body that other records of the tenant share goes for them too. Works beside a running gateway.

    Raises: NotFound: there is no log; Unavailable: it cannot be read or written.
    """
    digests = {
        digest
        for entry in AuditReader(path).entries(query)
        for name in ("request_digest", "result_digest")
        if (digest := json_text(entry.fields.get(name)))
    }
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S)
        try:
            connection.execute("PRAGMA secure_delete = ON").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            erased = sum(
                connection.execute("DELETE FROM bodies WHERE digest = ?", (digest,)).rowcount for digest in digests
            )
            connection.execute("COMMIT")
            # The write-ahead log still holds the pages as they were; a busy reader may keep it for a while.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise Unavailable(f"{path} cannot be written: {error}") from error
    return erased
