"""Whose task at which agent. Knows nothing of tasks but their ids."""

from sqlalchemy import Connection, RowMapping, bindparam, insert, select

from adapters.storage.tables import task_owners
from adapters.storage.transactions import Transactions
from gateway.core.ports.storage import OwnedTask

_c = task_owners.c
_FIND = select(task_owners).where(
    _c.tenant == bindparam("tenant"), _c.agent == bindparam("agent"), _c.task_id == bindparam("task_id")
)
_OF = select(_c.task_id).where(
    _c.tenant == bindparam("tenant"), _c.agent == bindparam("agent"), _c.subject == bindparam("subject")
)
_CLAIM = insert(task_owners)


class SqlTaskOwners:
    """See `TaskOwners`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def claim(self, task: OwnedTask) -> bool:
        place = {"tenant": task.tenant, "agent": task.agent, "task_id": task.task_id}
        details = {"context_id": task.context_id, "subject": task.subject, "created_at_us": task.created_at_us}

        def act(connection: Connection) -> bool:
            known = connection.execute(_FIND, place).first()
            if known is None:
                connection.execute(_CLAIM, {**place, **details})
                return True
            return known.subject == task.subject

        return await self._database.write(act, about=task.task_id)

    async def find(self, tenant: str, agent: str, task_id: str) -> OwnedTask | None:
        place = {"tenant": tenant, "agent": agent, "task_id": task_id}
        row = await self._database.read(lambda connection: connection.execute(_FIND, place).mappings().first())
        return None if row is None else _task_from_row(row)

    async def of(self, tenant: str, agent: str, subject: str) -> frozenset[str]:
        whose = {"tenant": tenant, "agent": agent, "subject": subject}
        ids = await self._database.read(lambda connection: connection.execute(_OF, whose).scalars().all())
        return frozenset(ids)


def _task_from_row(row: RowMapping) -> OwnedTask:
    return OwnedTask(
        tenant=row["tenant"],
        agent=row["agent"],
        task_id=row["task_id"],
        context_id=row["context_id"],
        subject=row["subject"],
        created_at_us=row["created_at_us"],
    )
