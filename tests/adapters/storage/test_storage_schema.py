"""From one schema to the next."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, inspect

from adapters.storage.database import Database
from adapters.storage.schema import Schema
from adapters.storage.scratch import SCRATCH_SCHEMA
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.errors import Unavailable

pytestmark = pytest.mark.anyio


def tables(*names: str) -> MetaData:
    made = MetaData()
    for name in names:
        Table(name, made, Column("id", Integer, primary_key=True), Column("said", Text))
    return made


def add_second(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE second (id INTEGER NOT NULL PRIMARY KEY, said TEXT)")


def add_third(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE third (id INTEGER NOT NULL PRIMARY KEY, said TEXT)")
    connection.exec_driver_sql("INSERT INTO third SELECT * FROM first")


def break_off(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE third (id INTEGER)")
    connection.exec_driver_sql("INSERT INTO nowhere VALUES (1)")


ONE = Schema(name="notes", number=1, tables=tables("first"))
THREE = Schema(
    name="notes",
    number=3,
    tables=tables("first", "second", "third"),
    migrations={2: add_second, 3: add_third},
)


async def make(path: Path, schema: Schema, *, said: str = "") -> None:
    database = await Database.open(path, schema)
    if said:

        def act(connection: Connection) -> None:
            connection.exec_driver_sql("INSERT INTO first VALUES (1, ?)", (said,))

        await database.write(act)
    await database.aclose()


def present(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def columns(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        return {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in present(path)}


def names_in(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


def number(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [found for (found,) in connection.execute("SELECT number FROM schema_number")]


async def test_a_new_file_has_the_present_schema_and_no_backup(tmp_path: Path) -> None:
    await make(tmp_path / "notes.db", THREE)

    assert present(tmp_path / "notes.db") == {"schema_number", "first", "second", "third"}
    assert number(tmp_path / "notes.db") == [3]
    assert names_in(tmp_path) == ["notes.db"]


async def test_an_older_file_takes_every_step_after_a_backup(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    await make(path, ONE, said="kept")

    await make(path, THREE)

    assert number(path) == [3]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT said FROM third").fetchall() == [("kept",)]
    backup = tmp_path / "notes.db.schema-1.bak"
    assert present(backup) == {"schema_number", "first"}
    assert number(backup) == [1]
    assert backup.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT said FROM first").fetchall() == [("kept",)]


async def test_a_migrated_file_and_a_new_one_have_the_same_shape(tmp_path: Path) -> None:
    await make(tmp_path / "old.db", ONE)
    await make(tmp_path / "old.db", THREE)
    await make(tmp_path / "new.db", THREE)

    assert columns(tmp_path / "old.db") == columns(tmp_path / "new.db")


async def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    await make(path, ONE, said="kept")
    broken = Schema(name="notes", number=3, tables=THREE.tables, migrations={2: add_second, 3: break_off})

    with pytest.raises(Unavailable):
        await Database.open(path, broken)

    assert present(path) == {"schema_number", "first"}
    assert number(path) == [1]
    await make(path, THREE)
    assert number(path) == [3]


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    await make(path, THREE)
    before = path.read_bytes()

    with pytest.raises(Unavailable, match="newer version"):
        await Database.open(path, ONE)

    assert path.read_bytes() == before


async def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (id INTEGER)")
    before = path.read_bytes()

    with pytest.raises(Unavailable, match="something else"):
        await Database.open(path, ONE)

    assert path.read_bytes() == before


async def test_the_gateways_own_file_is_made_and_opened_again(tmp_path: Path) -> None:
    for _ in range(2):
        database = await Database.open(tmp_path / "gateway.db", GATEWAY_SCHEMA)
        found = await database.read(lambda connection: set(inspect(connection).get_table_names()))
        await database.aclose()

        words = {each for each in found if each.startswith("memo_words")}
        assert "memo_words" in words
        assert found - words == {*GATEWAY_SCHEMA.tables.tables, "schema_number"}


async def test_a_file_of_the_first_version_gets_what_was_added_since(tmp_path: Path) -> None:
    path, new = tmp_path / "gateway.db", tmp_path / "new.db"
    for each in (path, new):
        await (await Database.open(each, GATEWAY_SCHEMA)).aclose()
    with closing(sqlite3.connect(path)) as connection:
        for name in ("runs", "run_steps"):
            for column in ("input_tokens", "output_tokens", "counted_tokens", "models"):
                connection.execute(f"ALTER TABLE {name} DROP COLUMN {column}")
        for column in ("given", "depth", "room", "spent"):
            connection.execute(f"ALTER TABLE open_steps DROP COLUMN {column}")
        connection.execute("DROP TABLE costs")
        for column in ("paused_at_us", "held_us"):
            connection.execute(f"ALTER TABLE runs DROP COLUMN {column}")
        for table in (
            *("notes", "approvals", "dead_letters", "memos", "memo_words", "pins"),
            *("processes", "agent_calls", "minutes", "starts", "accounts", "sole_claims"),
        ):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE schema_number SET number = 1")
        connection.commit()

    await (await Database.open(path, GATEWAY_SCHEMA)).aclose()

    assert number(path) == [GATEWAY_SCHEMA.number]
    # A column that was added stands at the end, and is the same otherwise.
    old_shape, new_shape = columns(path), columns(new)
    assert {name: sorted(map(str, (each[1:] for each in shape))) for name, shape in old_shape.items()} == {
        name: sorted(map(str, (each[1:] for each in shape))) for name, shape in new_shape.items()
    }


async def test_every_row_of_the_gateways_file_says_whose_it_is() -> None:
    without = {name for name, table in GATEWAY_SCHEMA.tables.tables.items() if "tenant" not in table.c}

    # Slugs are one namespace for all tenants, and a card is looked up by nothing else; so are names of budgets. What
    # processes are there is nobody's.
    assert without == {"agent_cards", "agent_calls", "minutes", "processes"}


def test_no_table_of_one_file_is_called_like_one_of_another() -> None:
    """On a shared database they lie side by side."""
    assert GATEWAY_SCHEMA.tables.tables.keys().isdisjoint(SCRATCH_SCHEMA.tables.tables.keys())
