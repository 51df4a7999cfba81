"""Contract suite of `Transactions`: what is asked at a glance, and written by itself, over every adapter."""

from collections.abc import AsyncGenerator

import anyio
import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, bindparam, func, insert, select, update

from adapters.sql.prepared import Prepared
from adapters.storage.database import Database
from adapters.storage.postgres import PostgresDatabase
from adapters.storage.schema import Schema
from adapters.storage.transactions import Transactions
from gateway.core.errors import Conflict, GatewayError, Unavailable
from tests.contracts.databases import opened

pytestmark = pytest.mark.anyio

TABLES = MetaData()
notes = Table("notes", TABLES, Column("said", Text, primary_key=True), Column("times", Integer, nullable=False))
ADD = Prepared(insert(notes), ["said", "times"])
TIMES = Prepared(select(notes.c.times).where(notes.c.said == bindparam("of")))


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest) -> AsyncGenerator[Transactions]:
    async with opened(request, Schema(name="notes", number=1, tables=TABLES)) as found:
        yield found


def add(connection: Connection, said: str, times: int) -> None:
    ADD.run(connection, {"said": said, "times": times})


async def times(database: Transactions, said: str) -> object:
    return await database.glance(lambda connection: TIMES.first(connection, {"of": said}))


async def test_a_glance_sees_what_was_written_before_it_was_asked_for(database: Transactions) -> None:
    for number in range(20):
        said = f"{number}"
        assert await times(database, said) is None
        await database.write(lambda connection, said=said, number=number: add(connection, said, number))
        assert await times(database, said) == (number,)


async def test_a_glance_that_fails_is_its_askers_only(database: Transactions) -> None:
    await database.write(lambda connection: add(connection, "x", 1))
    heard: list[object] = []

    def refuse(_: Connection) -> object:
        raise Conflict("no")

    def wrong(connection: Connection) -> object:
        return connection.execute(select(func.nonsense(notes.c.times))).all()

    async def ask(number: int) -> None:
        try:
            match number % 3:
                case 0:
                    heard.append(await times(database, "x"))
                case 1:
                    heard.append(await database.glance(refuse))
                case _:
                    heard.append(await database.glance(wrong))
        except Conflict:
            heard.append("refused")
        except GatewayError as error:
            heard.append("wrong" if "nonsense" not in error.message else error.message)

    with anyio.fail_after(120):
        async with anyio.create_task_group() as asking:
            for number in range(30):
                asking.start_soon(ask, number)

    assert sorted(map(str, heard)) == [*["(1,)"] * 10, *["refused"] * 10, *["wrong"] * 10]


async def test_nothing_is_written_at_a_glance(database: Transactions) -> None:
    with pytest.raises(GatewayError):
        await database.glance(lambda connection: add(connection, "x", 1))

    assert await times(database, "x") is None


async def test_a_closed_database_is_not_glanced_at(database: Transactions) -> None:
    assert await times(database, "x") is None
    assert isinstance(database, Database | PostgresDatabase)
    await database.aclose()

    with pytest.raises(Unavailable):
        await times(database, "x")


async def test_what_is_put_is_kept_in_the_order_of_the_calls(database: Transactions) -> None:
    again = Prepared(update(notes).where(notes.c.said == bindparam("of")).values(times=bindparam("now")))

    await database.put(ADD, {"said": "alone", "times": 0}, about="x")
    async with anyio.create_task_group() as writing:
        for number in range(1, 20):
            if number % 3:
                writing.start_soon(lambda n: database.put(again, {"of": "alone", "now": n}, about="x"), number)
            else:
                said = f"beside {number}"
                writing.start_soon(
                    lambda said: database.write(lambda connection: add(connection, said, 1), about="x"), said
                )

    assert await times(database, "alone") == (19,)
    assert [await times(database, f"beside {n}") for n in range(3, 20, 3)] == [(1,)] * 6


async def test_what_is_put_and_refused_is_its_callers_only(database: Transactions) -> None:
    refused: list[str] = []

    async def put(said: str) -> None:
        try:
            await database.put(ADD, {"said": said, "times": 1}, about="x")
        except GatewayError:
            refused.append(said)

    await put("x")
    await put("x")
    async with anyio.create_task_group() as writing:
        for said in ("a", "x", "b"):
            writing.start_soon(put, said)

    assert refused == ["x", "x"]
    assert [await times(database, said) for said in ("x", "a", "b")] == [(1,), (1,), (1,)]
