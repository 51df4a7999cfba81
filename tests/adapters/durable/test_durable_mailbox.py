"""Runs that wait for messages: what it costs the engine's database, who wakes them, and what DBOS records of it."""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import dbos
import psycopg
import pytest
from sqlalchemy import Engine, ExceptionContext, event

from adapters.durable.dbos_journal import DbosJournal
from adapters.durable.mailbox import Recording
from adapters.durable.places import SCHEMA, Place, PostgresServer, SqliteFile
from gateway.core.json import Json, JsonObject
from gateway.core.ports.journal import Journal, RunBody
from gateway.core.ports.world import Secret

pytestmark = pytest.mark.anyio

NEVER_S = 3600.0
_MESSAGES = re.compile(r"FROM (\w+\.)?notifications\b")
"""Migrations ask for the table itself; that is no look."""


@dataclass(slots=True)
class Watched:
    """A place of whose statements those are noted that look for messages."""

    place: Place
    looks: list[int] = field(default_factory=list[int])
    """For how many runs each looked."""
    _awaited: list[tuple[int, anyio.Event]] = field(default_factory=list[tuple[int, anyio.Event]])
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def url(self) -> str:
        return self.place.url

    @property
    def shared(self) -> bool:
        return self.place.shared

    @property
    def executor_id(self) -> str:
        return self.place.executor_id

    def open(self) -> Engine:
        engine = self.place.open()
        event.listen(engine, "after_cursor_execute", self._on_statement)
        event.listen(engine, "handle_error", self._on_error)
        return engine

    async def looked(self, times: int) -> None:
        """Return once there were so many looks in all. A run that begins to wait looks once, when its wait is written
        down."""
        reached = anyio.Event()
        self._awaited.append((times, reached))
        self._tell()
        await reached.wait()

    def _on_statement(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not (statement.startswith("SELECT") and _MESSAGES.search(statement)):
            return
        about = str(next(iter(dict[str, Any](parameters).values() if "runs" in parameters else parameters)))
        self.looks.append(len(json.loads(about)) if about.startswith("[") else 1)
        self._loop.call_soon_threadsafe(self._tell)

    def _on_error(self, failed: ExceptionContext) -> None:
        self._on_statement(None, None, failed.statement or "", failed.parameters)

    def _tell(self) -> None:
        for times, reached in self._awaited:
            if len(self.looks) >= times:
                reached.set()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return SqliteFile(tmp_path / "runs.db")
    return PostgresServer(Secret(request.getfixturevalue("postgres_url")))


@asynccontextmanager
async def opened(place: Place, body: RunBody, *, poll_s: float = 0.02) -> AsyncGenerator[DbosJournal]:
    journal = DbosJournal(place, poll_s=poll_s)
    await journal.launch(body)
    try:
        with anyio.fail_after(60):
            yield journal
    finally:
        await journal.aclose()


async def hear(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
    if "deaf" in spec:
        await anyio.sleep_forever()
    return {"heard": await journal.receive("answer", NEVER_S)}


async def hear_as_dbos_would(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
    """As the version before waited."""
    return {"heard": await dbos.DBOS.recv_async("answer", NEVER_S)}


def recorded(place: Place) -> list[tuple[Any, ...]]:
    """(run, place, name) of everything that is recorded."""
    return asked(place, "SELECT workflow_uuid, function_id, function_name FROM {}operation_outputs ORDER BY 1, 2")


def asked(place: Place, query: str) -> list[tuple[Any, ...]]:
    if isinstance(place, SqliteFile):
        with closing(sqlite3.connect(place.path, isolation_level=None)) as connection:
            return connection.execute(query.format("")).fetchall()
    with psycopg.connect(place.url, autocommit=True) as connection:
        cursor = connection.execute(query.format(f"{SCHEMA}.").encode())
        return cursor.fetchall() if cursor.description else []


async def sent_by_another_process(journal: Journal, place: Place, run_id: str, message: Json) -> None:
    """As far as this process can tell: it sends the message to somebody else, and the database has it for the run."""
    await journal.start("somebody", {"deaf": True})
    await journal.send("somebody", "answer", message, "key")
    asked(place, f"UPDATE {{}}notifications SET destination_uuid = '{run_id}'")


@pytest.mark.parametrize("runs", [3, 30])
async def test_one_look_is_for_all_runs_that_wait_however_many(place: Place, runs: int) -> None:
    watched = Watched(place)
    async with opened(watched, hear) as journal:
        for n in range(runs):
            await journal.start(f"run_{n}", {})
        # Each looks once for itself; after that no look is for fewer than all of them.
        while watched.looks[-10:] != [runs] * 10:
            await watched.looked(len(watched.looks) + 1)


async def test_nothing_is_looked_for_while_nobody_waits(tmp_path: Path) -> None:
    watched = Watched(SqliteFile(tmp_path / "runs.db"))

    async def at_work(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        await anyio.sleep_forever()
        return {}

    async with opened(watched, at_work, poll_s=0.001) as journal:
        await journal.start("run_1", {})
        for _ in range(20):
            await journal.state("run_1")
    assert watched.looks == []


async def test_what_this_process_sends_wakes_the_run_at_once(place: Place) -> None:
    watched = Watched(place)
    async with opened(watched, hear, poll_s=NEVER_S) as journal:
        await journal.start("run_1", {})
        await watched.looked(1)
        await journal.send("run_1", "answer", {"a": 1}, "key")
        assert await journal.wait("run_1") == {"heard": {"a": 1}}


async def test_what_another_process_sends_is_found(place: Place) -> None:
    watched = Watched(place)
    async with opened(watched, hear) as journal:
        await journal.start("run_1", {})
        await journal.start("run_2", {})
        await watched.looked(2)
        await sent_by_another_process(journal, place, "run_2", "here")
        assert await journal.wait("run_2") == {"heard": "here"}
        assert await journal.state("run_1") == "pending"


async def test_a_wait_ends_in_time_though_nobody_looks(tmp_path: Path) -> None:
    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        return {"heard": await journal.receive("answer", 0.05)}

    async with opened(SqliteFile(tmp_path / "runs.db"), body, poll_s=NEVER_S) as journal:
        await journal.start("run_1", {})
        assert await journal.wait("run_1") == {"heard": None}


async def test_time_that_passes_while_the_process_is_down_counts(place: Place) -> None:
    watched = Watched(place)
    async with opened(watched, hear) as journal:
        await journal.start("run_1", {})
        await watched.looked(1)
    # When it would be over, moved to where it would have been hours ago.
    asked(place, "UPDATE {}operation_outputs SET output = '1.0' WHERE function_name = 'DBOS.sleep'")
    async with opened(another(place), hear) as journal:
        assert await journal.wait("run_1") == {"heard": None}


async def test_no_wait_ends_because_the_database_fails_and_what_comes_afterwards_is_heard(place: Place) -> None:
    watched = Watched(place)
    async with opened(watched, hear) as journal:
        await journal.start("run_1", {})
        await watched.looked(1)
        asked(place, "ALTER TABLE {}notifications RENAME TO mislaid")
        await watched.looked(len(watched.looks) + 3)
        assert await journal.state("run_1") == "pending"
        asked(place, "ALTER TABLE {}mislaid RENAME TO notifications")
        await sent_by_another_process(journal, place, "run_1", "at last")
        assert await journal.wait("run_1") == {"heard": "at last"}


@pytest.mark.parametrize(("before", "after"), [(hear_as_dbos_would, hear), (hear, hear_as_dbos_would)])
async def test_a_wait_that_another_version_began_goes_on(
    place: Place, before: Callable[..., Any], after: Callable[..., Any]
) -> None:
    second = anyio.Event()

    async def twice(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        first = await before(journal, run_id, spec)
        second.set()
        return {"first": first["heard"], "second": (await before(journal, run_id, spec))["heard"]}

    async def twice_after(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        first = await after(journal, run_id, spec)
        return {"first": first["heard"], "second": (await after(journal, run_id, spec))["heard"]}

    watched = Watched(place)
    async with opened(watched, twice) as journal:
        await journal.start("run_1", {})
        await watched.looked(1)
        await journal.send("run_1", "answer", 1, "key-1")
        await second.wait()
        begun: list[tuple[Any, ...]] = []
        while len(begun) < 3:
            await watched.looked(len(watched.looks) + 1)
            begun = recorded(place)
    async with opened(another(place), twice_after) as journal:
        await journal.send("run_1", "answer", 2, "key-2")
        assert await journal.wait("run_1") == {"first": 1, "second": 2}
    assert begun == [("run_1", 1, "DBOS.recv"), ("run_1", 2, "DBOS.sleep"), ("run_1", 4, "DBOS.sleep")]
    assert recorded(place) == [
        ("run_1", 1, "DBOS.recv"),
        ("run_1", 2, "DBOS.sleep"),
        ("run_1", 3, "DBOS.recv"),
        ("run_1", 4, "DBOS.sleep"),
    ]


def another(place: Place) -> Place:
    """The process that comes after this one."""
    return place if isinstance(place, SqliteFile) else PostgresServer(Secret(place.url))


def test_the_parts_of_dbos_that_waiting_leans_on_are_still_there() -> None:
    leaned_on = [name for name in vars(Recording) if not name.startswith("_")]
    database = import_module("dbos._sys_db").SystemDatabase
    assert len(leaned_on) == 3
    assert [name for name in leaned_on if not callable(getattr(database, name, None))] == []
