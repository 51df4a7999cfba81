"""The queue of runs that did not come to a good end. Knows nothing of runs but what their letters say."""

from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, insert, select, update

from adapters.storage.tables import dead_letters
from adapters.storage.transactions import Transactions
from gateway.core.ports.dead_letters import DeadLetter, DeadState

_c = dead_letters.c
_RUN = _c.run_id == bindparam("of_run")
_FIND = select(dead_letters).where(_c.tenant == bindparam("of_tenant"), _RUN)
_OPEN = select(_c.run_id).where(_RUN, _c.state == "open")
_REMOVE = delete(dead_letters).where(_RUN)
_ADD = insert(dead_letters)
_SETTLE = update(dead_letters).where(_c.tenant == bindparam("of_tenant"), _RUN, _c.state == "open")
_CLAIM = _SETTLE.where(_c.settled_at_us < bindparam("before_us"))
_RELEASE = _SETTLE.where(_c.settled_at_us == bindparam("claimed_at_us"))


class SqlDeadLetters:
    """See `DeadLetters`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def add(self, letter: DeadLetter) -> None:
        place, row = {"of_run": letter.run_id}, asdict(letter)

        def act(connection: Connection) -> None:
            if connection.execute(_OPEN, place).first() is None:
                connection.execute(_REMOVE, place)
                connection.execute(_ADD, row)

        await self._database.write(act, about=letter.run_id)

    async def find(self, tenant: str, run_id: str) -> DeadLetter | None:
        place = {"of_tenant": tenant, "of_run": run_id}
        row = await self._database.read(lambda connection: connection.execute(_FIND, place).mappings().first())
        return None if row is None else _letter_from(row)

    async def list(
        self, tenant: str, *, workflow: str = "", settled: bool = False, limit: int = 50
    ) -> tuple[DeadLetter, ...]:
        wanted = select(dead_letters).where(_c.tenant == tenant)
        if workflow:
            wanted = wanted.where(_c.workflow == workflow)
        if not settled:
            wanted = wanted.where(_c.state == "open")
        newest = wanted.order_by(_c.at_us.desc(), _c.run_id.desc()).limit(max(limit, 0))
        rows = await self._database.read(lambda connection: connection.execute(newest).mappings().all())
        return tuple(_letter_from(row) for row in rows)

    async def claim(
        self, tenant: str, run_id: str, *, at_us: int, before_us: int, by: str, retried_as: str = ""
    ) -> DeadLetter | None:
        place = {"of_tenant": tenant, "of_run": run_id}

        def act(connection: Connection) -> DeadLetter | None:
            row = connection.execute(_FIND, place).mappings().first()
            if row is None:
                return None
            said = {"settled_at_us": at_us, "settled_by": by, "retried_as": row["retried_as"] or retried_as}
            if not connection.execute(_CLAIM, {**place, "before_us": before_us, **said}).rowcount:
                return None
            return replace(_letter_from(row), **said)

        return await self._database.write(act, about=run_id)

    async def release(self, tenant: str, run_id: str, *, claimed_at_us: int) -> None:
        said: dict[str, Any] = {"settled_at_us": 0, "settled_by": "", "retried_as": ""}
        values = {"of_tenant": tenant, "of_run": run_id, "claimed_at_us": claimed_at_us, **said}
        await self._database.write(lambda connection: connection.execute(_RELEASE, values).rowcount, about=run_id)

    async def settle(
        self, tenant: str, run_id: str, state: DeadState, *, at_us: int, by: str, retried_as: str = ""
    ) -> bool:
        said: dict[str, Any] = {"state": state, "settled_at_us": at_us, "settled_by": by, "retried_as": retried_as}
        values = {"of_tenant": tenant, "of_run": run_id, **said}

        def act(connection: Connection) -> bool:
            return connection.execute(_SETTLE, values).rowcount > 0

        return await self._database.write(act, about=run_id)


def _letter_from(row: RowMapping) -> DeadLetter:
    return DeadLetter(**row)
