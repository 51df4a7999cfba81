"""One PostgreSQL database, shared by the processes on it: brought up to date, written and read by a few threads.

Writes about the same thing go through the same thread, in order, and share commits as they do on SQLite; see
`adapters.sql`. Transactions are REPEATABLE READ: of two that write the same row the second is refused by the database
and run again. SERIALIZABLE would find out more, but takes rows that lie side by side for the same, and runs of this
gateway begin side by side. Reads are statements of their own: a transaction around each would take two more round
trips. What is found by its key is read by a thread of its own, which keeps its connection.

Few threads: each of them takes the interpreter from the event loop whenever its statement is answered, and writes that
are made side by side share no commit.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from zlib import crc32

import anyio
from anyio import to_thread
from sqlalchemy import Connection, Engine, bindparam, create_engine, event, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool

from adapters.sql.hand_over import translated
from adapters.sql.prepared import Prepared, executed
from adapters.sql.read_worker import ReadWorker
from adapters.sql.write_worker import LASTING, WriteWorker
from adapters.storage.postgres_schema import NAME, agreements, changes, prepare
from adapters.storage.schema import Schema
from gateway.core.errors import GatewayError, InvalidRequest, Unavailable
from gateway.core.ports.world import Secret

T = TypeVar("T")

_logger = logging.getLogger(__name__)

# A process that was frozen in a transaction loses its locks before those who wait for them give up.
_SESSION = (
    f"SET search_path TO {NAME}; SET statement_timeout = '8s'; SET lock_timeout = '5s';"
    " SET idle_in_transaction_session_timeout = '3s'; SET client_encoding TO 'UTF8'"
)
_CONNECT_ARGS = {
    "connect_timeout": 5,
    "application_name": "drawbridge",
    # A database that is gone without a word is found out in half a minute, not in hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_RECYCLE_S = 1800
_QUEUE_LIMIT = 10_000
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ"
_BEGINNINGS = {True: _BEGIN, False: f"{_BEGIN}; SET LOCAL synchronous_commit = off"}
"""By whether it has to survive a power loss. Said in one round trip, where the driver would take one for each."""

_topic = insert(changes).values(topic=bindparam("of_topic"), serial=1)
_MARK = _topic.on_conflict_do_update(index_elements=["topic"], set_={"serial": changes.c.serial + 1})
_AGREE = insert(agreements).values(name=bindparam("of_name"), value=bindparam("proposed")).on_conflict_do_nothing()
_AGREED = select(agreements.c.value).where(agreements.c.name == bindparam("of_name"))


class PostgresDatabase:
    """See `Transactions`. Open with `PostgresDatabase.open`. Used from one event loop."""

    shared = True
    """Any number of processes may be at work on it."""

    def __init__(self, writer: Engine, reader: Engine, *, lanes: int, readers: int, timeout_s: float) -> None:
        self._writer = writer
        self._reader = reader
        self._timeout_s = timeout_s
        self._closed = False
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="read-postgres")
        self._glances = ReadWorker(reader, name="postgres", queue_limit=_QUEUE_LIMIT)
        self._lanes = [WriteWorker(writer, name=f"postgres-{lane}", queue_limit=_QUEUE_LIMIT) for lane in range(lanes)]

    @classmethod
    async def open(
        cls, url: Secret, schemas: Sequence[Schema], *, connections: int = 10, timeout_s: float = 10.0
    ) -> "PostgresDatabase":
        """The database, its tables created or migrated. At most `connections` are opened; `timeout_s` bounds every
        read and write.

        Raises: Unavailable: nobody answers there, it refuses the gateway, or a newer version has been there.
        """
        lanes = max(1, connections // 5)
        readers = connections - lanes - 1
        writer = _engine(url, size=lanes, read_only=False)
        reader = _engine(url, size=readers + 1, read_only=True)
        try:
            await to_thread.run_sync(_prepare, writer, schemas)
        except BaseException:
            writer.dispose()
            raise
        return cls(writer, reader, lanes=lanes, readers=readers, timeout_s=timeout_s)

    async def write(self, act: Callable[[Connection], T], *, about: str = "", lasting: bool = True) -> T:
        return await self._written(self._lane(about).submit(act, lasting=lasting))

    async def put(self, statement: Prepared, values: Mapping[str, Any], *, about: str) -> None:
        await self._written(self._lane(about).submit(lambda connection: statement.run(connection, values), lone=True))

    def _lane(self, about: str) -> WriteWorker:
        return self._lanes[crc32(about.encode("utf-8", "replace")) % len(self._lanes)]

    async def _written(self, future: "asyncio.Future[T]") -> T:
        with anyio.move_on_after(self._timeout_s, shield=True):
            return await future
        raise Unavailable("the storage did not answer in time; whether it wrote is not known", retry_after_s=1.0)

    async def read(self, act: Callable[[Connection], T]) -> T:
        if self._closed:
            raise Unavailable("the storage is closed")
        reading = partial(_read, self._reader, act)
        with anyio.move_on_after(self._timeout_s):
            return await asyncio.get_running_loop().run_in_executor(self._readers, reading)
        raise Unavailable("the storage did not answer in time", retry_after_s=1.0)

    async def glance(self, act: Callable[[Connection], T]) -> T:
        future = self._glances.submit(act)
        with anyio.move_on_after(self._timeout_s):
            return await future
        raise Unavailable("the storage did not answer in time", retry_after_s=1.0)

    def mark(self, connection: Connection, topic: str) -> None:
        """See `Transactions.mark`. Those who keep a copy look at the serials; see `Changes`."""
        connection.execute(_MARK, {"of_topic": topic})

    async def serials(self) -> dict[str, int]:
        """How often what each topic names has changed."""

        def act(connection: Connection) -> dict[str, int]:
            return {row.topic: row.serial for row in connection.execute(select(changes))}

        return await self.read(act)

    async def agreed(self, name: str, proposed: str) -> str:
        """What the processes on this database have agreed on under a name: what the first of them proposed."""

        def act(connection: Connection) -> str:
            connection.execute(_AGREE, {"of_name": name, "proposed": proposed})
            return str(connection.execute(_AGREED, {"of_name": name}).scalar_one())

        return await self.write(act)

    async def aclose(self) -> None:
        """Finish queued writes, then let go of the database; bounded; idempotent."""
        self._closed = True
        # A read whose asker has gone still has its connection, which is closed once it is back in the pool.
        finish_reading = partial(self._readers.shutdown, wait=True, cancel_futures=True)
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as closing:
                for lane in self._lanes:
                    closing.start_soon(to_thread.run_sync, lane.close, self._timeout_s)
                closing.start_soon(to_thread.run_sync, self._glances.close, self._timeout_s)
                with anyio.move_on_after(self._timeout_s):
                    await to_thread.run_sync(finish_reading, abandon_on_cancel=True)
        self._reader.dispose()
        self._writer.dispose()


def _read(engine: Engine, act: Callable[[Connection], T]) -> T:
    for again in (True, False):
        try:
            with engine.connect() as connection:
                return act(connection)
        except GatewayError:
            raise
        except Exception as error:
            # A connection that broke while nobody used it is found out now; the pool has let go of its like.
            if again and isinstance(error, DBAPIError) and error.connection_invalidated:
                continue
            raise translated(error) from error
    raise AssertionError("unreachable: the second try returns or raises")


def _prepare(writer: Engine, schemas: Sequence[Schema]) -> None:
    try:
        prepare(writer, schemas)
    except DBAPIError as error:
        _logger.exception("the PostgreSQL database of storage.url cannot be used")
        raise Unavailable(f"the PostgreSQL database of storage.url cannot be used: {_reason(error)}") from error


def _reason(error: DBAPIError) -> str:
    """Why, in our own words: the driver's would name address and user."""
    said = str(error.orig)
    if "authentication failed" in said or "no password supplied" in said or "pg_hba" in said:
        return "it refuses the user or the password"
    if "does not exist" in said:
        return "there is no such database or user"
    if "permission denied" in said:
        return "the user may not create the schema drawbridge or its tables there"
    if getattr(error.orig, "sqlstate", None):
        return "it refuses what it was told; the log has the rest"
    return "nobody answers there; is it running, and its address right?"


def _engine(url: Secret, *, size: int, read_only: bool) -> Engine:
    try:
        place = make_url(url.reveal()).set(drivername="postgresql+psycopg")
    except ArgumentError:
        raise InvalidRequest("storage.url is not the URL of a PostgreSQL database") from None
    engine = create_engine(
        place,
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        pool_recycle=_RECYCLE_S,
        # Of the driver: it begins no transactions of its own, late and one by one; ours say how they begin.
        isolation_level="AUTOCOMMIT",
        connect_args=_CONNECT_ARGS,
        # What is written is nobody's to read in a log.
        hide_parameters=True,
    )
    session = f"{_SESSION}; SET default_transaction_read_only = on" if read_only else _SESSION

    def on_connect(connection: Any, _record: object) -> None:
        connection.autocommit = True
        connection.execute(session)

    def on_begin(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        # Not where the tables are made, at another isolation level.
        if driver.autocommit:
            executed(connection, _BEGINNINGS[connection.info.get(LASTING, True)]).close()

    event.listen(engine, "connect", on_connect)
    if not read_only:
        event.listen(engine, "begin", on_begin)
    return engine
