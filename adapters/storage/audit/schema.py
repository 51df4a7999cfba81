"""audit.db: its tables, and how it is opened for writing and for reading."""

import os
import sqlite3
from pathlib import Path

from gateway.core.errors import NotFound, Unavailable

SCHEMA = 1
BUSY_S = 5.0

_TABLES = (
    "CREATE TABLE log (one INTEGER PRIMARY KEY CHECK (one = 1), origin TEXT NOT NULL, public_key BLOB NOT NULL)",
    # The line is the record; the columns before it are copies to find it by, and are checked against it.
    "CREATE TABLE records (seq INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, tenant TEXT NOT NULL, id TEXT NOT NULL,"
    " run_id TEXT, hash BLOB NOT NULL, line TEXT NOT NULL)",
    "CREATE INDEX records_id ON records (id)",
    "CREATE INDEX records_run ON records (run_id) WHERE run_id IS NOT NULL",
    # What the last commit left behind: without the key nobody can claim that the log ended earlier.
    "CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, hash BLOB NOT NULL,"
    " mac BLOB NOT NULL)",
    "CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL, hash BLOB NOT NULL,"
    " frontier BLOB NOT NULL)",
    "CREATE TABLE bodies (digest TEXT PRIMARY KEY, at_us INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID",
    "CREATE INDEX bodies_age ON bodies (at_us)",
    f"PRAGMA user_version = {SCHEMA}",
)
_WRITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    # A record that was reported survives a power loss, not only a crash of ours; on macOS only this really flushes.
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA journal_size_limit = 67108864",
    # An erased body is overwritten, not only forgotten.
    "PRAGMA secure_delete = ON",
    f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}",
)


def open_to_write(path: Path, *, origin: str, public_key: bytes) -> sqlite3.Connection:
    """The file at `path`, created where there is none, with `origin` and `public_key`; for one thread at a time.

    Raises: Unavailable: a newer version wrote it, it is damaged or no audit log, or it cannot be opened.
    """
    try:
        # SQLite gives its side files the mode of the main one, so it has to exist, closed, before the first connection.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise Unavailable(f"{path} cannot be opened: {error.strerror}") from error
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=32)
    try:
        _refuse_foreign(connection, path)
        for pragma in _WRITE_PRAGMAS:
            connection.execute(pragma).fetchall()
        if _schema_of(connection) == 0:
            _create(connection, origin, public_key)
    except sqlite3.Error as error:
        connection.close()
        raise Unavailable(f"{path} cannot be used: {error}. If it is damaged, restore a copy") from error
    except Unavailable:
        connection.close()
        raise
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """The file at `path`, read only, also where nothing may be written beside it. Text comes as bytes.

    Raises: NotFound: there is none; Unavailable: as `open_to_write`.
    """
    if not path.exists():
        raise NotFound(f"there is no audit log at {path}")
    address = path.absolute().as_uri()
    try:
        connection = _reading(f"{address}?mode=ro")
    except sqlite3.Error:
        # A log in WAL mode wants its side files beside it; on a read-only disk nobody can change it meanwhile.
        connection = _reading_unchanged(path, address)
    try:
        _refuse_foreign(connection, path)
    except Unavailable:
        connection.close()
        raise
    if _schema_of(connection) == 0:
        connection.close()
        raise Unavailable(f"{path} is empty: no audit log was begun in it")
    return connection


def _reading(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_S)
    try:
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
    except sqlite3.Error:
        connection.close()
        raise
    connection.text_factory = bytes
    return connection


def _reading_unchanged(path: Path, address: str) -> sqlite3.Connection:
    side = path.with_name(f"{path.name}-wal")
    try:
        if side.exists() and side.stat().st_size > 0:
            raise Unavailable(f"{path} cannot be read here: copy it with {side.name} to where it can be written")
        return _reading(f"{address}?immutable=1")
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(f"{path} cannot be read: {error}") from error


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    try:
        number = _schema_of(connection)
        tables = {_text(row[0]) for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise Unavailable(f"{path} cannot be used: {error}. If it is damaged, restore a copy") from error
    if number > SCHEMA:
        raise Unavailable(
            f"{path} was written by a newer version (schema {number}, this one knows {SCHEMA}): upgrade Drawbridge"
        )
    if (number == 0 and tables) or (number > 0 and "records" not in tables):
        raise Unavailable(f"{path} is a database, but no audit log")


def _create(connection: sqlite3.Connection, origin: str, public_key: bytes) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute("INSERT INTO log VALUES (1, ?, ?)", (origin, public_key))
    connection.execute("COMMIT")


def _schema_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
