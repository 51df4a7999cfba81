"""Questions that wait for a person. Knows nothing of the runs that ask."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, RowMapping, Update, bindparam, insert, select, update

from adapters.storage.tables import approvals
from adapters.storage.transactions import Transactions
from gateway.core.errors import Conflict, NotFound
from gateway.core.ports.approvals import Approval, ApprovalState

_c = approvals.c
_BY_ID = select(approvals).where(_c.id == bindparam("of_id"))
_ASK = insert(approvals)
_UNDELIVERED = select(approvals).where(_c.settled.is_(False), _c.state.in_(("approved", "denied")))


class SqlApprovals:
    """See `Approvals`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def ask(self, approval: Approval) -> None:
        row = _row_from(approval)

        def act(connection: Connection) -> None:
            if connection.execute(_BY_ID, {"of_id": approval.id}).first() is None:
                connection.execute(_ASK, row)

        await self._database.write(act)

    async def answer(self, answered: Approval) -> Approval:
        def act(connection: Connection) -> Approval:
            row = connection.execute(_BY_ID, {"of_id": answered.id}).mappings().first()
            if row is None or row["tenant"] != answered.tenant:
                raise NotFound(f"there is no approval {answered.id}")
            known = _approval_from(row)
            if known.state == "pending":
                connection.execute(_of(answered.id).values(**_answer(answered)))
                return replace(answered, settled=False)
            if _answer(known) == {**_answer(answered), "answered_at_us": known.answered_at_us}:
                return known
            raise already(known)

        return await self._database.write(act)

    async def settle(self, approval_id: str, state: ApprovalState) -> None:
        pending = _of(approval_id).where(_c.state == "pending").values(state=state)
        settled = _of(approval_id).values(settled=True)
        await self._database.write(
            lambda connection: [connection.execute(each).rowcount for each in (pending, settled)]
        )

    async def withdraw(self, run_id: str) -> None:
        withdrawn = update(approvals).where(_c.run_id == run_id, _c.state == "pending").values(state="withdrawn")
        await self._database.write(lambda connection: connection.execute(withdrawn).rowcount)

    async def renew(self, run_id: str) -> None:
        renewed = update(approvals).where(_c.run_id == run_id, _c.state == "withdrawn").values(state="pending")
        await self._database.write(lambda connection: connection.execute(renewed).rowcount)

    async def find(self, tenant: str, approval_id: str) -> Approval | None:
        row = await self._database.read(
            lambda connection: connection.execute(_BY_ID, {"of_id": approval_id}).mappings().first()
        )
        return None if row is None or row["tenant"] != tenant else _approval_from(row)

    async def list(
        self,
        tenant: str,
        *,
        state: str = "",
        run_id: str = "",
        roles: Collection[str] | None = None,
        limit: int = 100,
    ) -> tuple[Approval, ...]:
        wanted = select(approvals).where(_c.tenant == tenant)
        if state:
            wanted = wanted.where(_c.state == state)
        if run_id:
            wanted = wanted.where(_c.run_id == run_id)
        if roles is not None:
            wanted = wanted.where(_c.role.in_(sorted(roles)))
        wanted = wanted.order_by(_c.asked_at_us.desc(), _c.id.desc()).limit(limit)
        rows = await self._database.read(lambda connection: connection.execute(wanted).mappings().all())
        return tuple(_approval_from(row) for row in rows)

    async def undelivered(self) -> tuple[Approval, ...]:
        rows = await self._database.read(lambda connection: connection.execute(_UNDELIVERED).mappings().all())
        return tuple(_approval_from(row) for row in rows)


def already(known: Approval) -> Conflict:
    """What whoever answers too late is told."""
    by = f" by {known.answered_by}" if known.answered_by else ""
    return Conflict(f"approval {known.id} is {known.state}{by} already", detail={"state": known.state})


def _of(approval_id: str) -> Update:
    return update(approvals).where(_c.id == approval_id)


def _answer(approval: Approval) -> dict[str, Any]:
    names = ("state", "answered_by", "answered_at_us", "value", "comment")
    return {name: getattr(approval, name) for name in names}


def _row_from(approval: Approval) -> dict[str, Any]:
    return {column.name: getattr(approval, column.name) for column in approvals.columns}


def _approval_from(row: RowMapping) -> Approval:
    return Approval(**row)
