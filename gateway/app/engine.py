"""Which durable engine runs the workflows. Found by its entry point, so that it is loaded only where there are any."""

from importlib.metadata import entry_points
from pathlib import Path

from gateway.core.errors import InvalidRequest
from gateway.core.ports.journal import Journal

GROUP, NAME = "gateway.adapters", "dbos"


def durable_engine(path: Path) -> Journal:
    """The engine, with its file at `path`; not launched. Raises: InvalidRequest: it is not installed."""
    found = next(iter(entry_points(group=GROUP, name=NAME)), None)
    if found is None:
        raise InvalidRequest(f"no durable engine is installed as {NAME} in {GROUP}: install agent-drawbridge again")
    journal: Journal = found.load()(path)
    return journal
