"""Takes away rows of runs nobody needs any more, some at a time. Decides nothing."""

from collections.abc import Collection, Sequence
from typing import TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Delete, Table, and_, delete, func, or_, select

from adapters.storage.tables import (
    approvals,
    dead_letters,
    effects,
    notes,
    open_steps,
    run_events,
    run_steps,
    runs,
    starts,
    task_owners,
)
from adapters.storage.transactions import Transactions
from gateway.core.task import TaskState

T = TypeVar("T")

_FAILED = [TaskState.FAILED.value, TaskState.REJECTED.value]
_ENDED_WELL = [state.value for state in TaskState if state.terminal and state.value not in _FAILED]
_UNDER_WAY = [state.value for state in TaskState if not state.terminal]
_OF_RUNS = (run_events, run_steps, approvals, open_steps, dead_letters, starts)
_ROWS_AT_ONCE = 200


class SqlRunArchive:
    """See `RunArchive`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def ended(self, before_us: int, *, failed: bool, tenant: str, limit: int) -> tuple[str, ...]:
        wanted = select(runs.c.id).where(
            runs.c.state.in_(_FAILED if failed else _ENDED_WELL), runs.c.updated_at_us < before_us
        )
        if tenant:
            wanted = wanted.where(runs.c.tenant == tenant)
        oldest = wanted.order_by(runs.c.updated_at_us, runs.c.id).limit(limit)
        return tuple(await self._database.read(lambda connection: connection.execute(oldest).scalars().all()))

    async def oldest_under_way_us(self) -> int | None:
        oldest = select(func.min(runs.c.created_at_us)).where(runs.c.state.in_(_UNDER_WAY))
        return await self._database.read(lambda connection: connection.execute(oldest).scalar())

    async def submitted(self, before_us: int, *, limit: int) -> tuple[str, ...]:
        wanted = select(runs.c.id).where(runs.c.state == TaskState.SUBMITTED.value, runs.c.updated_at_us < before_us)
        oldest = wanted.order_by(runs.c.updated_at_us, runs.c.id).limit(limit)
        return tuple(await self._database.read(lambda connection: connection.execute(oldest).scalars().all()))

    async def erase(self, run_ids: Collection[str]) -> None:
        for ids in _some_at_a_time(tuple(run_ids)):

            def act(connection: Connection, ids: Sequence[str] = ids) -> None:
                for table in _OF_RUNS:
                    connection.execute(delete(table).where(table.c.run_id.in_(ids)))
                connection.execute(delete(runs).where(runs.c.id.in_(ids)))

            await self._database.write(act)

    async def forget_effects(self, before_us: int, *, tenant: str, limit: int) -> int:
        return await self._forget(effects, effects.c.finished_at_us, before_us, tenant, limit)

    async def forget_in_doubt(self, before_us: int, *, limit: int) -> int:
        unfinished = effects.c.finished_at_us.is_(None)
        return await self._forget(effects, effects.c.tried_at_us, before_us, "", limit, unfinished)

    async def forget_notes(self, now_us: int, *, limit: int) -> int:
        return await self._forget(notes, notes.c.until_us, now_us, "", limit)

    async def forget_owners(self, before_us: int, *, tenant: str, limit: int) -> int:
        return await self._forget(task_owners, task_owners.c.created_at_us, before_us, tenant, limit)

    async def _forget(
        self,
        table: Table,
        at_us: "Column[int]",
        before_us: int,
        tenant: str,
        limit: int,
        *also: "ColumnElement[bool]",
    ) -> int:
        keys = tuple(table.primary_key.columns)
        wanted = select(*keys).where(at_us < before_us, *also)
        if tenant:
            wanted = wanted.where(table.c.tenant == tenant)
        oldest = wanted.order_by(at_us).limit(limit)
        rows = await self._database.read(lambda connection: connection.execute(oldest).all())
        for some in _some_at_a_time(rows):
            # Looked at again: an effect may have been tried, or a note renewed, since.
            these = and_(
                or_(*(and_(*(key == said for key, said in zip(keys, row, strict=True))) for row in some)),
                at_us < before_us,
                *also,
            )
            statement: Delete = delete(table).where(these)

            def act(connection: Connection, statement: Delete = statement) -> None:
                connection.execute(statement)

            await self._database.write(act)
        return len(rows)


def _some_at_a_time(rows: Sequence[T]) -> list[Sequence[T]]:
    return [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]
