"""What budgets give out in a minute, over several gateways on one database."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import replace

import anyio
import pytest

from adapters.storage.minutes import SqlMinutes
from adapters.storage.postgres import PostgresDatabase
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.ports.costs import Given
from gateway.core.ports.world import Secret

pytestmark = pytest.mark.anyio

CALL = Given(budget="tenant acme", minute=7, calls=1, tokens=10)
MOST = 5


@pytest.fixture
async def gateways(postgres_url: str) -> AsyncGenerator[list[SqlMinutes]]:
    async with AsyncExitStack() as stack:
        databases = [
            await PostgresDatabase.open(Secret(postgres_url), (GATEWAY_SCHEMA,), connections=5) for _ in range(3)
        ]
        for each in databases:
            stack.push_async_callback(each.aclose)
        yield [SqlMinutes(each) for each in databases]


def fits(calls: int, tokens: int) -> bool:
    return calls < MOST


async def test_of_all_that_come_at_once_as_many_have_room_as_there_is(gateways: list[SqlMinutes]) -> None:
    answers: list[tuple[int, int] | None] = []

    async def reserve(minutes: SqlMinutes) -> None:
        answers.append(await minutes.reserve(CALL, fits))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for minutes in gateways:
                for _ in range(4):
                    group.start_soon(reserve, minutes)

    assert answers.count(None) == MOST
    assert answers.count((MOST, 10 * MOST)) == 12 - MOST


async def test_a_minute_is_corrected_and_the_next_one_begins_with_nothing(gateways: list[SqlMinutes]) -> None:
    a, b, _ = gateways
    await a.reserve(CALL, fits)
    await b.settle(replace(CALL, calls=0, tokens=32))
    assert await a.reserve(CALL, lambda calls, tokens: False) == (1, 42)
    later = replace(CALL, minute=9)
    assert await a.reserve(later, lambda calls, tokens: (calls, tokens) == (0, 0)) is None
    # What is over is gone: it counts nowhere any more.
    assert await a.reserve(CALL, lambda calls, tokens: False) == (0, 0)
