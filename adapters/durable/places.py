"""Where the durable engine keeps its journal: a SQLite file of one process, or a PostgreSQL database of several."""

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from adapters.durable.sqlite_engine import Synchronous, open_engine
from gateway.core.errors import InvalidRequest
from gateway.core.ports.world import Secret

SCHEMA = "drawbridge_engine"
"""Of the engine's tables in PostgreSQL: apart from ours, and from those of anybody else who uses DBOS there."""


def prefix(*, shared: bool) -> str:
    """What stands before the name of an engine's table."""
    return f"{SCHEMA}." if shared else ""


# A process that was frozen in a transaction keeps its locks for no longer than this: others have to do its work.
_SESSION = "SET idle_in_transaction_session_timeout = '3s'; SET statement_timeout = '30s'"
_CONNECT_ARGS = {
    "connect_timeout": 10,
    "application_name": "drawbridge engine",
    # A server that is gone without a word is found out in half a minute: the lease is renewed over these connections.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class Place(Protocol):
    """One database."""

    @property
    def name(self) -> str:
        """How errors call it. Never its address."""
        ...

    @property
    def url(self) -> str:
        """As DBOS wants it."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes run runs from it as well."""
        ...

    @property
    def executor_id(self) -> str:
        """Whose the runs under way here are. Shared, it is another one at every start: nobody else must have it."""
        ...

    def open(self) -> Engine:
        """Raises: Unavailable; InvalidRequest."""
        ...


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """See `Place`."""

    path: Path
    synchronous: Synchronous = "FULL"
    executor_id: str = "gateway"

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    @property
    def shared(self) -> bool:
        return False

    def open(self) -> Engine:
        return open_engine(self.path, synchronous=self.synchronous, connections=4)


class PostgresServer:
    """See `Place`."""

    def __init__(self, url: Secret, *, connections: int = 10) -> None:
        """`connections`: at most so many are opened to the server."""
        self._url = url
        self._connections = connections
        self.executor_id = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"

    @property
    def name(self) -> str:
        return "the PostgreSQL database"

    @property
    def url(self) -> str:
        return make_url(self._url.reveal()).set(drivername="postgresql").render_as_string(hide_password=False)

    @property
    def shared(self) -> bool:
        return True

    def open(self) -> Engine:
        try:
            place = make_url(self._url.reveal()).set(drivername="postgresql+psycopg")
        except ArgumentError:
            raise InvalidRequest("storage.url is not the URL of a PostgreSQL database") from None
        engine = create_engine(
            place,
            pool_size=self._connections,
            max_overflow=0,
            pool_timeout=30,
            pool_pre_ping=True,
            connect_args=_CONNECT_ARGS,
            hide_parameters=True,
        )
        event.listen(engine, "connect", _on_connect)
        return engine


def _on_connect(connection: Any, _record: object) -> None:
    connection.autocommit = True
    connection.execute(_SESSION)
    connection.autocommit = False
