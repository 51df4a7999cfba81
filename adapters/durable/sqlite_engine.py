"""The SQLite engine the durable engine runs on: crash-safe, and its one writer not fought over."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Literal

from sqlalchemy import URL, Engine, create_engine, event

from gateway.core.errors import Unavailable

Synchronous = Literal["FULL", "NORMAL"]
"""Both survive a killed process; only FULL survives a power loss."""

_RETURNING_SINCE = (3, 35, 0)


def open_engine(path: Path, *, synchronous: Synchronous, connections: int) -> Engine:
    """An engine on the file at `path`, created with mode 0600 and in WAL mode.

    Raises: Unavailable: the file cannot be opened, or this SQLite is too old.
    """
    if sqlite3.sqlite_version_info < _RETURNING_SINCE:
        raise Unavailable(f"SQLite {sqlite3.sqlite_version} is too old for the durable engine; it needs 3.35 or later")
    try:
        # The side files take their mode from the main one, so it has to exist before the first connection.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"{path.name} cannot be opened: {error}") from error
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=30,
        # What runs say is nobody's to read in a log.
        hide_parameters=True,
    )

    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        # A writer that begins deferred can fail when it upgrades its lock; one that begins immediate only waits.
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("busy_timeout = 30000", "foreign_keys = ON", f"synchronous = {synchronous}"):
            connection.execute(f"PRAGMA {pragma}")
        # DBOS 3.4 asks for unixepoch('subsec'), which SQLite has from 3.42 on; Debian 12 ships 3.40.
        if sqlite3.sqlite_version_info < (3, 42, 0):
            connection.create_function("unixepoch", 1, _unixepoch)

    event.listen(engine, "connect", on_connect)
    return engine


def _unixepoch(modifier: str) -> float:
    now_ns = time.time_ns()
    return now_ns / 1e9 if modifier == "subsec" else now_ns // 1_000_000_000
