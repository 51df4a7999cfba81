"""What the engine on DBOS promises beyond the port: its file, its singleton, its dead letters, and kill -9."""

import asyncio
import json
import logging
import sqlite3
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from importlib import import_module
from pathlib import Path

import anyio
import dbos
import pytest

from adapters.durable.dbos_journal import MAX_RECOVERY_ATTEMPTS, DbosJournal
from adapters.durable.keeping import QUEUE
from gateway.core.errors import Internal, Unavailable
from gateway.core.json import JsonObject
from gateway.core.ports.journal import Journal, RunBody, RunInterrupted

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(path: Path, body: RunBody) -> AsyncGenerator[DbosJournal]:
    journal = DbosJournal(path / "runs.db", poll_s=0.05)
    await journal.launch(body)
    try:
        with anyio.fail_after(60):
            yield journal
    finally:
        await journal.aclose()


async def echo(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
    async def act() -> JsonObject:
        return {"said": spec}

    return await journal.draw().run("echo", act)


async def forever(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
    await anyio.sleep_forever()
    return {}


@asynccontextmanager
async def nobody_can_write(path: Path) -> AsyncGenerator[None]:
    with closing(sqlite3.connect(path / "runs.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")


def modes(path: Path) -> dict[str, int]:
    return {each.name: each.stat().st_mode & 0o777 for each in path.iterdir()}


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path / "runs.db")) as connection:
        return connection.execute(query).fetchall()


async def test_the_file_is_private_in_wal_mode_and_holds_json(tmp_path: Path) -> None:
    async with opened(tmp_path, echo) as journal:
        await journal.start("run_1", {"a": "ä"})
        await journal.wait("run_1")
        assert modes(tmp_path) == {"runs.db": 0o600, "runs.db-wal": 0o600, "runs.db-shm": 0o600}
        assert rows(tmp_path, "PRAGMA journal_mode") == [("wal",)]
        [(output,)] = rows(tmp_path, "SELECT output FROM operation_outputs")
        assert json.loads(str(output)) == {"said": {"a": "ä"}}


async def test_runs_carry_the_pinned_executor_and_version(tmp_path: Path) -> None:
    async with opened(tmp_path, echo) as journal:
        await journal.start("run_1", {})
        await journal.wait("run_1")
        stored = rows(tmp_path, "SELECT name, executor_id, application_version FROM workflow_status")
    assert stored == [("drawbridge.run", "gateway", "runs-1")]


async def test_a_second_engine_in_one_process_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path, echo) as journal:
        (tmp_path / "other").mkdir()
        with pytest.raises(Internal):
            await DbosJournal(tmp_path / "other" / "runs.db").launch(echo)
        with pytest.raises(Internal):
            await journal.launch(echo)
        await journal.start("run_1", {})
        assert await journal.wait("run_1") == {"said": {}}


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_bytes(b"not a database, and long enough to be looked at" * 50)
    with pytest.raises(Unavailable, match=r"runs\.db"):
        await DbosJournal(tmp_path / "runs.db").launch(echo)


async def test_nothing_is_asked_of_an_engine_that_is_closed(tmp_path: Path) -> None:
    async with opened(tmp_path, echo) as journal:
        pass
    await journal.aclose()
    with pytest.raises(Unavailable):
        await journal.start("run_1", {})
    with pytest.raises(Unavailable):
        await journal.state("run_1")


async def test_the_engine_logs_through_the_program_and_not_to_the_console(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with opened(tmp_path, echo) as journal:
        await journal.start("run_1", {})
        await journal.wait("run_1")
        logger = logging.getLogger("dbos")
        assert logger.propagate
        assert not logger.isEnabledFor(logging.INFO)
    assert capfd.readouterr() == ("", "")


async def test_the_loop_has_threads_of_its_own_again_afterwards(tmp_path: Path) -> None:
    async with opened(tmp_path, echo) as journal:
        await journal.start("run_1", {})
        await journal.wait("run_1")
    assert await asyncio.get_running_loop().run_in_executor(None, lambda: 7) == 7


async def test_a_run_under_way_at_too_many_crashes_is_dead_and_can_be_resumed(tmp_path: Path) -> None:
    async with opened(tmp_path, forever) as journal:
        await journal.start("run_1", {})
    with closing(sqlite3.connect(tmp_path / "runs.db")) as connection:
        connection.execute("UPDATE workflow_status SET recovery_attempts = ?", (MAX_RECOVERY_ATTEMPTS + 1,))
        connection.commit()
    async with opened(tmp_path, echo) as journal:
        with pytest.raises(Internal):
            await journal.wait("run_1")
        assert await journal.state("run_1") == "dead"
        await journal.resume("run_1")
        assert await journal.wait("run_1") == {"said": {}}


async def test_a_run_that_was_interrupted_goes_on_by_itself_and_is_not_taken_for_a_crasher(tmp_path: Path) -> None:
    tries = 0

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        async def act() -> JsonObject:
            nonlocal tries
            tries += 1
            if tries < 3:
                raise RunInterrupted
            return {"tries": tries}

        return await journal.draw().run("act", act)

    async with opened(tmp_path, body) as journal:
        await journal.start("run_1", {})
        assert await journal.wait("run_1") == {"tries": 3}
    assert rows(tmp_path, "SELECT status, recovery_attempts FROM workflow_status") == [("SUCCESS", 1)]


async def test_a_run_whose_asker_goes_away_while_it_is_accepted_runs_all_the_same(tmp_path: Path) -> None:
    told: JsonObject = {"a": 1}
    async with opened(tmp_path, echo) as journal:
        async with nobody_can_write(tmp_path), anyio.create_task_group() as asking:
            asking.start_soon(journal.start, "run_1", told)
            await anyio.wait_all_tasks_blocked()
            asking.cancel_scope.cancel()
        assert await journal.wait("run_1") == {"said": {"a": 1}}


async def test_who_asks_for_a_run_that_is_being_accepted_is_answered_once_it_is(tmp_path: Path) -> None:
    answered: list[str] = []

    async def ask(journal: DbosJournal) -> None:
        await journal.start("run_1", {"a": 1})
        answered.append(await journal.state("run_1"))

    async with opened(tmp_path, forever) as journal, anyio.create_task_group() as asking, nobody_can_write(tmp_path):
        asking.start_soon(ask, journal)
        asking.start_soon(ask, journal)
        await anyio.wait_all_tasks_blocked()
        assert not answered
    assert answered == ["pending", "pending"]


async def test_orderly_restarts_do_not_count_as_crashes(tmp_path: Path) -> None:
    async with opened(tmp_path, forever) as journal:
        await journal.start("run_1", {})
    with closing(sqlite3.connect(tmp_path / "runs.db")) as connection:
        connection.execute("UPDATE workflow_status SET recovery_attempts = ?", (MAX_RECOVERY_ATTEMPTS,))
        connection.commit()
    started = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        started.set()
        await anyio.sleep_forever()
        return {}

    async with opened(tmp_path, body):
        await started.wait()
    assert rows(tmp_path, "SELECT status, recovery_attempts FROM workflow_status") == [("PENDING", 1)]


async def test_closing_takes_its_bound_and_no_longer_when_a_run_does_not_let_go(tmp_path: Path) -> None:
    let_go = anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        with anyio.CancelScope(shield=True):
            await let_go.wait()
        return {}

    journal = DbosJournal(tmp_path / "runs.db", close_s=0.1)
    await journal.launch(body)
    await journal.start("run_1", {})
    with anyio.fail_after(60):
        await journal.aclose()
    let_go.set()
    await anyio.wait_all_tasks_blocked()


def test_the_parts_of_dbos_we_lean_on_are_still_there() -> None:
    assert callable(dbos.DBOS.reserve_step)
    assert callable(dbos.DBOS._recover_pending_workflows)  # pyright: ignore[reportPrivateUsage]
    assert {"step_id", "run_async"} <= set(dir(dbos.StepReservation))
    assert import_module("dbos._utils").INTERNAL_QUEUE_NAME == QUEUE
    assert "system_database_engine" in dbos.DBOSConfig.__annotations__


CRASHING = Path(__file__).with_name("crashing_runs.py")


@pytest.mark.e2e
async def test_killed_at_any_instant_every_accepted_run_ends_and_recorded_steps_do_not_run_again(
    tmp_path: Path,
) -> None:
    """Ten runs of five steps each; the process is killed after ever more step starts, then left alone."""
    for kill_after in (4, 13, 22):
        with anyio.fail_after(120):
            killed = await anyio.run_process(
                [sys.executable, str(CRASHING), str(tmp_path), str(kill_after)], check=False, stderr=None
            )
        assert killed.returncode == -9
    with anyio.fail_after(120):
        finished = await anyio.run_process([sys.executable, str(CRASHING), str(tmp_path), "0"], stderr=None)
    outcomes = json.loads(finished.stdout)
    assert outcomes == {f"run_{n}": [f"run_{n}/{k}" for k in range(5)] for n in range(10)}
    acted = (tmp_path / "acted").read_text().split()
    repeated = {name: acted.count(name) - 1 for name in set(acted)}
    assert len(repeated) == 50
    # At most the one step under way of each run, once per crash.
    assert max(repeated.values()) <= 3
    assert sum(repeated.values()) <= 3 * 10
