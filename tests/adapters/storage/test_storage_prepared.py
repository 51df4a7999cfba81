"""Statements that go straight to the driver: nobody can tell them from those that go through SQLAlchemy."""

from collections.abc import AsyncGenerator

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, bindparam, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from adapters.sql.prepared import Prepared
from adapters.storage.schema import Schema
from adapters.storage.transactions import Transactions
from tests.contracts.databases import opened

pytestmark = pytest.mark.anyio

TABLES = MetaData()
notes = Table("notes", TABLES, Column("said", Text, primary_key=True), Column("times", Integer, nullable=False))
ADD = Prepared(insert(notes), ["said", "times"])
AGAIN = Prepared(update(notes).where(notes.c.said == bindparam("of")).values(times=notes.c.times + 1))
TIMES = Prepared(select(notes.c.times).where(notes.c.said == bindparam("of")))
ADDED = Prepared(insert(notes).returning(notes.c.times), ["said", "times"])


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest) -> AsyncGenerator[Transactions]:
    async with opened(request, Schema(name="notes", number=1, tables=TABLES)) as found:
        yield found


async def test_they_say_how_many_rows_they_concern_and_what_is_in_the_first(database: Transactions) -> None:
    def act(connection: Connection) -> list[object]:
        return [
            ADDED.first(connection, {"said": "x", "times": 1}),
            AGAIN.run(connection, {"of": "x"}),
            AGAIN.run(connection, {"of": "y"}),
            TIMES.first(connection, {"of": "x"}),
            TIMES.first(connection, {"of": "y"}),
        ]

    assert await database.write(act) == [(1,), 1, 0, (2,), None]


async def test_their_errors_are_those_of_sqlalchemy(database: Transactions) -> None:
    def failing(connection: Connection, *, prepared: bool) -> DBAPIError:
        with pytest.raises(DBAPIError) as caught, connection.begin_nested():
            if prepared:
                ADD.run(connection, {"said": "x", "times": None})
            else:
                connection.execute(insert(notes), {"said": "x", "times": None})
        return caught.value

    def act(connection: Connection) -> tuple[DBAPIError, DBAPIError]:
        return failing(connection, prepared=True), failing(connection, prepared=False)

    ours, theirs = await database.write(act)
    assert type(ours) is type(theirs)
    assert type(ours.orig) is type(theirs.orig)
    assert (ours.connection_invalidated, ours.hide_parameters) == (False, True)


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
async def test_a_connection_that_is_gone_is_let_go_of_and_the_write_made_over_another(database: Transactions) -> None:
    broken: list[int] = []

    def act(connection: Connection) -> int:
        if not broken:
            broken.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
            connection.connection.driver_connection.close()  # pyright: ignore[reportOptionalMemberAccess]
        return ADD.run(connection, {"said": "x", "times": 1})

    assert await database.write(act) == 1
    assert broken
