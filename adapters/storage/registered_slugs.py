"""Which agents were added at run time, read beside the gateway. No SQLAlchemy: the stdio relay would wait for it."""

import logging
import sqlite3
from contextlib import closing
from importlib import import_module
from pathlib import Path

from gateway.core.errors import Unavailable
from gateway.core.ports.world import Secret

_logger = logging.getLogger(__name__)


def registered_slugs(path: Path) -> frozenset[str]:
    """Names of the agents added at run time to the gateway whose database is at `path`; none where there is none.

    For checks of a configuration, which are made with no gateway at work or beside one.
    """
    if not path.exists():
        return frozenset()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            return frozenset(str(row[0]) for row in connection.execute("SELECT slug FROM agents"))
    except sqlite3.Error as error:
        raise Unavailable(f"{path} cannot be read: {error}") from error


def registered_slugs_in_postgres(url: Secret) -> frozenset[str]:
    """As `registered_slugs`, of the gateways on a PostgreSQL database; none where none has been at work yet.

    Raises: Unavailable: nobody answers there, or it refuses.
    """
    # Loaded only where it is needed, which the relay's start does not have to wait for.
    driver = import_module("psycopg")
    try:
        with driver.connect(url.reveal(), connect_timeout=5, autocommit=True) as connection:
            connection.execute("SET statement_timeout = '5s'")
            return frozenset(str(row[0]) for row in connection.execute("SELECT slug FROM drawbridge.agents"))
    except (driver.errors.UndefinedTable, driver.errors.InvalidSchemaName):
        return frozenset()
    except driver.Error as error:
        # Not repeated: the driver names user and address.
        _logger.debug("the PostgreSQL database cannot be read", exc_info=error)
        raise Unavailable("the PostgreSQL database of storage.url cannot be read") from None
