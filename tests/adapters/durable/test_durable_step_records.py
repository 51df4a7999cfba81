"""What steps return is written beside DBOS: the rows are its own, and so are the conditions."""

import sqlite3
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import dbos
import psycopg
import pytest
from anyio import to_thread
from dbos import error as dbos_error
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from adapters.durable.dbos_journal import DbosJournal
from adapters.durable.places import SCHEMA, Place, PostgresServer, SqliteFile
from adapters.durable.step_records import Execution, Recording, Step, StepRecords
from gateway.core.errors import Unavailable
from gateway.core.json import JsonObject
from gateway.core.ports.journal import Journal, RunBody
from gateway.core.ports.world import Secret

pytestmark = pytest.mark.anyio

SAID: JsonObject = {"said": "Grüße, 你好", "list": [1, 2.5, None, True], "deep": {"": {}}}


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return SqliteFile(tmp_path / "runs.db")
    return PostgresServer(Secret(request.getfixturevalue("postgres_url")))


@asynccontextmanager
async def opened(place: Place, body: RunBody) -> AsyncGenerator[DbosJournal]:
    journal = DbosJournal(place, poll_s=0.05)
    await journal.launch(body)
    try:
        with anyio.fail_after(60):
            yield journal
    finally:
        await journal.aclose()


def asked(place: Place, query: str) -> list[tuple[Any, ...]]:
    if isinstance(place, SqliteFile):
        with closing(sqlite3.connect(place.path, isolation_level=None, timeout=30)) as connection:
            return connection.execute(query.format("")).fetchall()
    with psycopg.connect(place.url, autocommit=True) as connection:
        cursor = connection.execute(query.format(f"{SCHEMA}.").encode())
        return cursor.fetchall() if cursor.description else []


def recorded(place: Place) -> list[tuple[Any, ...]]:
    return asked(place, "SELECT workflow_uuid, function_id FROM {}operation_outputs ORDER BY 1, 2")


async def say() -> JsonObject:
    return SAID


async def test_the_row_of_a_step_is_the_one_that_dbos_would_have_written(place: Place) -> None:
    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        if run_id == "by_dbos":
            return await dbos.DBOS.run_step_async({"name": "say"}, say)
        return await journal.draw().run("say", say)

    async with opened(place, body) as journal:
        for run_id in ("by_dbos", "by_us"):
            await journal.start(run_id, {})
            assert await journal.wait(run_id) == SAID
        rows = asked(place, "SELECT * FROM {}operation_outputs ORDER BY workflow_uuid")
    differing = [(one, other) for one, other in zip(*rows, strict=True) if one != other]
    times = [each for each in differing if "by_us" not in each]
    # Run, and at most the three times: began, ended, kept since.
    assert ("by_dbos", "by_us") in differing
    assert len(times) <= 3
    assert all(abs(int(other) - int(one)) < 600_000 for one, other in times)


@pytest.mark.parametrize("meanwhile", ["status = 'CANCELLED'", "owner_xid = 'another execution'"])
async def test_a_run_that_another_process_has_canceled_or_taken_does_no_further_step(
    place: Place, meanwhile: str
) -> None:
    acted: list[int] = []
    left = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        async def act() -> JsonObject:
            acted.append(len(acted))
            if len(acted) == 2:
                asked(place, f"UPDATE {{}}workflow_status SET {meanwhile} WHERE workflow_uuid = 'run_1'")
            return {}

        try:
            for _ in range(4):
                await journal.draw().run("act", act)
        finally:
            left.set()
        return {}

    async with opened(place, body) as journal:
        await journal.start("run_1", {})
        await left.wait()
        # DBOS keeps its task, and waits in it for what the other one makes of it.
        assert not journal.executes("run_1")
    assert acted == [0, 1]
    # What was done when it was canceled is done; what another execution may do as well is not ours to record.
    assert recorded(place) == [("run_1", 1), *([("run_1", 2)] if "CANCELLED" in meanwhile else [])]


@dataclass(slots=True)
class Counted:
    """A place where commits of steps are counted, without those of DBOS, which looks for this and that at any time."""

    place: SqliteFile
    commits: int = 0
    recording: threading.Event = field(default_factory=threading.Event)
    """Set once rows of steps are on their way to the database."""

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
        event.listen(engine, "commit", self._on_commit)
        event.listen(engine, "begin", self._on_begin)
        return engine

    def _on_commit(self, _connection: object) -> None:
        if threading.current_thread().name.startswith("write-steps"):
            self.commits += 1

    def _on_begin(self, _connection: object) -> None:
        if threading.current_thread().name.startswith("write-steps"):
            self.recording.set()


async def test_steps_that_end_while_a_commit_is_made_share_the_next(tmp_path: Path) -> None:
    place = Counted(SqliteFile(tmp_path / "runs.db"))
    took: list[int] = []
    ended = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        slots = [journal.draw() for _ in range(20)]
        before = place.commits
        with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as connection:
            # The first commit waits for this, and the other steps end meanwhile.
            connection.execute("BEGIN IMMEDIATE")
            async with anyio.create_task_group() as chains:
                for slot in slots:
                    chains.start_soon(slot.run, "say", say)
                await anyio.wait_all_tasks_blocked()
                connection.execute("ROLLBACK")
        took.append(place.commits - before)
        ended.set()
        return {}

    async with opened(place, body) as journal:
        await journal.start("run_1", {})
        await ended.wait()
    assert len(recorded(place.place)) == 20
    # The one that waited, and that of all the others.
    assert 1 <= took[0] <= 2


async def test_what_was_done_is_on_record_although_its_run_was_stopped_before_it_was_written(tmp_path: Path) -> None:
    place = Counted(SqliteFile(tmp_path / "runs.db"))
    acted: list[str] = []
    done, left = anyio.Event(), anyio.Event()

    async def first() -> JsonObject:
        acted.append("first")
        # Its row waits for this, and the other one behind it.
        lock.execute("BEGIN IMMEDIATE")
        return {}

    async def second() -> JsonObject:
        await to_thread.run_sync(place.recording.wait, 60)
        acted.append("second")
        done.set()
        return {}

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        one, other = journal.draw(), journal.draw()
        try:
            async with anyio.create_task_group() as chains:
                chains.start_soon(one.run, "first", first)
                chains.start_soon(other.run, "second", second)
        finally:
            left.set()
        return {}

    with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None, timeout=30)) as lock:
        async with opened(place, body) as journal, anyio.create_task_group() as ending:
            await journal.start("run_1", {})
            await done.wait()
            ending.start_soon(journal.aclose)
            await left.wait()
            lock.execute("ROLLBACK")
    async with opened(place, body) as journal:
        assert await journal.wait("run_1") == {}
    assert acted == ["first", "second"]


class Held(Counted):
    """A place where rows of steps wait until the test lets them, and are refused then, unless DBOS writes them."""

    def __init__(self, place: SqliteFile) -> None:
        super().__init__(place)
        self.let = threading.Event()

    def _on_begin(self, _connection: object) -> None:
        super()._on_begin(_connection)
        if threading.current_thread().name.startswith("write-steps"):
            self.let.wait(60)
            raise OperationalError("BEGIN", None, sqlite3.OperationalError("disk I/O error"))


async def test_what_was_done_is_on_record_although_writing_it_failed_after_its_run_was_stopped(tmp_path: Path) -> None:
    place = Held(SqliteFile(tmp_path / "runs.db"))
    acted: list[str] = []
    left = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        async def act() -> JsonObject:
            acted.append(run_id)
            return {}

        try:
            return await journal.draw().run("act", act)
        finally:
            left.set()

    async with opened(place, body) as journal, anyio.create_task_group() as ending:
        await journal.start("run_1", {})
        await to_thread.run_sync(place.recording.wait, 50)
        ending.start_soon(journal.aclose)
        await left.wait()
        place.let.set()
    async with opened(place.place, body) as journal:
        assert await journal.wait("run_1") == {}
    assert acted == ["run_1"]


class Away(PostgresServer):
    """A server that can be away."""

    def __init__(self, url: Secret) -> None:
        super().__init__(url)
        self.away = False
        self.asking: list[threading.Thread] = []
        """Threads of DBOS that asked for something meanwhile."""
        self.asked = threading.Event()

    def open(self) -> Engine:
        engine = super().open()
        event.listen(engine, "begin", self._refuse)
        event.listen(engine, "do_connect", self._refuse)
        return engine

    def _refuse(self, *_: object) -> None:
        if not self.away:
            return
        if threading.current_thread().name.startswith("dbos-executor"):
            self.asking.append(threading.current_thread())
            self.asked.set()
        raise OperationalError("BEGIN", None, psycopg.OperationalError("connection failed: it is away"))


async def test_nobody_goes_on_asking_a_database_that_is_away_once_the_engine_has_ended(postgres_url: str) -> None:
    place = Away(Secret(postgres_url))

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        async def act() -> JsonObject:
            place.away = True
            return {}

        return await journal.draw().run("act", act)

    async with opened(place, body) as journal:
        await journal.start("run_1", {})
        assert await to_thread.run_sync(place.asked.wait, 50)
    for thread in place.asking:
        # As the interpreter does before it ends.
        await to_thread.run_sync(thread.join, 60)
    assert [thread for thread in place.asking if thread.is_alive()] == []


async def test_the_state_of_a_run_is_that_of_this_moment_although_connections_are_cut(place: Place) -> None:
    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        return await journal.draw().run("say", say)

    states: list[str] = []
    async with opened(place, body) as journal:
        states.append(await journal.state("run_1"))
        await journal.start("run_1", {})
        await journal.wait("run_1")
        states.append(await journal.state("run_1"))
        asked(place, "UPDATE {}workflow_status SET status = 'CANCELLED' WHERE workflow_uuid = 'run_1'")
        states.append(await journal.state("run_1"))
        if place.shared:
            with psycopg.connect(place.url, autocommit=True) as administrator:
                administrator.execute(
                    "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
        states.append(await journal.state("run_1"))
    with pytest.raises(Unavailable):
        await journal.state("run_1")
    assert states == ["", "done", "canceled", "canceled"]


@dataclass(slots=True)
class Dbos:
    """See `Recording`: notes what it is left with."""

    told: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])

    def record_operation_result(self, result: Any, *, completed_at_epoch_ms: int | None, owner_xid: str | None) -> None:
        self.told.append((result["function_id"], result["output"], completed_at_epoch_ms, owner_xid))

    def check_operation_execution(self, workflow_id: str, function_id: int, function_name: str, /) -> object:
        self.told.append((workflow_id, function_id, function_name))
        return None


@pytest.mark.parametrize("closed", [False, True])
async def test_what_is_not_written_is_left_to_dbos_with_the_time_it_would_have_had(place: Place, closed: bool) -> None:
    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        return {}

    async with opened(place, body):
        pass
    engine, left = place.open(), Dbos()
    records = StepRecords(engine, left, application="drawbridge", shared=place.shared)
    try:
        if closed:
            records.close(10)
        await records.record(Execution("run_1", "me", 0), Step(number=1, name="say", result={"a": 1}, began_ms=1))
    finally:
        records.close(10)
        engine.dispose()
    (number, output, ended_ms, owner), asked_for = left.told
    assert (number, output, owner) == (1, '{"a":1}', "me")
    assert ended_ms > 1_700_000_000_000
    assert asked_for == ("run_1", 1, "say")
    assert recorded(place) == []


@dataclass(slots=True)
class Refusing:
    """See `Recording`: writes nothing."""

    error: BaseException

    def record_operation_result(self, result: Any, *, completed_at_epoch_ms: int | None, owner_xid: str | None) -> None:
        raise self.error

    def check_operation_execution(self, workflow_id: str, function_id: int, function_name: str, /) -> object:
        return None


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("INSERT", None, sqlite3.OperationalError("disk I/O error")),
        dbos_error.DBOSWorkflowConflictIDError("run_1"),
    ],
)
async def test_what_cannot_be_written_is_said_to_be_lost_where_its_run_does_not_wait_for_it(
    tmp_path: Path, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    place = Held(SqliteFile(tmp_path / "runs.db"))
    engine = place.open()
    records = StepRecords(engine, Refusing(error), application="drawbridge", shared=False)
    step = Step(number=7, name="say", result={}, began_ms=1)
    try:
        async with anyio.create_task_group() as stopped:
            stopped.start_soon(records.record, Execution("run_1", "me", 0), step)
            await to_thread.run_sync(place.recording.wait, 50)
            stopped.cancel_scope.cancel()
        place.let.set()
        await records.settled(50)
    finally:
        place.let.set()
        await to_thread.run_sync(records.close, 10)
        engine.dispose()
    lost = [each.getMessage() for each in caplog.records if "of run run_1" in each.getMessage()]
    assert [each.split(" was done")[0] for each in lost] == ["step 7 (say) of run run_1"]


async def test_all_writers_together_take_no_longer_to_end_than_they_may(tmp_path: Path) -> None:
    place = Held(SqliteFile(tmp_path / "runs.db"))
    engine = place.open()
    records = StepRecords(engine, Dbos(), application="drawbridge", shared=True)
    step = Step(number=1, name="say", result={}, began_ms=1)
    took_s: list[float] = []
    async with anyio.create_task_group() as stopped:
        for number in range(20):
            stopped.start_soon(records.record, Execution(f"run_{number}", "me", 0), step)
        await to_thread.run_sync(place.recording.wait, 60)
        began_s = anyio.current_time()
        await to_thread.run_sync(records.close, 5)
        took_s.append(anyio.current_time() - began_s)
        stopped.cancel_scope.cancel()
    place.let.set()
    await records.settled(60)
    await to_thread.run_sync(records.close, 10)
    engine.dispose()
    assert took_s[0] < 9.5


def test_the_parts_of_dbos_that_recording_leans_on_are_still_there() -> None:
    leaned_on = [name for name in vars(Recording) if not name.startswith("_")]
    database = import_module("dbos._sys_db").SystemDatabase
    assert len(leaned_on) == 2
    assert [name for name in leaned_on if not callable(getattr(database, name, None))] == []
