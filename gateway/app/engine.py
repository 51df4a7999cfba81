"""Which durable engine runs the workflows. Found by its entry point, so that it is loaded only where there are any."""

from importlib.metadata import entry_points
from pathlib import Path

from adapters.durable.places import Place, PostgresServer, SqliteFile
from gateway.core.errors import InvalidRequest
from gateway.core.ports.journal import Journal
from gateway.core.ports.world import Secret

GROUP, NAME = "gateway.adapters", "dbos"


def durable_engine(path: Path, postgres: Secret | None) -> Journal:
    """The engine, on the PostgreSQL database of this URL, or with its file at `path` where there is none; not launched.

    Raises: InvalidRequest: it is not installed.
    """
    found = next(iter(entry_points(group=GROUP, name=NAME)), None)
    if found is None:
        raise InvalidRequest(f"no durable engine is installed as {NAME} in {GROUP}: install agent-drawbridge again")
    place: Place = SqliteFile(path) if postgres is None else PostgresServer(postgres)
    journal: Journal = found.load()(place)
    return journal
