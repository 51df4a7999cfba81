"""The durable engine on DBOS, in process, on one SQLite file or on PostgreSQL. Nobody but this room knows DBOS.

What DBOS leaves to its users is decided here, once:

- One workflow function runs everything. Patterns are looked up inside the run's body, so that a missing one ends a run
  with a reason instead of leaving it pending and using up its recovery attempts.
- DBOS numbers steps in the order in which they are asked for. Chains that run side by side therefore swap results after
  a recovery, silently, unless each step's number is drawn beforehand, by one task: `draw`.
- Whatever is not a step of a run (starting another, asking for a status) is done in an empty context. In the context of
  a step DBOS refuses it, and in that of a run it would take a number.
- On PostgreSQL, which several processes share, DBOS itself recovers nothing of a process that has died: leases do.
  Messages are polled for instead of listened for, because LISTEN does not go through a pooler such as PgBouncer.
- JSON instead of pickle, a pinned executor and version (DBOS recovers only what carries its own), few threads and
  connections (SQLite has one writer; more of them made the slowest steps seven times slower), no console logging.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Collection, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio import to_thread
from dbos import DBOS, DBOSContextSetAuth, SetWorkflowID, WorkflowStatus
from dbos import error as dbos_error
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from adapters.durable.accepting import Accepting
from adapters.durable.dbos_instance import APPLICATION, build, destroy, silence, stop_asking
from adapters.durable.dbos_records import STATES, attempts, copy_records, count_pending, recorded
from adapters.durable.dbos_slot import TAKEN_AWAY, DbosSlot, outside
from adapters.durable.keeping import Keeper
from adapters.durable.leases import Lease
from adapters.durable.mailbox import Mailbox, Wait
from adapters.durable.pending import SHARES, Pending, refuse_more
from adapters.durable.places import Place, SqliteFile
from adapters.durable.step_records import ACTING, StepRecords
from gateway.core.errors import Conflict, Internal, NotFound, Unavailable
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.ports.journal import Recorded, RunBody, RunInterrupted, Slot

T = TypeVar("T")

_SWITCH_S = 0.0005
"""How soon the event loop lets a thread of the engine go on. By default Python's threads wait 5 ms for it: several
times what a statement takes, and a step makes two."""
_logger = logging.getLogger(__name__)

GIVEN_UP_AT_ONCE = 500
MAX_RECOVERY_ATTEMPTS = 5
"""A run that was under way at so many crashes, and once more, is dead: it may be what crashes the process."""

_PENDING = ("PENDING", "ENQUEUED", "DELAYED")
_GIVEN_UP = ["ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_ENDED = ["SUCCESS", "CANCELLED", *_GIVEN_UP]


class DbosJournal:
    """See `ports.journal.Journal`. One per process, because DBOS is; used from the event loop it was launched on."""

    def __init__(
        self,
        place: Path | Place,
        *,
        pending_limit: int = 1000,
        poll_s: float = 1.0,
        close_s: float = 10.0,
        lease_s: float = 10.0,
    ) -> None:
        """`place`: the database; a path is a SQLite file's. `pending_limit`: runs of one tenant, of all
        processes on it. `poll_s`: how soon a message to a waiting run is noticed. `close_s` bounds `aclose`. `lease_s`:
        how long a process that shares the database may be silent before the others run its runs."""
        self._place: Place = SqliteFile(place) if isinstance(place, Path) else place
        self._pending_limit = pending_limit
        self._poll_s = poll_s
        self._close_s = close_s
        self._lease_s = lease_s
        self._lease: Lease | None = None
        self._keeper: Keeper | None = None
        self._mailbox: Mailbox | None = None
        self._records: StepRecords | None = None
        self._pending = Pending()
        self._accepting = Accepting()
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        """Of runs that are executed here, or were until they were lost to another process: DBOS waits for their end."""
        self._bodies: dict[str, asyncio.Task[Any]] = {}
        """Those of them whose body is under way."""
        self._ends: dict[str, asyncio.Future[Any]] = {}
        """Of runs that were accepted here, also of those whose task has not begun."""
        self._engine: Engine | None = None
        self._built: DBOS | None = None
        self._workflow: Callable[[str, JsonObject], Coroutine[Any, Any, JsonObject]] | None = None

    async def launch(self, body: RunBody) -> None:
        """See `Journal.launch`. Raises: Internal: an engine runs in this process already; Unavailable."""
        if self._engine is not None:
            raise Internal("the durable engine was launched already")
        engine = await to_thread.run_sync(self._place.open)
        silence()
        try:
            built = self._built = build(engine, self._place, self._poll_s)
            self._workflow = DBOS.workflow(name="drawbridge.run", max_recovery_attempts=MAX_RECOVERY_ATTEMPTS)(
                self._generic(body)
            )
            if self._place.shared:
                self._lease = Lease(engine, self._place.executor_id, ttl_s=self._lease_s)
                await to_thread.run_sync(self._lease.open)
            self._keeper = self._keeper_of(engine)
            # On the loop's own thread: DBOS adopts the loop that is running when it is launched.
            DBOS.launch()
            # Before anything is awaited: the runs that go on now need both.
            self._mailbox = self._mailbox_of(built, engine)
            self._records = self._records_of(built, engine)
            self._engine = engine
            sys.setswitchinterval(_SWITCH_S)
            if not self._place.shared:
                self._pending.fill(await self._tenants_in(list(_PENDING)))
            self._keeper.begin()
        except (dbos_error.DBOSException, SQLAlchemyError) as error:
            self._engine = None
            await to_thread.run_sync(self._end, engine)
            raise Unavailable(f"the durable engine does not start on {self._place.name}") from error

    async def aclose(self) -> None:
        engine, self._engine = self._engine, None
        if engine is None:
            return
        with anyio.CancelScope(shield=True):
            await self._accepting.all_settled(self._close_s)
            if self._keeper is not None:
                await self._keeper.close()
            if self._mailbox is not None:
                await self._mailbox.close()
            if self._built is not None and self._records is not None:
                stop_asking(self._built)
                await self._records.settled(self._close_s / 2)
            with anyio.move_on_after(self._close_s):
                await to_thread.run_sync(self._end, engine, abandon_on_cancel=True)
        # DBOS made its own threads the loop's default and has just ended them.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="loop"))

    async def start(self, run_id: str, spec: JsonObject, *, parent: str = "", tenant: str = "") -> None:
        if run_id in self._pending:
            await self._accepting.settled(run_id)
            return
        if not parent:
            refuse_more(*await self._under_way(tenant), self._pending_limit)
        self._pending.add(run_id, tenant)
        self._accepting.begin(run_id, self._accept(run_id, spec, tenant))
        await self._accepting.settled(run_id)

    async def _accept(self, run_id: str, spec: JsonObject, tenant: str) -> None:
        try:
            handle = await outside(self._begin(run_id, spec, tenant))
        except BaseException:
            self._pending.discard(run_id)
            raise
        # Of a run that is executed here it has the end, and `_ended` tells when that has come.
        end: asyncio.Future[Any] | None = getattr(handle, "task", None)
        if end is not None:
            self._ends[run_id] = end
            end.add_done_callback(lambda _: self._ends.pop(run_id, None))
        elif await self.state(run_id) != "pending":
            self._pending.discard(run_id)

    async def _under_way(self, tenant: str) -> tuple[int, int]:
        """How many runs of the tenant are, and of all, wherever they are; those being accepted here count at once."""
        if not self._place.shared:
            return self._pending.of(tenant), len(self._pending)
        theirs, everybodys = self._pending.of(tenant, self._accepting.runs), len(self._accepting)
        count = partial(count_pending, self._running(), tenant, self._pending_limit * SHARES)
        there = await self._in_database(count)
        return theirs + there[0], everybodys + there[1]

    async def fork(
        self, run_id: str, spec: JsonObject, *, origin: str, slots: Collection[int], tenant: str = ""
    ) -> None:
        if await self.state(run_id):
            return
        if not await self.state(origin):
            raise _no_run(origin)
        if not await self._in_database(partial(copy_records, self._running(), origin, run_id, slots)):
            raise _no_run(origin)
        await self.start(run_id, spec, tenant=tenant)

    async def recorded(self, run_id: str) -> Mapping[int, Recorded]:
        if not await self.state(run_id):
            raise _no_run(run_id)
        return await recorded(run_id)

    async def attempts(self, run_id: str, step_id: str) -> tuple[JsonObject, ...]:
        return await self._in_database(partial(attempts, self._running(), run_id, step_id))

    async def wait(self, run_id: str) -> JsonObject:
        await self._accepting.settled(run_id)
        while True:
            if (end := self._tasks.get(run_id, self._ends.get(run_id))) is not None:
                await asyncio.wait((end,))
            status = await self._status(run_id)
            if status is None:
                raise _no_run(run_id)
            if status.status == "SUCCESS":
                return json_object(status.output)
            if status.status not in _PENDING:
                raise Internal(f"run {run_id} ended without an outcome: {STATES.get(status.status, status.status)}")
            # Another process's run is looked at less often: each look is a statement to a server.
            await anyio.sleep(self._poll_s if self._place.shared else 0.05)

    def holds(self) -> bool:
        return self._keeper is None or self._keeper.holds()

    def executes(self, run_id: str) -> bool:
        return run_id in self._bodies and self.holds()

    async def state(self, run_id: str) -> str:
        name = None if self._records is None else await self._records.status(run_id)
        if name is None:
            status = await self._status(run_id)
            name = "" if status is None else status.status
        return name and STATES.get(name, "failed")

    async def spec(self, run_id: str) -> "JsonObject | None":
        status = await self._status(run_id)
        return None if status is None or status.input is None else status.input["args"][1]

    async def cancel(self, run_id: str) -> None:
        if await self._status(run_id) is None:
            raise _no_run(run_id)
        await outside(DBOS.cancel_workflow_async(run_id))
        task = self._tasks.get(run_id)
        if task is not None and await self.state(run_id) == "canceled":
            # DBOS looks at the state between steps only; this ends the step as well.
            task.cancel()
            await asyncio.wait((task,), timeout=self._close_s)
        self._pending.discard(run_id)

    async def resume(self, run_id: str) -> None:
        state = await self.state(run_id)
        if not state:
            raise _no_run(run_id)
        if state == "pending":
            return
        if state not in ("canceled", "dead"):
            raise Conflict(f"run {run_id} has ended and cannot be resumed", detail={"state": state})
        if not self._place.shared:
            self._pending.fill(await self._tenants_in([], workflow_ids=[run_id]))
        await outside(DBOS.resume_workflow_async(run_id))

    def draw(self) -> Slot:
        self._check_own_task()
        return DbosSlot(DBOS.reserve_step(), self._open_records(), self.holds)

    async def receive(self, topic: str, timeout_s: float) -> Json:
        run_id = self._check_own_task()
        # The two that DBOS takes for a wait of its own.
        message, until = DBOS.reserve_step().step_id, DBOS.reserve_step().step_id
        wait = Wait(run_id=run_id, topic=topic, timeout_s=timeout_s, message=message, until=until)
        try:
            return await self._open_mailbox().receive(wait)
        except (*TAKEN_AWAY, SQLAlchemyError) as error:
            raise RunInterrupted from error

    async def send(self, run_id: str, topic: str, message: Json, key: str) -> None:
        try:
            await outside(DBOS.send_async(run_id, message, topic, idempotency_key=key))
        except dbos_error.DBOSNonExistentWorkflowError as error:
            raise _no_run(run_id) from error
        self._open_mailbox().came(run_id, topic)

    async def given_up(self, skip: int = 0) -> tuple[str, ...]:
        return tuple(await self._ids_in(_GIVEN_UP, sort_desc=True, limit=GIVEN_UP_AT_ONCE, offset=skip))

    async def forget(self, run_ids: Collection[str]) -> frozenset[str]:
        if not run_ids:
            return frozenset()
        ended = await self._ids_in(_ENDED, workflow_ids=list(run_ids))
        if ended:
            await outside(DBOS.delete_workflows_async(ended))
        return frozenset(await self._ids_in([*_PENDING], workflow_ids=list(run_ids)))

    def _generic(self, body: RunBody) -> Callable[[str, JsonObject], Coroutine[Any, Any, JsonObject]]:
        async def run(run_id: str, spec: dict[str, Any]) -> dict[str, Any]:
            task = asyncio.current_task()
            if task is None:
                raise Internal("a run without a task")
            self._tasks[run_id] = self._bodies[run_id] = task
            task.add_done_callback(partial(self._ended, run_id))
            try:
                await self._begin_steps(run_id)
                return await body(self, run_id, spec)
            except RunInterrupted as interrupted:
                if isinstance(interrupted.__cause__, TAKEN_AWAY):
                    raise dbos_error.DBOSWorkflowCancelledError(f"run {run_id} was canceled") from interrupted
                _logger.exception("run %s was interrupted, and goes on once what it needs answers", run_id)
                if self._keeper is not None:
                    self._keeper.interrupted(run_id)
                # The one end of a task that DBOS does not take for the run's.
                raise asyncio.CancelledError from interrupted
            finally:
                if self._bodies.get(run_id) is task:
                    del self._bodies[run_id]

        return run

    def _keeper_of(self, engine: Engine) -> Keeper:
        return Keeper(engine, self._place, self._tasks, self._lease, pause_s=self._poll_s, close_s=self._close_s)

    def _mailbox_of(self, built: DBOS, engine: Engine) -> Mailbox:
        # Only in parts: its own `recv` would look for each message by itself.
        recording = built._sys_db  # pyright: ignore[reportPrivateUsage]
        shared = self._place.shared
        mailbox = Mailbox(engine, recording, shared=shared, poll_s=self._poll_s, close_s=self._close_s)
        mailbox.begin()
        return mailbox

    def _records_of(self, built: DBOS, engine: Engine) -> StepRecords:
        # Only for rows that we could not write: nothing public records a step that was done.
        recording = built._sys_db  # pyright: ignore[reportPrivateUsage]
        return StepRecords(engine, recording, application=APPLICATION, shared=self._place.shared)

    async def _begin_steps(self, run_id: str) -> None:
        try:
            await self._open_records().begin(run_id)
        except SQLAlchemyError as error:
            raise RunInterrupted from error

    def _open_records(self) -> StepRecords:
        if self._records is None:
            raise Unavailable("the durable engine is not running")
        return self._records

    def _end(self, engine: Engine) -> None:
        if self._built is not None:
            stop_asking(self._built)
        if self._records is not None:
            # The rest of the time that this end may take is DBOS's.
            self._records.close(self._close_s / 2)
        destroy(engine, self._place, self._lease)

    def _open_mailbox(self) -> Mailbox:
        if self._mailbox is None:
            raise Unavailable("the durable engine is not running")
        return self._mailbox

    def _ended(self, run_id: str, task: "asyncio.Task[Any]") -> None:
        # A run resumed while its earlier task was ending belongs to the later one.
        if self._tasks.get(run_id) is task:
            del self._tasks[run_id]
            if self._keeper is None or not self._keeper.goes_on(run_id):
                self._pending.discard(run_id)

    async def _begin(self, run_id: str, spec: JsonObject, tenant: str) -> object:
        if self._workflow is None or self._engine is None:
            raise Unavailable("the durable engine is not running")
        # Whose run it is, DBOS keeps under this name, and tells without its input.
        with SetWorkflowID(run_id), DBOSContextSetAuth(tenant, None):
            return await DBOS.start_workflow_async(self._workflow, run_id, spec)

    def _running(self) -> Engine:
        if self._engine is None:
            raise Unavailable("the durable engine is not running")
        return self._engine

    async def _in_database(self, act: Callable[[], T]) -> T:
        try:
            return await to_thread.run_sync(act)
        except SQLAlchemyError as error:
            _logger.exception("the durable engine's database failed")
            raise Unavailable("the durable engine cannot be used at the moment") from error

    async def _status(self, run_id: str) -> WorkflowStatus | None:
        self._running()
        return await outside(DBOS.get_workflow_status_async(run_id))

    async def _ids_in(self, states: list[str], **narrowed: Any) -> list[str]:
        return [*await self._tenants_in(states, **narrowed)]

    async def _tenants_in(self, states: list[str], **narrowed: Any) -> dict[str, str]:
        """Runs in these states, in order, each with whose it is; of earlier versions nobody's."""
        listing = DBOS.list_workflows_async(status=states or None, load_input=False, load_output=False, **narrowed)
        return {status.workflow_id: status.authenticated_user or "" for status in await outside(listing)}

    def _check_own_task(self) -> str:
        """The run whose task this is."""
        run_id = DBOS.workflow_id
        task = asyncio.current_task()
        if run_id is None or task is None or self._tasks.get(run_id) is not task or ACTING.get():
            raise Internal("steps of a run are drawn by its own task only: from another their order would be chance")
        return run_id


def _no_run(run_id: str) -> NotFound:
    return NotFound(f"there is no run {run_id}")
