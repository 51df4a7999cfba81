"""The ledger of costs: added up in memory, written off the path together, by one task. Decides no budget."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from operator import itemgetter
from typing import TypeAlias

import anyio
import structlog
from sqlalchemy import Connection, bindparam, insert, select, update

from adapters.storage.run_rows import row_from_usage, usage_from_row
from adapters.storage.tables import costs
from adapters.storage.transactions import Transactions
from gateway.core.catalog import EVERY_TENANT
from gateway.core.errors import GatewayError
from gateway.core.limits import NOTHING_USED, Usage
from gateway.core.ports.costs import Spent

log = structlog.get_logger(__name__)

LINGER_S = 0.25
"""How long what was spent may wait for more to be written with it; what a crash costs the ledger at most."""
AGAIN_S = 5.0
"""When a write that failed is tried again."""
LAST_WRITE_S = 5.0

_Place: TypeAlias = tuple[str, str, str, str]
_c = costs.c
_THIS = (
    _c.day == bindparam("of_day"),
    _c.tenant == bindparam("of_tenant"),
    _c.target == bindparam("of_target"),
    _c.workflow == bindparam("of_workflow"),
)
# Locked, where the database knows that: several gateways may add to one row.
_FIND = select(costs).where(*_THIS).with_for_update()
_REPLACE = update(costs).where(*_THIS)
_ADD = insert(costs)


class SqlCostLedger:
    """See `CostLedger`. Open with `open_costs`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database
        self._waiting: dict[_Place, Usage] = {}
        self._wake = anyio.Event()
        self._turn = anyio.Lock()

    def note(self, spent: Spent) -> None:
        place = (spent.day, spent.tenant, spent.target, spent.workflow)
        self._waiting[place] = self._waiting.get(place, NOTHING_USED) + spent.usage
        self._wake.set()

    async def rows(self, tenant: str, *, since: str, until: str = "") -> tuple[Spent, ...]:
        await self.flush()
        wanted = select(costs).where(_c.day >= since)
        if until:
            wanted = wanted.where(_c.day <= until)
        if tenant != EVERY_TENANT:
            wanted = wanted.where(_c.tenant == tenant)
        found = await self._database.read(lambda connection: connection.execute(wanted).mappings().all())
        return tuple(
            Spent(
                day=row["day"],
                tenant=row["tenant"],
                target=row["target"],
                workflow=row["workflow"],
                usage=usage_from_row(row),
            )
            for row in found
        )

    async def flush(self) -> None:
        """Write what waits. Raises: GatewayError: it could not be; it waits still."""
        async with self._turn:
            taken, self._waiting = self._waiting, {}
            if not taken:
                return
            try:
                await self._database.write(lambda connection: _add_up(connection, taken.items()))
            except BaseException:
                for place, usage in taken.items():
                    self._waiting[place] = self._waiting.get(place, NOTHING_USED) + usage
                raise

    async def keep_writing(self) -> None:
        """Write from time to time whatever was noted; runs until it is canceled."""
        while True:
            await self._wake.wait()
            await anyio.sleep(LINGER_S)
            self._wake = anyio.Event()
            try:
                await self.flush()
            except GatewayError as error:
                log.warning("what was spent is not written down yet", reason=error.message)
                await anyio.sleep(AGAIN_S)
                self._wake.set()


@asynccontextmanager
async def open_costs(database: Transactions) -> AsyncGenerator[SqlCostLedger]:
    """The ledger in this database; what is still waiting at the end is written then."""
    ledger = SqlCostLedger(database)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ledger.keep_writing)
        try:
            yield ledger
        finally:
            tasks.cancel_scope.cancel()
            with anyio.move_on_after(LAST_WRITE_S, shield=True):
                try:
                    await ledger.flush()
                except GatewayError as error:
                    log.warning("the last of what was spent is not written down", reason=error.message)


def _add_up(connection: Connection, taken: Iterable[tuple[_Place, Usage]]) -> None:
    # In one order everywhere: gateways that add to the same rows must not lock them crosswise.
    for (day, tenant, target, workflow), usage in sorted(taken, key=itemgetter(0)):
        place = {"of_day": day, "of_tenant": tenant, "of_target": target, "of_workflow": workflow}
        known = connection.execute(_FIND, place).mappings().first()
        if known is None:
            own = {"day": day, "tenant": tenant, "target": target, "workflow": workflow}
            connection.execute(_ADD, {**own, **row_from_usage(usage)})
        else:
            connection.execute(_REPLACE, {**place, **row_from_usage(usage_from_row(known) + usage)})
