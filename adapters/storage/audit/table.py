"""The writing side of audit.db: rows get their place in the chain, commits move the head, checkpoints are signed.

Used by one thread at a time. What a failed commit held stays here, in order, and goes into the next one: the chain in
memory has moved on already, and a record that was accepted is not given up.
"""

import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import structlog

from adapters.storage.audit.bodies import Kept
from adapters.storage.audit.checkpoint import notes_from_text, opened, public_bytes, sign
from adapters.storage.audit.keys import AuditKeys
from adapters.storage.audit.line import Row
from adapters.storage.audit.merkle import Chain, genesis
from adapters.storage.audit.schema import open_to_write
from gateway.core.errors import Unavailable

log = structlog.get_logger(__name__)

SLICE = 32
"""Rows of one statement. Each statement lets go of the interpreter lock, so the event loop waits for one slice at most;
and one statement for many rows hands the lock over once instead of once a row."""
_COLUMNS = 7
_ROW = "(?, ?, ?, ?, ?, ?, ?)"
# Nothing but placeholders is put into the text.
_INSERT = {count: f"INSERT INTO records VALUES {', '.join([_ROW] * count)}" for count in (1, 8, SLICE)}  # noqa: S608
_ERASED_AT_ONCE = 1000
_TAIL_BYTES = 4096


class AuditTable:
    """Open with `AuditTable.open`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        origin: str,
        keys: AuditKeys,
        chain: Chain,
        signed: int,
        export: Path | None,
    ) -> None:
        self._connection = connection
        self._origin = origin
        self._keys = keys
        self._chain = chain
        self._export = export
        self._values: list[int | str | bytes | None] = []  # rows one after another, as statements take them
        self._rows = 0
        self._inserted = 0
        self._kept: dict[str, tuple[str, int, str]] = {}
        self._failure: sqlite3.Error | None = None
        self.signed = signed
        """Size at the newest checkpoint."""

    @classmethod
    def open(cls, path: Path, *, keys: AuditKeys, export: Path | None = None) -> "AuditTable":
        """The log at `path`, created where there is none, at the place where it ended.

        Raises: Unavailable: see `schema.open_to_write`; it was altered, or belongs to other keys.
        """
        fresh = f"drawbridge.audit/{secrets.token_hex(8)}"
        connection = open_to_write(path, origin=fresh, public_key=public_bytes(keys.public))
        try:
            origin, chain, signed = _restored(connection, path, keys)
        except sqlite3.Error as error:
            connection.close()
            raise Unavailable(f"{path} cannot be read: {error}; `drawbridge audit verify` tells more") from error
        except Unavailable:
            connection.close()
            raise
        table = cls(connection, origin=origin, keys=keys, chain=chain, signed=signed, export=export)
        table._catch_up_export()
        return table

    @property
    def size(self) -> int:
        """Records in the log, those not yet committed included."""
        return self._chain.size

    @property
    def behind(self) -> bool:
        """Whether rows are waiting for a commit that failed."""
        return self._rows > 0

    def add(self, row: Row, kept: Iterable[Kept] = ()) -> None:
        """Put a record at the end. Never raises: what goes wrong is told by `commit`."""
        at_us, tenant, record_id, run_id, line = row
        hashed = self._chain.append(line)
        self._values += (self._chain.size, at_us, tenant, record_id, run_id, hashed, line.decode())
        self._rows += 1
        for each in kept:
            self._kept[each.digest] = (each.digest, at_us, each.body.decode())
        if self._rows - self._inserted >= SLICE:
            self._insert(SLICE)

    def commit(self, *, signed_at_us: int = 0, erase_before_us: int = 0) -> None:
        """Return once everything added is on disk, with a checkpoint if `signed_at_us` says when it was signed.

        Raises: sqlite3.Error: nothing of it is on disk; the next `commit` tries everything again.
        """
        try:
            note = self._write_all(signed_at_us, erase_before_us)
        except sqlite3.Error:
            self._roll_back()
            raise
        self._values.clear()
        self._rows = 0
        self._kept.clear()
        self._inserted = 0
        if note:
            self.signed = self._chain.size
            self._append_export(note)

    def close(self) -> None:
        """Let go of the file; what is not committed is lost."""
        self._connection.close()

    def _write_all(self, signed_at_us: int, erase_before_us: int) -> str:
        while self._inserted < self._rows and self._failure is None:
            left = self._rows - self._inserted
            self._insert(SLICE if left >= SLICE else 8 if left >= 8 else 1)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        connection, chain = self._connection, self._chain
        if not connection.in_transaction:
            connection.execute("BEGIN IMMEDIATE")
        if self._kept:
            connection.executemany(
                "INSERT INTO bodies VALUES (?, ?, ?) ON CONFLICT (digest) DO UPDATE SET at_us = excluded.at_us",
                self._kept.values(),
            )
        if self._rows:
            mac = head_mac(self._keys.digest, self._origin, chain.size, chain.head)
            connection.execute("INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?)", (chain.size, chain.head, mac))
        note = ""
        if signed_at_us:
            note = sign(self._origin, chain.size, chain.root(), signed_at_us, self._keys.signing)
            connection.execute(
                "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?)",
                (chain.size, note, chain.head, b"".join(chain.frontier)),
            )
        if erase_before_us:
            connection.execute(
                "DELETE FROM bodies WHERE digest IN (SELECT digest FROM bodies WHERE at_us < ? LIMIT ?)",
                (erase_before_us, _ERASED_AT_ONCE),
            )
        connection.execute("COMMIT")
        return note

    def _insert(self, count: int) -> None:
        if self._failure is not None:
            return
        first = self._inserted * _COLUMNS
        try:
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(_INSERT[count], self._values[first : first + count * _COLUMNS])
        except sqlite3.Error as error:
            self._failure = error
            return
        self._inserted += count

    def _roll_back(self) -> None:
        self._inserted = 0
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            log.exception("audit log could not roll back")

    def _catch_up_export(self) -> None:
        """A crash between a commit and its line in the export leaves the export one note behind."""
        newest = self._connection.execute("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
        if newest is None or self._export is None:
            return
        try:
            with self._export.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                tail = file.read().decode("utf-8", "replace")
        except OSError:
            tail = ""
        if newest[0] not in set(notes_from_text(tail)):
            self._append_export(newest[0])

    def _append_export(self, note: str) -> None:
        if self._export is None:
            return
        try:
            with os.fdopen(
                os.open(self._export, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "wb"
            ) as file:
                file.write(f"\n{note}".encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            # The next note covers everything this one did.
            log.exception("checkpoint could not be exported", path=str(self._export))


def head_mac(key: bytes, origin: str, size: int, head: bytes) -> bytes:
    """What nobody without the key can make: the statement that a log ended at this size with this hash."""
    return hmac.digest(key, b"drawbridge audit head\n" + origin.encode() + b"\n" + size.to_bytes(8) + head, "sha256")


def _restored(connection: sqlite3.Connection, path: Path, keys: AuditKeys) -> tuple[str, Chain, int]:
    """Origin, chain and newest checkpoint's size. Reads only what came after the newest checkpoint."""
    origin, public = connection.execute("SELECT origin, public_key FROM log").fetchone()
    if public != public_bytes(keys.public):
        raise Unavailable(f"{path} belongs to other keys: restore them, or move the log aside to begin a new one")
    altered = Unavailable(
        f"{path} is not as it was written: `drawbridge audit verify` tells where;"
        " to go on without it, keep it and move it aside"
    )
    newest = connection.execute(
        "SELECT size, note, hash, frontier FROM checkpoints ORDER BY size DESC LIMIT 1"
    ).fetchone()
    chain = Chain(head=genesis(origin))
    if newest is not None:
        size, note, head, frontier = newest
        try:
            chain = Chain(head=head, size=size, frontier=[frontier[at : at + 32] for at in range(0, len(frontier), 32)])
        except ValueError as error:
            raise altered from error
        stated = opened(note, keys.public)
        if stated is None or (stated.origin, stated.size, stated.root) != (origin, size, chain.root()):
            raise altered
    signed = chain.size
    for seq, hashed, line in connection.execute(
        "SELECT seq, hash, line FROM records WHERE seq > ? ORDER BY seq", (signed,)
    ):
        if seq != chain.size + 1 or chain.append(line.encode()) != hashed:
            raise altered
    stored = connection.execute("SELECT size, hash, mac FROM head").fetchone() or (0, genesis(origin), None)
    expected = head_mac(keys.digest, origin, chain.size, chain.head) if chain.size else None
    if stored != (chain.size, chain.head, expected):
        raise altered
    return origin, chain, signed
