"""Which agents were added at run time, read beside the gateway. No SQLAlchemy: the stdio relay would wait for it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.core.errors import Unavailable


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
