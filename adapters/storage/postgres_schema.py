"""Brings a PostgreSQL database to the schemas this version knows, one process at a time. Knows no table by name.

Everything lies in one PostgreSQL schema of its own. Processes that start at the same moment wait for each other on an
advisory lock: `CREATE TABLE IF NOT EXISTS` alone is a race there, which the loser ends with an error.
"""

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    insert,
    select,
    text,
    update,
)

from adapters.storage.schema import Schema, migrate, refuse_newer

NAME = "drawbridge"
"""Of the PostgreSQL schema everything lies in."""
_LOCK = 0x647261776272
"""The advisory lock that is held while tables are made and changed."""
_WAIT = (
    "SET LOCAL lock_timeout = '120s'; SET LOCAL statement_timeout = '600s';"
    " SET LOCAL idle_in_transaction_session_timeout = '60s'"
)
"""More patience than any other transaction has: this one happens once, perhaps on a machine that is busy starting."""

_OWN = MetaData()
_schemas = Table(
    "schema_numbers",
    _OWN,
    Column("name", Text, primary_key=True),
    Column("number", Integer, nullable=False),
)
changes = Table(
    "changes",
    _OWN,
    Column("topic", Text, primary_key=True),
    Column("serial", BigInteger, nullable=False),
)
"""How often what a topic names has changed; see `Transactions.mark`."""
agreements = Table(
    "agreements",
    _OWN,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
"""What all processes on this database have to have in common."""


def prepare(engine: Engine, schemas: Sequence[Schema]) -> None:
    """Create or migrate, as a whole or not at all.  Raises: Unavailable: a newer version has been here."""
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection, connection.begin():
        connection.exec_driver_sql(_WAIT)
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        # Looked for first: even where it exists, the statement needs a right that the gateway's user may lack.
        if connection.execute(text("SELECT to_regnamespace(:name)"), {"name": NAME}).scalar() is None:
            connection.exec_driver_sql(f"CREATE SCHEMA {NAME}")
        _OWN.create_all(connection)
        for schema in schemas:
            _bring_up_to_date(connection, schema)


def _bring_up_to_date(connection: Connection, schema: Schema) -> None:
    this = _schemas.c.name == schema.name
    number = connection.execute(select(_schemas.c.number).where(this)).scalar() or 0
    refuse_newer(schema, number)
    if number == schema.number:
        return
    migrate(connection, schema, number)
    if number:
        connection.execute(update(_schemas).where(this).values(number=schema.number))
    else:
        connection.execute(insert(_schemas).values(name=schema.name, number=schema.number))
