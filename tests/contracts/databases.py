"""The databases every store is held to: a SQLite file, and PostgreSQL."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.storage.database import Database
from adapters.storage.postgres import PostgresDatabase
from adapters.storage.schema import Schema
from adapters.storage.transactions import Transactions
from gateway.core.ports.world import Secret

STORES = ("memory", "sqlite", "postgres")
"""Parameters of a contract suite's fixture; `memory` stands for the fake."""


@asynccontextmanager
async def opened(request: pytest.FixtureRequest, schema: Schema) -> AsyncGenerator[Transactions]:
    """An empty database of the kind `request.param` names, for the time of the block."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        database = await PostgresDatabase.open(Secret(url), (schema,), connections=5)
    else:
        folder: Path = request.getfixturevalue("tmp_path")
        database = await Database.open(folder / "rows.db", schema)
    try:
        yield database
    finally:
        await database.aclose()
