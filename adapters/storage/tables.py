"""The tables of `gateway.db`, in terms every SQL database understands. Knows no statement.

Times are UTC microseconds; every row says whose it is.
"""

from collections.abc import Callable

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    event,
)

from adapters.storage.account_table import accounts_in, claims_in
from adapters.storage.columns import TEXT, TOKEN_KINDS
from adapters.storage.columns import bytes_of as _bytes
from adapters.storage.columns import json_of as _json
from adapters.storage.columns import key as _key
from adapters.storage.columns import number as _number
from adapters.storage.columns import run as _run
from adapters.storage.columns import said as _said
from adapters.storage.columns import spent as _spent
from adapters.storage.columns import text_of as _text
from adapters.storage.columns import time as _time
from adapters.storage.columns import time_or_never as _time_or_never
from adapters.storage.schema import Schema
from adapters.storage.start_table import starts_in

TABLES = MetaData()
accounts = accounts_in(TABLES)

api_keys = Table(
    "api_keys",
    TABLES,
    _key("id"),
    _text("tenant"),
    _bytes("digest"),
    _text("subject"),
    _text("kind"),
    _json("roles"),
    _time("created_at_us"),
    _time_or_never("expires_at_us"),
    _time_or_never("revoked_at_us"),
    _said("note"),
)

agents = Table(
    "agents",
    TABLES,
    _key("slug"),
    _text("tenant"),
    _text("card_url"),
    _bytes("card"),
    _text("digest"),
    _time("added_at_us"),
    _text("added_by"),
    _json("settings"),
)

agent_cards = Table(
    "agent_cards",
    TABLES,
    # Slugs are one namespace for all tenants, so the slug alone says whose card it is.
    _key("slug"),
    _text("first_digest"),
    _bytes("first_card"),
    _time("first_at_us"),
    _text("digest"),
    _bytes("card"),
    _time("at_us"),
)

pins = Table(
    "pins",
    TABLES,
    _key("tenant"),
    _key("name"),
    _text("owner"),
    _text("digest"),
    _json("definition"),
    _time("approved_at_us"),
    _text("approved_by"),
    _text("seen_digest"),
    _json("seen"),
    _time("seen_at_us"),
)

task_owners = Table(
    "task_owners",
    TABLES,
    _key("tenant"),
    _key("agent"),
    _key("task_id"),
    _text("context_id"),
    _text("subject"),
    _time("created_at_us"),
    Index("task_owners_by_subject", "tenant", "agent", "subject"),
    Index("task_owners_oldest", "created_at_us"),
)

effects = Table(
    "effects",
    TABLES,
    _key("tenant"),
    _key("key"),
    _text("digest"),
    _text("process"),
    _time("began_at_us"),
    _number("attempts"),
    _time("tried_at_us"),
    _time_or_never("finished_at_us"),
    _json("outcome"),
    Index("effects_oldest", "finished_at_us", "tried_at_us"),
)

open_steps = Table(
    "open_steps",
    TABLES,
    _key("run_id"),
    _key("step_id"),
    _text("tenant"),
    _text("agent"),
    _json("actor"),
    _text("phase"),
    _json("labels"),
    _time("deadline_at_us"),
    Column("calls_left", BigInteger, nullable=True),
    _text("parent_record"),
    _text("traceparent"),
    _json("given"),
    # How many further levels what it calls may have; NULL in rows of earlier versions.
    Column("depth", BigInteger, nullable=True),
    _json("room"),
    _json("spent"),
)

approvals = Table(
    "approvals",
    TABLES,
    _key("id"),
    _text("tenant"),
    _text("run_id"),
    _number("number"),
    _text("workflow"),
    _text("owner"),
    _text("role"),
    _said("prompt"),
    _json("schema"),
    _time("asked_at_us"),
    _time("expires_at_us"),
    _text("state"),
    _text("answered_by"),
    _time("answered_at_us"),
    _json("value"),
    _said("comment"),
    Column("settled", Boolean, nullable=False),
    Index("approvals_newest", "tenant", "state", "asked_at_us"),
    Index("approvals_by_run", "run_id"),
)

runs = Table(
    "runs",
    TABLES,
    _key("id"),
    _text("tenant"),
    # NULL where the run has no key: NULLs are distinct, so the constraint concerns only runs that have one.
    Column("key", TEXT, nullable=True),
    _text("workflow"),
    _text("owner"),
    _text("state"),
    _text("context_id"),
    _time("created_at_us"),
    _time("updated_at_us"),
    _json("input"),
    _json("output"),
    _said("error"),
    _json("spec"),
    # NULL: not paused.
    _time_or_never("paused_at_us"),
    Column("held_us", BigInteger, nullable=False, server_default="0"),
    *_spent(),
    UniqueConstraint("tenant", "key", name="runs_by_key"),
    Index("runs_newest", "tenant", "created_at_us", "id"),
    Index("runs_by_state", "state", "updated_at_us", "id"),
)

run_steps = Table(
    "run_steps",
    TABLES,
    _run(),
    _key("id"),
    Column("attempt", BigInteger, primary_key=True, autoincrement=False),
    _text("tenant"),
    _text("parent"),
    _text("target"),
    _text("state"),
    _time("started_at_us"),
    _time("duration_us"),
    _text("phase"),
    _json("input"),
    _json("value"),
    _said("summary"),
    _said("reason"),
    _json("labels"),
    _text("record_id"),
    _text("remote_task"),
    *_spent(),
)

run_events = Table(
    "run_events",
    TABLES,
    _run(),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _text("tenant"),
    _text("key"),
    _time("at_us"),
    _json("body"),
    UniqueConstraint("run_id", "key", name="run_events_by_key"),
)

costs = Table(
    "costs",
    TABLES,
    # A UTC day, `2026-11-28`.
    _key("day"),
    _key("tenant"),
    _key("target"),
    # Empty for what no run called.
    _key("workflow"),
    *_spent(),
)

notes = Table(
    "notes",
    TABLES,
    _key("tenant"),
    _key("workflow"),
    _key("owner"),
    _key("topic"),
    _key("key"),
    _key("id"),
    _json("value"),
    _time("at_us"),
    _time("until_us"),
    Index("notes_lapsing", "until_us"),
)

dead_letters = Table(
    "dead_letters",
    TABLES,
    _key("run_id"),
    _text("tenant"),
    _text("workflow"),
    _text("owner"),
    _text("cause"),
    _said("reason"),
    _text("step"),
    _text("target"),
    _number("attempts"),
    _time("at_us"),
    _text("state"),
    _time("settled_at_us"),
    _text("settled_by"),
    _text("retried_as"),
    Index("dead_letters_newest", "tenant", "at_us", "run_id"),
)

processes = Table(
    "processes",
    TABLES,
    _key("id"),
    # On the database's own clock.
    _time("seen_at_us"),
)

agent_calls = Table(
    "agent_calls",
    TABLES,
    _key("process"),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _text("agent"),
    _text("step_id"),
    _number("depth"),
    _time("until_us"),
    Index("agent_calls_by_agent", "agent"),
)

minutes = Table(
    "minutes",
    TABLES,
    _key("budget"),
    Column("minute", BigInteger, primary_key=True, autoincrement=False),
    _number("calls"),
    _number("tokens"),
)

memos = Table(
    "memos",
    TABLES,
    # SQLite's full-text index refers to rows by it.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    _text("tenant"),
    _text("name"),
    _text("id"),
    _said("text"),
    _json("tags"),
    _text("words"),
    _text("run_id"),
    _text("step_id"),
    _text("agent"),
    _json("labels"),
    _time("at_us"),
    _number("size_bytes"),
    UniqueConstraint("tenant", "name", "id", name="memos_by_id"),
    Index("memos_newest", "tenant", "name", "at_us", "id"),
    Index("memos_oldest", "name", "at_us"),
)
_FTS5 = DDL("CREATE VIRTUAL TABLE memo_words USING fts5(place, words, tokenize = 'unicode61')")
_TSVECTOR = DDL("CREATE INDEX memos_words ON memos USING gin (to_tsvector('simple'::regconfig, words))")
event.listen(memos, "after_create", _FTS5.execute_if(dialect="sqlite"))
event.listen(memos, "after_create", _TSVECTOR.execute_if(dialect="postgresql"))

starts = starts_in(TABLES)
claims = claims_in(TABLES)


def _to_2(connection: Connection) -> None:
    """Which tokens they were and on which models; what a step was given; the ledger of costs."""
    for name in ("runs", "run_steps"):
        for kind in TOKEN_KINDS:
            connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {kind} BIGINT DEFAULT '0' NOT NULL")
        connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN models TEXT")
    connection.exec_driver_sql("ALTER TABLE open_steps ADD COLUMN given TEXT")
    costs.create(connection)


def _to_5(connection: Connection) -> None:
    """Since when runs are paused, and for how long their clocks stood still; dead letters."""
    connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN paused_at_us BIGINT")
    connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN held_us BIGINT DEFAULT '0' NOT NULL")
    dead_letters.create(connection)


def _to_8(connection: Connection) -> None:
    """What processes on one database tell each other; what is looked for when rows are forgotten."""
    connection.exec_driver_sql("ALTER TABLE open_steps ADD COLUMN depth BIGINT")
    for table in (processes, agent_calls, minutes):
        table.create(connection)
    names = ("effects_oldest", "task_owners_oldest", "runs_by_state", "notes_lapsing")
    for table in (effects, task_owners, runs, notes):
        for index in table.indexes:
            if index.name in names:
                # Notes are made, index and all, on the way from before they were there.
                index.create(connection, checkfirst=True)


def _to_12(connection: Connection) -> None:
    """What agents may spend, and have, by the tokens of steps."""
    for name in ("room", "spent"):
        connection.exec_driver_sql(f"ALTER TABLE open_steps ADD COLUMN {name} TEXT")


_MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    _to_2,
    notes.create,  # what runs note for later runs
    approvals.create,  # what runs ask people
    _to_5,
    memos.create,  # what agents remember
    pins.create,  # what servers say of their tools, and what of it is trusted
    _to_8,
    starts.create,  # which messages have started runs
    accounts.create,  # accounts people have connected
    claims.create,  # what one browser or gateway has to itself
    _to_12,
)
GATEWAY_SCHEMA = Schema(
    name="gateway", number=len(_MIGRATIONS) + 1, tables=TABLES, migrations=dict(enumerate(_MIGRATIONS, 2))
)
