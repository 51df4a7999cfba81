"""What every `CostLedger` does."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from adapters.storage.costs import open_costs
from adapters.storage.database import Database
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.limits import Usage
from gateway.core.ports.costs import CostLedger, Spent
from gateway.testing.stores.costs import MemoryCostLedger
from tests.contracts.databases import STORES, opened

pytestmark = pytest.mark.anyio

FULL = Usage(
    calls=1,
    tokens=10,
    cost_usd=Decimal("0.0000000001"),
    input_tokens=7,
    output_tokens=3,
    counted_tokens=10,
    models=("m",),
)


def spent(day: str = "2026-11-28", tenant: str = "default", usage: Usage = FULL, workflow: str = "help") -> Spent:
    return Spent(day=day, tenant=tenant, target="agent:refunds", workflow=workflow, usage=usage)


@pytest.fixture(params=STORES)
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[CostLedger]:
    if request.param == "memory":
        yield MemoryCostLedger()
        return
    async with opened(request, GATEWAY_SCHEMA) as database, open_costs(database) as costs:
        yield costs


async def test_what_is_spent_in_one_place_adds_up_exactly(ledger: CostLedger) -> None:
    ledger.note(spent())
    [row] = await ledger.rows("default", since="2026-11-01")
    assert row == spent()
    ledger.note(spent(usage=Usage(calls=1, cost_usd=Decimal("0.2"), models=("n",))))
    [row] = await ledger.rows("default", since="2026-11-28", until="2026-11-28")
    assert row.usage == FULL + Usage(calls=1, cost_usd=Decimal("0.2"), models=("n",))


async def test_days_tenants_and_workflows_are_kept_apart(ledger: CostLedger) -> None:
    for each in (spent(), spent(day="2026-11-29"), spent(tenant="other"), spent(workflow="")):
        ledger.note(each)
    assert len(await ledger.rows("default", since="2026-11-01")) == 3
    assert len(await ledger.rows("*", since="2026-11-01")) == 4
    assert [row.day for row in await ledger.rows("default", since="2026-11-29")] == ["2026-11-29"]
    assert len(await ledger.rows("default", since="2026-11-01", until="2026-11-28")) == 2


async def test_what_was_noted_last_is_there_after_an_orderly_end(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    for _ in range(2):
        database = await Database.open(path, GATEWAY_SCHEMA)
        async with open_costs(database) as ledger:
            ledger.note(spent())
        await database.aclose()
    database = await Database.open(path, GATEWAY_SCHEMA)
    async with open_costs(database) as ledger:
        [row] = await ledger.rows("default", since="2026-11-01")
    await database.aclose()
    assert row.usage == FULL + FULL
