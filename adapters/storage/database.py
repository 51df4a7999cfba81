"""One SQLite file: opened, brought up to date, written by one thread, read by a few. Knows no table."""

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio import to_thread
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from adapters.sql.hand_over import translated
from adapters.sql.prepared import Prepared
from adapters.sql.write_worker import LASTING, WriteWorker
from adapters.storage.schema import Schema, back_up, bring_up_to_date, current_number, refuse_newer
from gateway.core.errors import GatewayError, Unavailable

T = TypeVar("T")

# A commit that was reported survives a power loss; or, where that is not asked for, a crash of ours only.
_LASTING = {True: ("PRAGMA synchronous = FULL",), False: ("PRAGMA synchronous = NORMAL",)}
_WRITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    *_LASTING[True],
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA journal_size_limit = 67108864",
)
_READ_PRAGMAS = ("PRAGMA query_only = ON", "PRAGMA busy_timeout = 5000")
_READERS = 2
_IN_FORCE = "synchronous"


class Database:
    """See `Transactions`. Open with `Database.open`. Used from one event loop."""

    shared = False
    """One gateway holds the directory its files lie in."""

    def __init__(self, path: Path, writer: Engine, reader: Engine, *, timeout_s: float, queue_limit: int) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._timeout_s = timeout_s
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix=f"read-{path.name}")
        self._closed = False
        self._worker = WriteWorker(writer, name=path.name, queue_limit=queue_limit)

    @classmethod
    async def open(
        cls, path: Path, schema: Schema, *, timeout_s: float = 10.0, queue_limit: int = 10_000
    ) -> "Database":
        """The file at `path`, created or migrated. `timeout_s` bounds every read and write.

        Raises: Unavailable: a newer version wrote it, it is damaged or not ours, or it cannot be opened.
        """
        writer = _engine(path, _WRITE_PRAGMAS, begin="BEGIN IMMEDIATE", size=1)
        reader = _engine(path, _READ_PRAGMAS, begin="BEGIN", size=_READERS)
        try:
            await to_thread.run_sync(_prepare, path, writer, reader, schema)
        except BaseException:
            reader.dispose()
            writer.dispose()
            raise
        return cls(path, writer, reader, timeout_s=timeout_s, queue_limit=queue_limit)

    async def write(self, act: Callable[[Connection], T], *, about: str = "", lasting: bool = True) -> T:
        """See `Transactions.write`. There is one writer, so whatever they are about, all writes keep their order."""
        future = self._worker.submit(act, lasting=lasting)
        with anyio.move_on_after(self._timeout_s, shield=True):
            return await future
        raise Unavailable("the storage did not answer in time; whether it wrote is not known", retry_after_s=1.0)

    async def put(self, statement: Prepared, values: Mapping[str, Any], *, about: str) -> None:
        """See `Transactions.put`."""
        await self.write(lambda connection: statement.run(connection, values), about=about)

    async def read(self, act: Callable[[Connection], T]) -> T:
        """See `Transactions.read`."""
        if self._closed:
            raise Unavailable("the storage is closed")
        reading = partial(_read, self._reader, act)
        with anyio.move_on_after(self._timeout_s):
            return await asyncio.get_running_loop().run_in_executor(self._readers, reading)
        raise Unavailable("the storage did not answer in time", retry_after_s=1.0)

    async def glance(self, act: Callable[[Connection], T]) -> T:
        """See `Transactions.glance`. Nobody asks for much: what others may have changed is nothing here."""
        return await self.read(act)

    def mark(self, connection: Connection, topic: str) -> None:
        """See `Transactions.mark`. There is nobody else."""

    async def aclose(self) -> None:
        """Finish queued writes, then let go of the file; bounded; idempotent."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._worker.close, self._timeout_s)
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._reader.dispose()
        self._writer.dispose()


def _read(engine: Engine, act: Callable[[Connection], T]) -> T:
    try:
        with engine.connect() as connection:
            return act(connection)
    except GatewayError:
        raise
    except Exception as error:
        raise translated(error) from error


def _prepare(path: Path, writer: Engine, reader: Engine, schema: Schema) -> None:
    try:
        # SQLite gives its side files the mode of the main one, so it has to exist, closed, before the first connection.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
        # Looked at by a reader: the writer's first pragma alone would change a file that is not ours.
        with reader.connect() as connection:
            number = current_number(connection)
        refuse_newer(schema, number)
        if number == schema.number:
            return
        if number:
            back_up(path, number)
        with writer.begin() as connection:
            bring_up_to_date(connection, schema, number)
    except OSError as error:
        raise Unavailable(f"{path} cannot be opened: {error.strerror}") from error
    except DBAPIError as error:
        raise Unavailable(f"{path} cannot be used: {error.orig}. If it is damaged, restore a backup") from error
    except GatewayError as error:
        raise Unavailable(f"{path}: {error.message}") from error


def _engine(path: Path, pragmas: tuple[str, ...], *, begin: str, size: int) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        connect_args={"timeout": 5.0, "check_same_thread": False},
        # What is written is nobody's to read in a log.
        hide_parameters=True,
    )

    def on_connect(connection: Any, _record: object) -> None:
        # The driver begins transactions of its own, late and deferred; ours say how they begin.
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(pragma)

    def on_begin(connection: Connection) -> None:
        cursor = connection.connection.cursor()
        lasting = connection.info.get(LASTING, True)
        if lasting is not connection.info.get(_IN_FORCE, True):
            # Nothing in a transaction changes it, so it is said before one begins.
            cursor.execute(*_LASTING[lasting])
            connection.info[_IN_FORCE] = lasting
        cursor.execute(begin)

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine
