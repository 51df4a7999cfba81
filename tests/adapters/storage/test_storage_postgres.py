"""One PostgreSQL database and several processes on it: what is refused, repeated and bounded."""

import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import anyio
import psycopg
import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, func, insert, select, text, update

from adapters.sql.prepared import Prepared
from adapters.storage.postgres import PostgresDatabase
from adapters.storage.schema import Schema
from gateway.core.errors import Conflict, GatewayError, Internal, Unavailable
from gateway.core.ports.world import Secret
from tests.postgres import PostgresServer

pytestmark = pytest.mark.anyio

TABLES = MetaData()
notes = Table("notes", TABLES, Column("said", Text, primary_key=True), Column("times", Integer, nullable=False))
SCHEMA = Schema(name="notes", number=1, tables=TABLES)
ADD = Prepared(insert(notes), ["said", "times"])


@asynccontextmanager
async def processes(url: str, count: int = 2, *, timeout_s: float = 10.0) -> AsyncGenerator[list[PostgresDatabase]]:
    """As many as gateways: each with connections and threads of its own."""
    async with AsyncExitStack() as stack:
        opened: list[PostgresDatabase] = []
        for _ in range(count):
            database = await PostgresDatabase.open(Secret(url), (SCHEMA,), timeout_s=timeout_s)
            stack.push_async_callback(database.aclose)
            opened.append(database)
        yield opened


def say(said: str) -> Callable[[Connection], int]:
    """How often it was said, this time included: looked up first, then added or replaced."""

    def act(connection: Connection) -> int:
        this = notes.c.said == said
        times = connection.execute(select(notes.c.times).where(this)).scalar()
        if times is None:
            connection.execute(insert(notes), {"said": said, "times": 1})
            return 1
        connection.execute(update(notes).where(this), {"times": times + 1})
        return times + 1

    return act


def count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(notes)).scalar_one()


async def test_what_one_process_wrote_the_others_read(postgres_url: str) -> None:
    async with processes(postgres_url) as (a, b):
        assert await a.write(say("x")) == 1

        assert await b.read(count) == 1


async def test_processes_that_start_at_once_make_the_tables_once(postgres_url: str) -> None:
    opened: list[PostgresDatabase] = []

    async def start() -> None:
        opened.append(await PostgresDatabase.open(Secret(postgres_url), (SCHEMA,), connections=3))

    with anyio.fail_after(120):
        async with anyio.create_task_group() as starting:
            for _ in range(6):
                starting.start_soon(start)

    assert [await each.read(count) for each in opened] == [0] * 6
    for each in opened:
        await each.aclose()


async def test_an_act_that_lost_to_another_process_is_run_again_and_sees_what_that_did(postgres_url: str) -> None:
    async with processes(postgres_url, 3) as all_of_them:
        heard: list[int] = []

        async def keep_saying(database: PostgresDatabase) -> None:
            for turn in range(20):
                heard.append(await database.write(say("x"), about=str(turn)))

        with anyio.fail_after(60):
            async with anyio.create_task_group() as saying:
                for each in all_of_them:
                    saying.start_soon(keep_saying, each)

        assert sorted(heard) == list(range(1, 61))


async def test_writes_about_the_same_thing_keep_their_order(postgres_url: str) -> None:
    async with processes(postgres_url, 1) as (database,):
        order: list[int] = []

        async def write(number: int) -> None:
            await database.write(lambda _: order.append(number), about="run_1")

        with anyio.fail_after(60):
            async with anyio.create_task_group() as writing:
                for number in range(100):
                    writing.start_soon(write, number)

        assert order == list(range(100))


async def test_writes_about_different_things_do_not_wait_for_each_other(postgres_url: str) -> None:
    both_under_way = threading.Barrier(2)

    def meet(_: Connection) -> int:
        return both_under_way.wait(timeout=60)

    async with processes(postgres_url, 1) as (database,):
        met: list[int] = []

        async def write(about: str) -> None:
            met.append(await database.write(meet, about=about))

        async with anyio.create_task_group() as writing:
            # Names that are known to go different ways.
            writing.start_soon(write, "run_1")
            writing.start_soon(write, "run_4")

        assert sorted(met) == [0, 1]


async def test_a_refusal_is_the_callers_and_takes_back_what_was_written(postgres_url: str) -> None:
    def refuse(connection: Connection) -> None:
        connection.execute(insert(notes), {"said": "refused", "times": 1})
        raise Conflict("no")

    async with processes(postgres_url, 1) as (database,):
        with pytest.raises(Conflict):
            await database.write(refuse)

        assert await database.read(count) == 0


async def test_a_reader_cannot_write(postgres_url: str) -> None:
    async with processes(postgres_url, 1) as (database,):
        with pytest.raises(GatewayError):
            await database.read(say("x"))

        assert await database.read(count) == 0


async def test_a_statement_that_is_wrong_is_our_own_fault(postgres_url: str) -> None:
    async with processes(postgres_url, 1) as (database,):
        with pytest.raises(Internal):
            await database.write(lambda connection: connection.execute(text("SELECT nonsense")))


async def test_who_waits_too_long_is_told(postgres_url: str) -> None:
    go_on = threading.Event()
    async with processes(postgres_url, 1, timeout_s=0.2) as (database,):
        with anyio.fail_after(120), pytest.raises(Unavailable):
            await database.write(lambda _: go_on.wait(60))
        with anyio.fail_after(120), pytest.raises(Unavailable):
            await database.read(lambda _: go_on.wait(60))
        with anyio.fail_after(120), pytest.raises(Unavailable):
            await database.glance(lambda _: go_on.wait(60))
        go_on.set()


async def test_connections_that_were_cut_are_made_anew(postgres: PostgresServer, postgres_url: str) -> None:
    async with processes(postgres_url, 1) as (database,):
        await database.write(say("x"))
        await database.read(count)
        await database.glance(count)
        with psycopg.connect(postgres.url(), autocommit=True) as administrator:
            administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (postgres_url.rpartition("/")[2],),
            )

        assert await database.write(say("x")) == 2
        assert await database.read(count) == 1
        assert await database.glance(count) == 1


async def test_what_is_put_over_a_connection_that_was_cut_is_put_over_another(
    postgres: PostgresServer, postgres_url: str
) -> None:
    async with processes(postgres_url, 1) as (database,):
        await database.put(ADD, {"said": "x", "times": 1}, about="x")
        with psycopg.connect(postgres.url(), autocommit=True) as administrator:
            administrator.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s",
                (postgres_url.rpartition("/")[2],),
            )

        await database.put(ADD, {"said": "y", "times": 1}, about="x")

        assert await database.read(count) == 2


async def test_of_what_is_put_as_the_connection_breaks_nobody_says_what_became_of_it(postgres_url: str) -> None:
    breaks = Prepared(select(func.pg_terminate_backend(func.pg_backend_pid())))
    async with processes(postgres_url, 1) as (database,):
        with pytest.raises(Unavailable, match="not known"):
            await database.put(breaks, {}, about="x")

        await database.put(ADD, {"said": "x", "times": 1}, about="x")
        assert await database.read(count) == 1


async def test_a_closed_database_refuses(postgres_url: str) -> None:
    async with processes(postgres_url, 1) as (database,):
        await database.aclose()

        with pytest.raises(Unavailable):
            await database.write(say("x"))
        with pytest.raises(Unavailable):
            await database.read(count)


async def test_a_newer_schema_is_refused_and_an_older_one_migrated(postgres_url: str) -> None:
    def rename(connection: Connection) -> None:
        connection.execute(update(notes).values(said=notes.c.said + "!"))

    newer = replace(SCHEMA, number=2, migrations={2: rename})
    async with processes(postgres_url, 1) as (database,):
        await database.write(say("x"))
    upgraded = await PostgresDatabase.open(Secret(postgres_url), (newer,))
    assert await upgraded.read(lambda connection: connection.execute(select(notes.c.said)).scalar()) == "x!"
    await upgraded.aclose()

    with pytest.raises(Unavailable, match="newer version"):
        await PostgresDatabase.open(Secret(postgres_url), (SCHEMA,))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("postgresql://postgres:hunter2@127.0.0.1:1/hunter2", "nobody answers"),
        ("postgresql://postgres:hunter2@127.0.0.1:{port}/hunter2", "no such database"),
        ("postgresql://hunter2:hunter2@127.0.0.1:{port}/postgres", "no such database or user"),
    ],
)
async def test_a_database_that_cannot_be_used_is_refused_without_a_word_of_its_url(
    postgres: PostgresServer, wrong: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unavailable, match=told) as refused:
        await PostgresDatabase.open(Secret(wrong.format(port=postgres.port)), (SCHEMA,))

    assert "hunter2" not in refused.value.message
    assert "127.0.0.1" not in refused.value.message
    assert ":hunter2@" not in caplog.text


async def test_what_was_agreed_on_first_stands(postgres_url: str) -> None:
    async with processes(postgres_url) as (a, b):
        assert await a.agreed("keys", "one") == "one"
        assert await b.agreed("keys", "two") == "one"


async def test_a_mark_counts_only_with_the_write_it_belongs_to(postgres_url: str) -> None:
    async with processes(postgres_url) as (a, b):

        def change(connection: Connection) -> None:
            a.mark(connection, "notes")

        def fail(connection: Connection) -> None:
            a.mark(connection, "notes")
            raise Conflict("no")

        assert await b.serials() == {}
        await a.write(change)
        await a.write(change)
        with pytest.raises(Conflict):
            await a.write(fail)

        assert await b.serials() == {"notes": 2}
