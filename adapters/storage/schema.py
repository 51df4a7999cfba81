"""Brings a database file to the schema this version knows: forward only, after a backup. Knows no table by name."""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Column, Connection, Integer, MetaData, Table, delete, insert, inspect, select

from gateway.core.errors import Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What a file holds."""

    name: str
    """Distinguishes our files from each other and from anybody else's, for example `gateway`."""
    number: int
    """From 1; grows by one with each change of a released schema."""
    tables: MetaData
    """The shape at `number`; a new file is made from it."""
    migrations: Mapping[int, Callable[[Connection], None]] = field(
        default_factory=dict[int, Callable[[Connection], None]]
    )
    """By the number each one reaches; an older file takes all of them it lacks, in order."""


_OWN = MetaData()
_schema_number = Table("schema_number", _OWN, Column("number", Integer, nullable=False))


def current_number(connection: Connection) -> int:
    """The schema number of the file; 0 for one without tables.

    Raises: Unavailable: it has tables, and they are not ours.
    """
    present = inspect(connection).get_table_names()
    if _schema_number.name in present:
        return connection.execute(select(_schema_number.c.number)).scalar_one()
    if present:
        raise Unavailable("the file is a database of something else")
    return 0


def refuse_newer(schema: Schema, number: int) -> None:
    """Raises: Unavailable: the file was written by a newer version."""
    if number > schema.number:
        raise Unavailable(
            f"the {schema.name} database has schema {number}, and this version knows up to {schema.number}:"
            " a newer version wrote it. Install that version, or start with another data directory"
        )


def bring_up_to_date(connection: Connection, schema: Schema, number: int) -> None:
    """Create or migrate; within the caller's transaction, so that it happens as a whole or not at all."""
    if number == 0:
        _OWN.create_all(connection)
    migrate(connection, schema, number)
    connection.execute(delete(_schema_number))
    connection.execute(insert(_schema_number).values(number=schema.number))


def migrate(connection: Connection, schema: Schema, number: int) -> None:
    """The tables of `schema` where those of `number` are, 0 for none."""
    if number == 0:
        schema.tables.create_all(connection)
        return
    for reached in range(number + 1, schema.number + 1):
        schema.migrations[reached](connection)


def back_up(path: Path, number: int) -> Path:
    """A copy of the file as it was at schema `number`, beside it; an earlier copy of that number is kept."""
    copy = path.with_name(f"{path.name}.schema-{number}.bak")
    if copy.exists():
        return copy
    draft = copy.with_suffix(".part")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(draft)) as target:
        source.backup(target)
    draft.replace(copy)
    return copy
