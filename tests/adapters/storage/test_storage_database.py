"""One SQLite file: what is durable, what is refused, and that everything is bounded."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from itertools import count as count_up
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, func, insert, select, text

from adapters.storage.database import Database
from adapters.storage.schema import Schema
from gateway.core.errors import Conflict, GatewayError, Internal, Unavailable

pytestmark = pytest.mark.anyio

TABLES = MetaData()
notes = Table("notes", TABLES, Column("id", Integer, primary_key=True), Column("said", Text, unique=True))
SCHEMA = Schema(name="notes", number=1, tables=TABLES)


def add(said: str) -> Callable[[Connection], str]:
    def act(connection: Connection) -> str:
        connection.execute(insert(notes), {"said": said})
        return said

    return act


def count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(notes)).scalar_one()


async def written_at_last(database: Database) -> str:
    """What was written once the storage answered in its time again, which is short here, and may be too short for the
    first on a busy disk. Those may be there all the same."""
    with anyio.fail_after(60):
        for number in count_up():
            try:
                return await database.write(add(f"next {number}"))
            except Unavailable:
                await anyio.lowlevel.checkpoint()
    raise AssertionError("unreachable: there are always more numbers")


def on_disk(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [said for (said,) in connection.execute("SELECT said FROM notes ORDER BY id")]


def modes_in(folder: Path) -> dict[str, int]:
    return {each.name: each.stat().st_mode & 0o777 for each in folder.iterdir()}


async def test_what_was_written_is_read_and_on_disk(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "notes.db", SCHEMA)

    assert await database.write(add("a")) == "a"

    assert await database.read(count) == 1
    assert on_disk(tmp_path / "notes.db") == ["a"]
    await database.aclose()


async def test_the_file_and_its_side_files_are_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "notes.db").touch(mode=0o644)
    database = await Database.open(tmp_path / "notes.db", SCHEMA)
    await database.write(add("a"))

    assert modes_in(tmp_path) == {"notes.db": 0o600, "notes.db-wal": 0o600, "notes.db-shm": 0o600}
    await database.aclose()


async def test_commits_are_durable_and_keys_are_enforced(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "notes.db", SCHEMA)

    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert await database.write(pragmas) == ["wal", 2, 1, 5000]
    await database.aclose()


async def test_writes_that_come_together_share_commits_and_keep_their_order(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "notes.db", SCHEMA)
    first_runs, go_on = threading.Event(), threading.Event()
    transactions: list[object] = []

    def block(connection: Connection) -> None:
        first_runs.set()
        assert go_on.wait(60)

    def add_and_tell(said: str) -> Callable[[Connection], None]:
        def act(connection: Connection) -> None:
            add(said)(connection)
            transactions.append(connection.get_transaction())

        return act

    async with anyio.create_task_group() as group:
        group.start_soon(database.write, block)
        await anyio.to_thread.run_sync(first_runs.wait, 60)
        for number in range(20):
            group.start_soon(database.write, add_and_tell(f"{number:02}"))
        await anyio.wait_all_tasks_blocked()
        go_on.set()

    assert on_disk(tmp_path / "notes.db") == [f"{number:02}" for number in range(20)]
    assert len(transactions) == 20
    assert all(each is transactions[0] for each in transactions)
    await database.aclose()


async def test_a_write_that_refuses_undoes_itself_and_nobody_else(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "notes.db", SCHEMA)
    said: dict[str, str] = {}

    def refuse(connection: Connection) -> str:
        add("half")(connection)
        raise Conflict("no")

    def clash(connection: Connection) -> str:
        return add("ok-0")(connection)

    async def run(name: str, act: Callable[[Connection], str]) -> None:
        try:
            said[name] = await database.write(act)
        except (Conflict, Internal) as error:
            said[name] = type(error).__name__

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(run, f"ok-{number}", add(f"ok-{number}"))
            group.start_soon(run, f"refuse-{number}", refuse)
            group.start_soon(run, f"clash-{number}", clash)

    assert sorted(on_disk(tmp_path / "notes.db")) == [f"ok-{number}" for number in range(5)]
    assert said == {
        **{f"ok-{number}": f"ok-{number}" for number in range(5)},
        **{f"refuse-{number}": "Conflict" for number in range(5)},
        **{f"clash-{number}": "Internal" for number in range(5)},
    }
    await database.aclose()


async def test_an_error_of_the_database_gives_nothing_away(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "notes.db", SCHEMA)

    def wrong(connection: Connection) -> None:
        connection.execute(text("SELECT secret FROM nowhere"))

    for run in (database.write, database.read):
        with pytest.raises(Unavailable) as failure:
            await run(wrong)
        assert "nowhere" not in failure.value.message
    await database.write(add("still works"))
    await database.aclose()


async def test_reading_cannot_write(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "notes.db", SCHEMA)

    with pytest.raises(Unavailable):
        await database.read(add("a"))

    assert on_disk(tmp_path / "notes.db") == []
    await database.aclose()


async def test_a_canceled_caller_learns_what_became_of_its_write(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "notes.db", SCHEMA)
    runs, go_on = threading.Event(), threading.Event()
    learned: list[str] = []

    def slow(connection: Connection) -> str:
        runs.set()
        assert go_on.wait(60)
        return add("a")(connection)

    async def write() -> None:
        learned.append(await database.write(slow))

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        await anyio.to_thread.run_sync(runs.wait, 60)
        group.cancel_scope.cancel()
        go_on.set()

    assert learned == ["a"]
    assert on_disk(tmp_path / "notes.db") == ["a"]
    await database.aclose()


async def test_a_write_that_waited_too_long_is_given_up_and_never_done(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "notes.db", SCHEMA, timeout_s=0.5)
    runs, go_on = threading.Event(), threading.Event()

    def block(connection: Connection) -> None:
        runs.set()
        assert go_on.wait(60)

    async def expect_no_answer(act: Callable[[Connection], object]) -> None:
        with pytest.raises(Unavailable):
            await database.write(act)

    async with anyio.create_task_group() as group:
        group.start_soon(expect_no_answer, block)
        await anyio.to_thread.run_sync(runs.wait, 60)
        await expect_no_answer(add("late"))
        go_on.set()

    last = await written_at_last(database)
    found = on_disk(tmp_path / "notes.db")
    assert (found[-1], "late" in found) == (last, False)
    await database.aclose()


async def test_a_read_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "notes.db", SCHEMA, timeout_s=0.05)
    go_on = threading.Event()

    with pytest.raises(Unavailable):
        await database.read(lambda connection: go_on.wait(60))

    go_on.set()
    await database.aclose()


async def test_beyond_the_limit_writes_are_refused_at_once(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "notes.db", SCHEMA, queue_limit=2)
    runs, go_on = threading.Event(), threading.Event()

    def block(connection: Connection) -> None:
        runs.set()
        assert go_on.wait(60)

    async with anyio.create_task_group() as group:
        group.start_soon(database.write, block)
        await anyio.to_thread.run_sync(runs.wait, 60)
        group.start_soon(database.write, add("a"))
        group.start_soon(database.write, add("b"))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Unavailable):
            await database.write(add("c"))
        go_on.set()

    assert on_disk(tmp_path / "notes.db") == ["a", "b"]
    await database.aclose()


async def test_closing_finishes_what_was_queued_and_refuses_the_rest(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "notes.db", SCHEMA)

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(database.write, add(f"{number}"))
        await anyio.wait_all_tasks_blocked()
        await database.aclose()
        await database.aclose()

    assert len(on_disk(tmp_path / "notes.db")) == 50
    with pytest.raises(Unavailable):
        await database.write(add("late"))
    with pytest.raises(Unavailable):
        await database.read(count)


async def test_a_file_locked_by_another_program_is_a_clear_error_and_then_works_again(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    database = await Database.open(path, SCHEMA, timeout_s=0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(Unavailable):
            await database.write(add("a"))
        other.execute("ROLLBACK")

    last = await written_at_last(database)
    # What waited for the other program may have been written since: nobody was told that it was not.
    assert on_disk(path)[-1] == last
    await database.aclose()


@pytest.mark.parametrize(
    "content", [b"this is no database, but long enough to look at" * 50, b"SQLite format 3\x00" + b"x" * 5000]
)
async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.db"
    path.write_bytes(content)

    with pytest.raises(Unavailable, match=r"notes\.db"):
        await Database.open(path, SCHEMA)

    assert path.read_bytes() == content


async def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await Database.open(tmp_path / "missing" / "notes.db", SCHEMA)


@pytest.mark.parametrize("name", ["with space.db", "100%.db", "what?.db", "a#b.db", "ü☂.db"])
async def test_a_path_may_hold_any_character(tmp_path: Path, name: str) -> None:
    database = await Database.open(tmp_path / name, SCHEMA)
    await database.write(add("a"))
    await database.aclose()

    assert on_disk(tmp_path / name) == ["a"]


async def test_what_was_to_be_written_stands_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = await Database.open(tmp_path / "notes.db", SCHEMA)

    secret = "hunter2"  # named, because the log shows the lines of the code

    def fail(connection: Connection) -> None:
        connection.execute(text("INSERT INTO nowhere VALUES (:said)"), {"said": secret})

    with pytest.raises(GatewayError):
        await database.write(fail)
    await database.aclose()
    assert "nowhere" in caplog.text
    assert secret not in caplog.text
