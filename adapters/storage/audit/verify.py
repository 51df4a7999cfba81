"""Is the log what was written? Offline, from the file alone; the more it is given, the more it can tell.

The chain tells where a record was altered, removed, inserted or moved. Somebody who computes the whole chain anew is
found by the signed checkpoints, somebody who holds the signing key too by an export of them kept elsewhere. A missing
end is found by the checkpoints, and behind the newest of them by the head of the last commit, which nobody can make
without the digest key. What no check in the file can find: an older copy of the whole file put in its place. Only the
export tells that.
"""

import hmac
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from adapters.storage.audit.checkpoint import Checkpoint, notes_from_text, opened, public_bytes
from adapters.storage.audit.merkle import Chain, genesis
from adapters.storage.audit.schema import open_to_read
from adapters.storage.audit.table import head_mac
from gateway.core.errors import Unavailable
from gateway.core.json import JsonObject

Trouble: TypeAlias = Literal[
    "altered", "missing", "truncated", "appended", "rewritten", "forged checkpoint", "other key", "unreadable"
]
_MOST_FINDINGS = 100
_TELL_EVERY = 20_000


class _Found(msgspec.Struct):
    """What the columns beside a line repeat of it."""

    id: str = ""
    at_us: int = 0
    tenant: str = ""
    run_id: str = ""


_decoder = msgspec.json.Decoder(_Found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it was written."""

    trouble: Trouble
    seq: int
    """Of the first record concerned, from 1; of a checkpoint, its size."""
    record_id: str = ""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What a log was found to be."""

    origin: str
    records: int
    checkpoints: int
    """Checkpoints with a valid signature, those of the export included, each size once."""
    signed: int
    """Records behind the newest of them; the rest is held by the chain and the head only."""
    signed_at: str
    head: str
    root: str
    key_given: bool
    """False: the key came from the file itself, so whoever could replace the file could replace the key."""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def first(self) -> Finding | None:
        """The finding about the earliest record."""
        return min(self.findings, key=lambda each: each.seq, default=None)

    def to_json(self) -> JsonObject:
        """For `--json`."""
        said: JsonObject = {"ok": self.ok, **{name: getattr(self, name) for name in self.__slots__}}
        said["findings"] = [
            {"trouble": each.trouble, "seq": each.seq, "record": each.record_id, "text": each.text}
            for each in self.findings
        ]
        return said


def verify(
    path: Path,
    *,
    public_key: Ed25519PublicKey | None = None,
    digest_key: bytes | None = None,
    export: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Check the log at `path`, also while it is written.

    `public_key`: whose signatures count, kept apart from the log; `digest_key`: checks the head of the last commit as
    well; `export`: the file checkpoints were exported to; `on_progress`: told records done, and how many there are.

    Raises: NotFound: there is no log; Unavailable: the file is no audit log, or the export cannot be read.
    """
    exported = _exported(export) if export is not None else []
    connection = open_to_read(path)
    try:
        # One view of the file, however long it takes.
        connection.execute("BEGIN")
        return _Verification(connection, public_key, digest_key).report(exported, on_progress)
    except sqlite3.Error as error:
        raise Unavailable(f"{path} cannot be read: {error}") from error
    finally:
        connection.close()


def _exported(export: Path) -> list[str]:
    try:
        return list(notes_from_text(export.read_text(encoding="utf-8", errors="replace")))
    except OSError as error:
        raise Unavailable(f"{export} cannot be read: {error.strerror}") from error


class _Verification:
    def __init__(
        self, connection: sqlite3.Connection, public_key: Ed25519PublicKey | None, digest_key: bytes | None
    ) -> None:
        self._connection = connection
        self._digest_key = digest_key
        self._key_given = public_key is not None
        origin, stored = connection.execute("SELECT origin, public_key FROM log").fetchone()
        self._origin: str = origin.decode("utf-8", "replace")
        self._findings: list[Finding] = []
        self._wanted: dict[int, Checkpoint] = {}
        self._chain = Chain(head=genesis(self._origin))
        self._whole = True
        """Nothing was found so far that makes every later root wrong."""
        self._agreed = 0
        """Size of the last checkpoint whose root was right."""
        self._key = public_key or Ed25519PublicKey.from_public_bytes(stored)
        if public_bytes(self._key) != stored:
            self._find("other key", 1, "", "the log was begun with another key than the one given")

    def report(self, exported: list[str], on_progress: Callable[[int, int], None] | None) -> VerifyReport:
        stored = self._connection.execute("SELECT size, note FROM checkpoints ORDER BY size").fetchall()
        for size, note in stored:
            self._take(note.decode("utf-8", "replace"), size, "in the log")
        for note in exported:
            self._take(note, None, "in the export")
        try:
            self._walk(on_progress)
        except sqlite3.Error as error:
            self._find("unreadable", self._chain.size + 1, "", f"the file is damaged from here on: {error}")
        else:
            self._check_end()
        newest = self._wanted[max(self._wanted)] if self._wanted else None
        return VerifyReport(
            origin=self._origin,
            records=self._chain.size,
            checkpoints=len(self._wanted),
            signed=newest.size if newest else 0,
            signed_at=newest.time if newest else "",
            head=self._chain.head.hex(),
            root=self._chain.root().hex(),
            key_given=self._key_given,
            findings=tuple(self._findings),
        )

    def _take(self, note: str, size: int | None, where: str) -> None:
        stated = opened(note, self._key)
        if stated is None or stated.origin != self._origin or (size is not None and stated.size != size):
            self._find("forged checkpoint", size or 0, "", f"a checkpoint {where} was not signed by this log's key")
            return
        known = self._wanted.setdefault(stated.size, stated)
        if known.root != stated.root:
            self._find("rewritten", stated.size, "", f"a checkpoint {where} says something else of the same size")

    def _walk(self, on_progress: Callable[[int, int], None] | None) -> None:
        total = int(self._connection.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()[0])
        expected = 1
        rows = self._connection.execute("SELECT seq, at_us, tenant, id, run_id, hash, line FROM records ORDER BY seq")
        for row in rows:
            seq = row[0]
            if seq != expected:
                last = f" to {seq - 1}" if seq - 1 > expected else ""
                self._find("missing", expected, "", f"record {expected}{last} is missing")
                self._whole = False
            expected = seq + 1
            self._check_row(row)
            if self._whole and self._chain.size in self._wanted:
                self._check_root(seq)
            if on_progress is not None and seq % _TELL_EVERY == 0:
                on_progress(seq, total)

    def _check_row(self, row: "tuple[Any, ...]") -> None:
        seq, at_us, tenant, record_id, run_id, hashed, line = row
        name = _text(record_id)
        if self._chain.append(line) != hashed:
            self._find("altered", seq, name, f"record {seq} was altered, inserted or moved, or one was taken out here")
            self._whole = False
            # From what is stored, so that only what is wrong is found, not everything after it.
            self._chain.head = hashed
            return
        try:
            said = _decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._find("altered", seq, name, f"record {seq} is no JSON")
            return
        if (said.id, said.at_us, said.tenant, said.run_id) != (name, at_us, _text(tenant), _text(run_id or b"")):
            self._find("altered", seq, name, f"record {seq} is not filed under what it says")

    def _check_root(self, seq: int) -> None:
        if self._chain.root() == self._wanted[seq].root:
            self._agreed = seq
            return
        first = self._agreed + 1
        found = self._connection.execute("SELECT id FROM records WHERE seq = ?", (first,)).fetchone()
        text = f"among records {first} to {seq} at least one is not what was signed; the chain was computed anew"
        self._find("rewritten", first, _text(found[0]) if found else "", text)
        self._whole = False

    def _check_end(self) -> None:
        chain = self._chain
        end = int(self._connection.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()[0])
        signed = max(self._wanted, default=0)
        head = self._connection.execute("SELECT size, hash, mac FROM head").fetchone()
        size, hashed, mac = head or (0, genesis(self._origin), b"")
        if max(signed, size) > end:
            text = f"the log ends at {end}, but had {max(signed, size)} records"
            self._find("truncated", end + 1, "", text)
        elif size < end:
            self._find("appended", size + 1, "", f"records {size + 1} to {end} were not written by a commit")
        elif hashed != chain.head:
            self._find("rewritten", end, "", "the end of the log is not the one of the last commit")
        elif self._digest_key is not None and size:
            expected = head_mac(self._digest_key, self._origin, size, hashed)
            if not hmac.compare_digest(expected, mac):
                text = f"the statement that the log ends with record {end} was not made with this log's key"
                self._find("truncated", end + 1, "", text)

    def _find(self, trouble: Trouble, seq: int, record_id: str, text: str) -> None:
        if len(self._findings) < _MOST_FINDINGS:
            self._findings.append(Finding(trouble=trouble, seq=seq, record_id=record_id, text=text))


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
