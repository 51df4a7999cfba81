"""One DBOS, as this program wants it: built on an engine of ours, quiet, and taken down in order."""

import logging

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from adapters.durable.dbos_records import count_no_crash
from adapters.durable.leases import Lease
from adapters.durable.places import SCHEMA, Place
from gateway.core.errors import Internal

_logger = logging.getLogger(__name__)
_dbos_logger = logging.getLogger("dbos")

APPLICATION = "drawbridge"
"""DBOS wants 3 to 256 characters of `[a-z0-9_-]`."""
SCHEMA_VERSION = "runs-1"
"""DBOS recovers runs of this version only; changes when what is stored of a run no longer fits the code."""


def build(engine: Engine, place: Place, poll_s: float) -> DBOS:
    """Not launched. `poll_s`: at most so long it takes to notice its own end. Raises: Internal: there is another."""
    built = DBOS(config=_config(engine, place, poll_s))
    # A second DBOS() quietly gives the first, and nothing public tells which one it gave.
    if built._config.get("system_database_engine") is not engine:  # pyright: ignore[reportPrivateUsage]
        engine.dispose()
        raise Internal("another durable engine runs in this process")
    return built


def destroy(engine: Engine, place: Place, lease: Lease | None = None) -> None:
    """Blocks."""
    try:
        count_no_crash(engine, place)
        if lease is not None:
            lease.close()
    except SQLAlchemyError:
        _logger.exception("this end of the gateway counts as a crash for the runs under way")
    DBOS.destroy(destroy_registry=True)
    engine.dispose()


def stop_asking(built: DBOS) -> None:
    """Threads of DBOS ask a database that is away again and again, without an end, and the process waits for each of
    them: they ask once more."""
    built._sys_db._retry_connection_errors = False  # pyright: ignore[reportPrivateUsage]


def silence() -> None:
    """DBOS logs to the console by a handler of its own unless there is one: its lines go where ours go."""
    if not _dbos_logger.handlers:
        _dbos_logger.addHandler(logging.NullHandler())
    _dbos_logger.propagate = True


def _config(engine: Engine, place: Place, poll_s: float) -> DBOSConfig:
    return {
        "name": APPLICATION,
        "system_database_url": place.url,
        "system_database_engine": engine,
        "serializer": DBOSPortableJSONSerializer(),
        "dbos_system_schema": SCHEMA,
        "use_listen_notify": False,
        "executor_id": place.executor_id,
        "application_version": SCHEMA_VERSION,
        "max_executor_threads": 8,
        # Its own listener has nothing to look for, and its end waits for it to notice.
        "notification_listener_polling_interval_sec": min(poll_s, 1.0),
        "log_level": "WARNING",
    }
