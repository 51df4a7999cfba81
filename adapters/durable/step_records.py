"""What steps return, in DBOS's own table, many in one commit. What cannot be written just so is left to DBOS.

DBOS asks its database twice for every step: whether there is a record of it, and to write one; each in a transaction of
its own, put together anew. Behind the last record a run has left, the first question has one answer. So a run asks
once, as it begins, up to where it has records: up to there its steps are DBOS's, and behind that they are done at once
and their results written here, the very row DBOS would have written, under DBOS's own condition - that the run is under
way still, and this execution's. Whatever comes to wait while one commit is made shares the next.

If a row was not written, for whatever reason, DBOS writes it: it finds out whether the run was canceled or goes on
elsewhere, and asks a database that is away until it answers. It knows by the time in the row that an attempt of ours
whose answer was lost has written it. A run that is stopped does not wait for its rows; they are written all the same.
"""

import asyncio
import json
import logging
import time
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import anyio
from anyio import to_thread
from dbos import error as dbos_error
from dbos._context import current_owner_xid
from sqlalchemy import Connection, Engine, text

from adapters.durable.places import prefix
from adapters.sql.prepared import executed
from adapters.sql.read_worker import ReadWorker
from adapters.sql.write_worker import WriteWorker
from gateway.core.errors import GatewayError, Internal
from gateway.core.json import JsonObject

_Row: TypeAlias = dict[str, Any]
_Writing: TypeAlias = "asyncio.Future[bool]"

_logger = logging.getLogger(__name__)

SERIALIZATION = "portable_json"
"""What DBOS calls the JSON in its rows."""
_QUEUE_LIMIT = 10_000

_UNDER_WAY = "workflow_uuid = {run_id} AND owner_xid = {owner} AND status = 'PENDING'"
_NAMES = ("run_id", "number", "name", "output", "began_ms", "ended_ms", "serialization", "application", "kept_ms")
_COLUMNS = (
    "workflow_uuid, function_id, function_name, output, started_at_epoch_ms, completed_at_epoch_ms, serialization,"
    " application_name, retention_timestamp"
)


def _insert(*, shared: bool) -> str:
    mark = "%({})s".format if shared else ":{}".format
    types = ("text", "integer", "text", "text", "bigint", "bigint", "text", "text", "bigint")
    marks = [
        f"CAST({mark(name)} AS {kind})" if shared else mark(name) for name, kind in zip(_NAMES, types, strict=True)
    ]
    under_way = _UNDER_WAY.format(run_id=mark("run_id"), owner=mark("owner"))
    # Locked as DBOS locks it: whoever takes the run over meanwhile waits, and finds this row.
    lock = " FOR NO KEY UPDATE" if shared else ""
    return (
        f"INSERT INTO {prefix(shared=shared)}operation_outputs ({_COLUMNS}) SELECT {', '.join(marks)}"  # noqa: S608 - nothing of it is given
        f" FROM (SELECT 1 FROM {prefix(shared=shared)}workflow_status WHERE {under_way}{lock}) AS mine"
        " WHERE true ON CONFLICT DO NOTHING"
    )


_INSERT = {shared: _insert(shared=shared) for shared in (False, True)}
_LAST = {
    shared: text(
        f"SELECT max(function_id) FROM {prefix(shared=shared)}operation_outputs WHERE workflow_uuid = :run_id"  # noqa: S608 - nothing of it is given
    )
    for shared in (False, True)
}
"""Both by whether the database is shared."""
_STATUS = f"SELECT status FROM {prefix(shared=True)}workflow_status WHERE workflow_uuid = %(run_id)s"  # noqa: S608 - nothing of it is given
_STATUS_WITHIN_S = 5.0


class Recording(Protocol):
    """What is needed of DBOS, of its private parts."""

    def record_operation_result(self, result: Any, *, completed_at_epoch_ms: int | None, owner_xid: str | None) -> None:
        """Write a row, unless the same is there. Raises: DBOS's own: the run is another execution's; another row is
        there."""
        ...

    def check_operation_execution(self, workflow_id: str, function_id: int, function_name: str, /) -> object:
        """Raises: DBOS's own: the run was canceled."""
        ...


@dataclass(frozen=True, slots=True)
class Execution:
    """Of a run, by this process, from here on."""

    run_id: str
    owner: str
    """What DBOS wrote into the run's row when this execution began."""
    last: int
    """The last place there is a record for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One that was done."""

    number: int
    name: str
    result: JsonObject
    began_ms: int


EXECUTION: ContextVar[Execution] = ContextVar("execution")
ACTING: ContextVar[bool] = ContextVar("acting", default=False)
"""Whether this is within a step."""


class StepRecords:
    """Of one launched engine. `close` it once nothing runs any more, and before the engine."""

    def __init__(self, engine: Engine, recording: Recording, *, application: str, shared: bool) -> None:
        """`application`: what DBOS calls this one in its rows."""
        self._engine = engine
        self._recording = recording
        self._application = application
        self._insert = _INSERT[shared]
        self._last = _LAST[shared]
        self._writer = WriteWorker(engine, name="steps", queue_limit=_QUEUE_LIMIT)
        # Where others cancel runs, each asks about itself before it ends: DBOS would put a long statement together.
        reads = engine.execution_options(isolation_level="AUTOCOMMIT") if shared else None
        self._reads = None if reads is None else ReadWorker(reads, name="engine", queue_limit=_QUEUE_LIMIT)
        self._unwaited: set[asyncio.Task[None]] = set()
        """Those that see to what no run waits for any more."""

    async def begin(self, run_id: str) -> None:
        """Within the execution, before its first step. Raises: SQLAlchemyError."""
        owner = current_owner_xid(run_id)
        if owner is None:
            raise Internal(f"run {run_id} is executed outside the durable engine")
        EXECUTION.set(Execution(run_id, owner, await to_thread.run_sync(self._last_of, run_id)))

    async def record(self, execution: Execution, step: Step) -> None:
        """Return once it is on disk. Raises: what DBOS does where it would write it."""
        row = self._row(execution, step)
        try:
            written = await self._awaited(row, self._writer.submit(partial(_write, self._insert, row), lone=True))
        except GatewayError:
            written = False
        if not written:
            await self._awaited(row, asyncio.ensure_future(asyncio.to_thread(self._leave_to_dbos, row)))

    async def status(self, run_id: str) -> "str | None":
        """What DBOS calls the state that the run is in, empty if there is no such run; None if DBOS is to be asked."""
        if self._reads is None:
            return None
        try:
            with anyio.move_on_after(_STATUS_WITHIN_S):
                return await self._reads.submit(partial(_status, run_id))
        except GatewayError:
            pass  # DBOS asks until it is answered
        return None

    async def settled(self, timeout_s: float) -> None:
        """Once all is written that no run waits for any more; bounded."""
        if self._unwaited:
            await asyncio.wait(self._unwaited, timeout=timeout_s)

    def close(self, timeout_s: float) -> None:
        """Blocks; so long altogether."""
        until_s = time.monotonic() + timeout_s
        self._writer.close(timeout_s)
        if self._reads is not None:
            self._reads.close(max(0.0, until_s - time.monotonic()))

    async def _awaited(self, row: _Row, writing: _Writing) -> bool:
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            # What was done would be done once more if it was not on record.
            task = asyncio.get_running_loop().create_task(self._see_through(row, writing))
            self._unwaited.add(task)
            task.add_done_callback(self._unwaited.discard)
            raise

    async def _see_through(self, row: _Row, writing: _Writing) -> None:
        try:
            if not await _said(writing):
                await asyncio.to_thread(self._leave_to_dbos, row)
        except dbos_error.DBOSWorkflowCancelledError:
            pass  # said of a row that is written: see `_leave_to_dbos`
        except (Exception, dbos_error.DBOSWorkflowConflictIDError):
            # The task's edge: nobody else learns of it.
            _logger.exception(
                "step %d (%s) of run %s was done and is not on record: it is done again when the run goes on",
                *(row["number"], row["name"], row["run_id"]),
            )

    def _last_of(self, run_id: str) -> int:
        with self._engine.connect() as connection:
            return connection.execute(self._last, {"run_id": run_id}).scalar_one() or 0

    def _row(self, execution: Execution, step: Step) -> _Row:
        now_ms = time.time_ns() // 1_000_000
        return {
            "run_id": execution.run_id,
            "owner": execution.owner,
            "number": step.number,
            "name": step.name,
            "output": json.dumps(step.result, separators=(",", ":"), ensure_ascii=False),
            "began_ms": step.began_ms,
            "ended_ms": now_ms,
            "serialization": SERIALIZATION,
            "application": self._application,
            "kept_ms": now_ms,
        }

    def _leave_to_dbos(self, row: _Row) -> bool:
        result = {
            "workflow_uuid": row["run_id"],
            "function_id": row["number"],
            "function_name": row["name"],
            "output": row["output"],
            "error": None,
            "serialization": row["serialization"],
            "started_at_epoch_ms": row["began_ms"],
            "child_workflow_id": None,
        }
        self._recording.record_operation_result(result, completed_at_epoch_ms=row["ended_ms"], owner_xid=row["owner"])
        # It writes for runs that were canceled as well, and says so at the next step it does; that is none of its own.
        self._recording.check_operation_execution(row["run_id"], row["number"], row["name"])
        return True


async def _said(writing: _Writing) -> bool:
    """Whether it was written."""
    try:
        return await writing
    except GatewayError:
        return False


def _status(run_id: str, connection: Connection) -> str:
    cursor = executed(connection, _STATUS, {"run_id": run_id})
    row = cursor.fetchone()
    cursor.close()
    return "" if row is None else row[0]


def _write(statement: str, row: _Row, connection: Connection) -> bool:
    cursor = executed(connection, statement, row)
    written = cursor.rowcount == 1
    cursor.close()
    return written
