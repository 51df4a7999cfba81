"""What agents are at work on through several gateways on one database."""

from collections.abc import AsyncGenerator
from dataclasses import replace

import psycopg
import pytest

from adapters.storage.agent_calls import SqlAgentCalls
from adapters.storage.opensteps import SqlOpenSteps
from adapters.storage.postgres import PostgresDatabase
from adapters.storage.presence import Presence
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.model import principal
from gateway.core.ports.storage import AtWork, OpenStep
from gateway.core.ports.world import Secret
from tests.fakes import FakeClock

pytestmark = pytest.mark.anyio

CALL = AtWork(agent="agent:a", step_id="", depth=3)


@pytest.fixture
async def database(postgres_url: str) -> AsyncGenerator[PostgresDatabase]:
    database = await PostgresDatabase.open(Secret(postgres_url), (GATEWAY_SCHEMA,), connections=5)
    yield database
    await database.aclose()


async def test_the_others_see_what_an_agent_is_at_work_on_until_it_ends_or_time_is_up(
    database: PostgresDatabase,
) -> None:
    clock = FakeClock()
    first, second = (SqlAgentCalls(database, name, clock) for name in ("first", "second"))
    await Presence(database, "first", clock).renew()
    number = await first.began(CALL, 60)
    deeper = replace(CALL, step_id="run/1", depth=1)
    await first.began(deeper, 10)

    assert set(await second.at_work("agent:a")) == {CALL, deeper}
    assert await second.at_work("agent:b") == ()
    clock.advance(11)
    assert await second.at_work("agent:a") == (CALL,)
    await first.ended(CALL, number)
    assert await second.at_work("agent:a") == ()


async def test_what_a_process_that_died_had_under_way_does_not_count_and_is_forgotten(
    database: PostgresDatabase, postgres_url: str
) -> None:
    first, second = (SqlAgentCalls(database, name, FakeClock()) for name in ("first", "second"))
    await first.began(CALL, 60)
    assert await second.at_work("agent:a") == ()

    await Presence(database, "second", FakeClock()).renew()
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT 1 FROM drawbridge.agent_calls").fetchall() == []


async def test_steps_of_runs_count_by_their_own_rows(database: PostgresDatabase) -> None:
    step = OpenStep(run_id="r", step_id="r/1", agent="a", actor=principal("agent:a", kind="agent"), phase="", depth=2)
    await SqlOpenSteps(database).open(step)
    await SqlOpenSteps(database).open(replace(step, step_id="r/2", depth=None))

    assert await SqlAgentCalls(database, "second", FakeClock()).at_work("agent:a") == (
        AtWork(agent="agent:a", step_id="r/1", depth=2),
    )
