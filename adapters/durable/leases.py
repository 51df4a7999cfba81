"""Which processes on one database are alive, and whose runs nobody runs any more.

A row a process, renewed about every second. What a process had under way whose row has not been renewed for `ttl_s`
goes back to the queue, and whoever is alive takes it from there; the statement is guarded by the owner it names, so
that any number of processes may do it at once. A process that could not renew its row for so long (it was frozen, or
the database away) must take itself for dead: it stops what it runs and gives the runs back before it takes a row again.
Its own clock tells it so even without the database, and the server's tells it where its own stood still.

The row is there before the engine takes its first run from the queue: without it the others would take that run back.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Engine, bindparam, text

from adapters.durable.places import SCHEMA

_NOW = "EXTRACT(EPOCH FROM clock_timestamp())"
_TABLE = f"{SCHEMA}.leases"
_RUNS = f"{SCHEMA}.workflow_status"
_FORGET_AFTER_S = 3600

_HAS_SCHEMA = text("SELECT to_regnamespace(:name)")
_CREATE_SCHEMA = text(f"CREATE SCHEMA {SCHEMA}")
_CREATE = text(f"CREATE TABLE IF NOT EXISTS {_TABLE} (executor_id TEXT PRIMARY KEY, seen DOUBLE PRECISION NOT NULL)")
_LOCK = text("SELECT pg_advisory_xact_lock(7203164001)")
_TAKE = text(
    f"INSERT INTO {_TABLE} VALUES (:me, {_NOW})"  # noqa: S608 - nothing of it is given
    f" ON CONFLICT (executor_id) DO UPDATE SET seen = {_NOW}"
)
_RENEW = text(
    f"UPDATE {_TABLE} SET seen = {_NOW} WHERE executor_id = :me AND seen > {_NOW} - :ttl_s"  # noqa: S608 - nothing of it is given
)
_SWEEP = text(f"DELETE FROM {_TABLE} WHERE seen < {_NOW} - {_FORGET_AFTER_S}")  # noqa: S608 - nothing of it is given
_DEAD = text(
    f"SELECT DISTINCT executor_id FROM {_RUNS} WHERE status = 'PENDING' AND executor_id IS NOT NULL"  # noqa: S608 - nothing of it is given
    f" AND executor_id NOT IN (SELECT executor_id FROM {_TABLE} WHERE seen > {_NOW} - :ttl_s)"
)
_CANCELED = text(
    f"SELECT workflow_uuid FROM {_RUNS} WHERE status = 'CANCELLED' AND workflow_uuid IN :runs"  # noqa: S608 - nothing of it is given
).bindparams(bindparam("runs", expanding=True))
_LEAVE = text(f"DELETE FROM {_TABLE} WHERE executor_id = :me")  # noqa: S608 - nothing of it is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a process saw when it renewed its lease."""

    lapsed: bool = False
    """It was too late: the others may have taken this process for dead. Nothing was renewed."""
    dead: tuple[str, ...] = ()
    """Executors that have runs under way, and no lease."""
    canceled: tuple[str, ...] = ()
    """Of the runs under way here, those that somebody else has canceled."""


class Lease:
    """This process's. Its methods wait for the database: call them from a thread."""

    def __init__(self, engine: Engine, me: str, *, ttl_s: float) -> None:
        self._engine = engine
        self._me = me
        self.ttl_s = ttl_s
        self._renewed_s = time.monotonic()

    @property
    def held(self) -> bool:
        """Whether nobody can have taken this process for dead."""
        return time.monotonic() - self._renewed_s < self.ttl_s

    def open(self) -> None:
        with self._engine.begin() as connection:
            # Two that create them at the same time would fail in spite of IF NOT EXISTS.
            connection.execute(_LOCK)
            if connection.execute(_HAS_SCHEMA, {"name": SCHEMA}).scalar() is None:
                connection.execute(_CREATE_SCHEMA)
            connection.execute(_CREATE)
        self.take()

    def take(self) -> None:
        """Be alive from now on. Counted from before the statement: the server's clock ran meanwhile."""
        asked_s = time.monotonic()
        with self._engine.begin() as connection:
            connection.execute(_TAKE, {"me": self._me})
        self._renewed_s = asked_s

    def renew(self, running: Collection[str]) -> Seen:
        """Renew it, unless it has lapsed; what there is to do. Counted as in `take`."""
        asked_s = time.monotonic()
        with self._engine.begin() as connection:
            if not connection.execute(_RENEW, {"me": self._me, "ttl_s": self.ttl_s}).rowcount:
                return Seen(lapsed=True)
            connection.execute(_SWEEP)
        self._renewed_s = asked_s
        with self._engine.connect() as connection:
            dead = tuple(connection.execute(_DEAD, {"ttl_s": self.ttl_s}).scalars())
            canceled = tuple(connection.execute(_CANCELED, {"runs": [*running]}).scalars()) if running else ()
        return Seen(dead=tuple(each for each in dead if each != self._me), canceled=canceled)

    def close(self) -> None:
        """An orderly end: what is under way here is free at once."""
        with self._engine.begin() as connection:
            connection.execute(_LEAVE, {"me": self._me})
