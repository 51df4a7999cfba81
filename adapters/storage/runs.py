"""Runs, their steps and their event logs. Executes nothing, and decides no state."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import anyio
from sqlalchemy import BindParameter, Connection, Update, and_, bindparam, func, insert, or_, select, tuple_, update

from adapters.sql.prepared import Prepared
from adapters.storage.held_runs import HeldRuns
from adapters.storage.opensteps import CLOSE, CLOSE_RUN
from adapters.storage.run_log import add_events, put_steps, tenant_of
from adapters.storage.run_rows import row_from_run, row_from_usage, run_from_row, step_from_row
from adapters.storage.tables import run_events, run_steps, runs
from adapters.storage.tails import Tails
from adapters.storage.transactions import Transactions
from gateway.core.errors import Conflict, NotFound
from gateway.core.json import Json, JsonObject
from gateway.core.limits import Usage
from gateway.core.ports.runs import Moved, Run, RunEvent, RunStep, Standing, Told
from gateway.core.task import TaskState

T = TypeVar("T")

_RUN: BindParameter[str] = bindparam("of_run")
_FIND = select(runs).where(runs.c.tenant == bindparam("of_tenant"), runs.c.id == _RUN)
_FIND_BY_KEY = select(runs).where(runs.c.tenant == bindparam("of_tenant"), runs.c.key == bindparam("of_key"))
_OF_KEY = and_(runs.c.tenant == bindparam("of_tenant"), runs.c.key == bindparam("of_key"))
_KNOWN = Prepared(select(runs.c.id).where(or_(runs.c.id == _RUN, _OF_KEY)))
_OPEN = Prepared(insert(runs), [column.name for column in runs.c])
_UPDATE = update(runs).where(runs.c.id == _RUN)
_STATED = ("state", "updated_at_us", "error")
_UPDATES = {
    (with_output, with_usage): Prepared(
        _UPDATE, [*_STATED, *(["output"] if with_output else []), *(row_from_usage(Usage()) if with_usage else [])]
    )
    for with_output in (False, True)
    for with_usage in (False, True)
}
"""By whether the output and the usage change too."""
_MOVE_ON = Prepared(_UPDATE.where(*(runs.c.state != state.value for state in TaskState if state.terminal)), _STATED)
"""Of a run that has not ended."""
_NOW_US: BindParameter[int] = bindparam("now_us", type_=runs.c.held_us.type)
_PAUSE = update(runs).where(runs.c.id == _RUN, runs.c.paused_at_us.is_(None)).values(paused_at_us=_NOW_US)
_UNPAUSE = (
    update(runs)
    .where(runs.c.id == _RUN, runs.c.paused_at_us.is_not(None))
    .values(held_us=runs.c.held_us + _NOW_US - runs.c.paused_at_us, paused_at_us=None)
)
_HELD = runs.c.held_us + bindparam("by_us", type_=runs.c.held_us.type)
_HOLD = update(runs).where(runs.c.id == _RUN).values(held_us=_HELD)
_ENDED = runs.c.state.in_([state.value for state in TaskState if state.terminal])
_REOPEN = (
    update(runs)
    .where(runs.c.id == _RUN, _ENDED)
    .values(state=TaskState.WORKING.value, updated_at_us=_NOW_US, error="", held_us=_HELD)
)

_STANDING = Prepared(select(runs.c.state, runs.c.paused_at_us, runs.c.held_us).where(runs.c.id == _RUN))

_STEPS = (
    select(run_steps)
    .where(run_steps.c.run_id == _RUN)
    .order_by(run_steps.c.started_at_us, run_steps.c.id, run_steps.c.attempt)
)

_EVENTS = (
    select(run_events.c.run_id, run_events.c.seq, run_events.c.at_us, run_events.c.body)
    .where(run_events.c.run_id == _RUN, run_events.c.seq > bindparam("after"))
    .order_by(run_events.c.seq)
)
_NEWEST = (
    select(run_events.c.run_id, func.max(run_events.c.seq))
    .where(run_events.c.run_id.in_(bindparam("of_runs", expanding=True)))
    .group_by(run_events.c.run_id)
)


class SqlRunStore:
    """See `RunStore`. `wait_events` wakes on what this process appends, and on what `look` finds of others."""

    def __init__(self, database: Transactions, held: HeldRuns | None = None) -> None:
        """`held`: where no other process changes runs; without it every run is looked up."""
        self._database = database
        self._waiting: dict[str, dict[anyio.Event, int]] = {}
        """Whoever waits for events of a run, and behind which one."""
        self._tails = Tails()
        self._held = held

    async def open(self, run: Run) -> Run:
        """See `RunStore.open`. A run whose id exists in the tenant is given as it is, too.

        Raises: Conflict: another tenant's run has the id.
        """
        row = row_from_run(run)
        place = {"of_tenant": run.tenant, "of_run": run.id, "of_key": run.key}

        def act(connection: Connection) -> Run:
            if _KNOWN.first(connection, place) is None:
                _OPEN.run(connection, row)
                return run
            known = connection.execute(_FIND_BY_KEY, place).mappings().first() if run.key else None
            known = known or connection.execute(_FIND, place).mappings().first()
            if known is None:
                raise Conflict("a run with this id exists")
            return run_from_row(known)

        opened = await self._database.write(act, about=run.id)
        if opened is run:
            # Whoever watches it from the beginning need not ask for events there are none of.
            self._tails.begin(run.id)
            self._tails.settle(run.id, 0)
            if self._held is not None:
                self._held.opened(run)
        return opened

    async def update(
        self, run_id: str, *, state: str, at_us: int, output: Json = None, error: str = "", usage: Usage | None = None
    ) -> None:
        """See `RunStore.update`. Output and usage that are not given stay as they are.

        Raises: NotFound.
        """
        moved = Moved(state=state, at_us=at_us, output=output, error=error, usage=usage)
        self._changing(run_id)
        await self._database.write(partial(_move, run_id, moved), about=run_id)

    async def pause(self, run_id: str, at_us: int) -> bool:
        return await self._changed(_PAUSE, {"of_run": run_id, "now_us": at_us})

    async def unpause(self, run_id: str, at_us: int) -> bool:
        return await self._changed(_UNPAUSE, {"of_run": run_id, "now_us": at_us})

    async def reopen(self, run_id: str, told: Told, *, by_us: int) -> bool:
        """See `RunStore.reopen`.  Raises: NotFound."""

        def act(connection: Connection) -> int:
            if connection.execute(_REOPEN, {"of_run": run_id, "now_us": told.at_us, "by_us": by_us}).rowcount:
                return add_events(connection, run_id, (told,))[0]
            tenant_of(connection, run_id)
            return 0

        self._changing(run_id)
        seq = await self._database.write(act, about=run_id)
        if seq:
            self._woken(run_id, [_event(run_id, seq, told)])
        return seq > 0

    async def hold(self, run_id: str, by_us: int) -> None:
        await self._changed(_HOLD, {"of_run": run_id, "by_us": by_us})

    async def _changed(self, statement: Update, values: dict[str, Any]) -> bool:
        def act(connection: Connection) -> bool:
            return connection.execute(statement, values).rowcount > 0

        self._changing(values["of_run"])
        return await self._database.write(act, about=values["of_run"])

    def _changing(self, run_id: str) -> None:
        if self._held is not None:
            self._held.changed(run_id)

    async def find(self, tenant: str, run_id: str) -> Run | None:
        held = None if self._held is None else self._held.find(tenant, run_id)
        if held is not None:
            return held
        place = {"of_tenant": tenant, "of_run": run_id}
        row = await self._database.glance(lambda connection: connection.execute(_FIND, place).mappings().first())
        return None if row is None else run_from_row(row)

    async def standing(self, run_id: str) -> Standing | None:
        place = {"of_run": run_id}
        row = await self._database.glance(lambda connection: _STANDING.first(connection, place))
        return None if row is None else Standing(state=row[0], paused=row[1] is not None, held_us=row[2])

    async def list(
        self,
        tenant: str,
        *,
        owner: str = "",
        workflow: str = "",
        context_id: str = "",
        before: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> tuple[Run, ...]:
        wanted = select(runs).where(runs.c.tenant == tenant)
        if owner:
            wanted = wanted.where(runs.c.owner == owner)
        if workflow:
            wanted = wanted.where(runs.c.workflow == workflow)
        if context_id:
            wanted = wanted.where(runs.c.context_id == context_id)
        if before is not None:
            wanted = wanted.where(tuple_(runs.c.created_at_us, runs.c.id) < tuple_(*before))
        newest = wanted.order_by(runs.c.created_at_us.desc(), runs.c.id.desc()).limit(max(limit, 0))
        rows = await self._database.read(lambda connection: connection.execute(newest).mappings().all())
        return tuple(run_from_row(row) for row in rows)

    async def note_step(self, step: RunStep) -> None:
        """See `RunStore.note_step`.  Raises: NotFound: there is no such run."""

        def act(connection: Connection) -> None:
            put_steps(connection, step.run_id, (step,))

        await self._database.write(act, about=step.run_id, lasting=False)

    async def tell(
        self,
        run_id: str,
        *,
        steps: Sequence[RunStep] = (),
        events: Sequence[Told] = (),
        moved: Moved | None = None,
        closed: Sequence[str] = (),
    ) -> None:
        ended = moved is not None and TaskState(moved.state).terminal

        def act(connection: Connection) -> list[int]:
            if moved is not None and ended:
                _move(run_id, moved, connection)
            elif moved is not None:
                _move_on(run_id, moved, connection)
            put_steps(connection, run_id, steps)
            for step_id in closed:
                CLOSE.run(connection, {"of_run": run_id, "of_step": step_id})
            if ended:
                # Also what a run that was cut off had closed, and had no time to tell.
                CLOSE_RUN.run(connection, {"of_run": run_id})
            return add_events(connection, run_id, events)

        # The engine's journal has everything but how the run ended, and is told again from.
        places = await self._written(run_id, act, moved=moved, lasting=ended)
        if events:
            appended = zip(places, events, strict=True)
            self._woken(run_id, [_event(run_id, seq, told) for seq, told in appended if seq])

    async def _written(
        self, run_id: str, act: Callable[[Connection], T], *, moved: Moved | None, lasting: bool = True
    ) -> T:
        if moved is None or self._held is None:
            return await self._database.write(act, about=run_id, lasting=lasting)
        try:
            written = await self._database.write(act, about=run_id, lasting=lasting)
        except BaseException:
            # Perhaps it was, perhaps it was not.
            self._held.changed(run_id)
            raise
        self._held.moved(run_id, moved)
        return written

    async def steps(self, run_id: str) -> tuple[RunStep, ...]:
        rows = await self._database.read(
            lambda connection: connection.execute(_STEPS, {"of_run": run_id}).mappings().all()
        )
        return tuple(step_from_row(row) for row in rows)

    async def append(self, run_id: str, key: str, body: JsonObject, at_us: int) -> RunEvent | None:
        """See `RunStore.append`.  Raises: NotFound: there is no such run."""
        event = Told(key=key, body=body, at_us=at_us)

        def act(connection: Connection) -> int:
            return add_events(connection, run_id, (event,))[0]

        seq = await self._database.write(act, about=run_id)
        if not seq:
            return None
        appended = _event(run_id, seq, event)
        self._woken(run_id, [appended])
        return appended

    async def events(self, run_id: str, after: int = 0) -> tuple[RunEvent, ...]:
        place = {"of_run": run_id, "after": after}
        rows = await self._database.read(lambda connection: connection.execute(_EVENTS, place).mappings().all())
        return tuple(RunEvent(**row) for row in rows)

    async def wait_events(self, run_id: str, after: int, timeout_s: float) -> tuple[RunEvent, ...]:
        # Watch before looking: what is appended between the two must not be slept through.
        appended = anyio.Event()
        watching = self._waiting.setdefault(run_id, {})
        watching[appended] = after
        try:
            found = await self._behind(run_id, after)
            with anyio.move_on_after(timeout_s):
                while not found:
                    await appended.wait()
                    del watching[appended]
                    appended = anyio.Event()
                    watching[appended] = after
                    found = await self._behind(run_id, after)
            return found
        finally:
            watching.pop(appended, None)
            if not watching and self._waiting.get(run_id) is watching:
                del self._waiting[run_id]

    async def _behind(self, run_id: str, after: int) -> tuple[RunEvent, ...]:
        known = self._tails.after(run_id, after)
        if known is not None:
            return known
        self._tails.begin(run_id)
        found = await self.events(run_id, after)
        self._tails.settle(run_id, found[-1].seq if found else after)
        return found

    def _woken(self, run_id: str, events: Sequence[RunEvent]) -> None:
        self._tails.append(run_id, events)
        for waiting in self._waiting.get(run_id, ()):
            waiting.set()

    async def look(self) -> None:
        """Wake those who wait for events that another process has appended."""
        if not self._waiting:
            return
        place = {"of_runs": list(self._waiting)}
        rows = await self._database.read(lambda connection: connection.execute(_NEWEST, place).all())
        for run_id, newest in rows:
            for waiting, after in self._waiting.get(run_id, {}).items():
                if newest > after:
                    # Whoever appended it: what is kept here may lack it.
                    self._tails.end(run_id)
                    waiting.set()


def _move(run_id: str, moved: Moved, connection: Connection) -> None:
    values: dict[str, Any] = {
        "of_run": run_id,
        "state": moved.state,
        "updated_at_us": moved.at_us,
        "error": moved.error,
    }
    if moved.output is not None:
        values["output"] = moved.output
    if moved.usage is not None:
        values |= row_from_usage(moved.usage)
    statement = _UPDATES[moved.output is not None, moved.usage is not None]
    if statement.run(connection, values) == 0:
        raise NotFound("no such run")


def _move_on(run_id: str, moved: Moved, connection: Connection) -> None:
    values = {"of_run": run_id, "state": moved.state, "updated_at_us": moved.at_us, "error": moved.error}
    if _MOVE_ON.run(connection, values) == 0:
        tenant_of(connection, run_id)


def _event(run_id: str, seq: int, told: Told) -> RunEvent:
    return RunEvent(run_id=run_id, seq=seq, at_us=told.at_us, body=told.body)
