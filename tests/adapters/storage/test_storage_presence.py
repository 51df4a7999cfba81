"""Who is alive on a shared database, and what that means for what they had under way."""

import time
from collections.abc import AsyncGenerator

import psycopg
import pytest
import structlog.testing

from adapters.storage.effects import SqlEffectLedger
from adapters.storage.postgres import PostgresDatabase
from adapters.storage.presence import Presence
from adapters.storage.tables import GATEWAY_SCHEMA
from adapters.system import SystemClock
from gateway.core.ports.storage import Unfinished
from gateway.core.ports.world import Secret
from tests.fakes import FakeClock

pytestmark = pytest.mark.anyio

HOUR_US = 3_600_000_000


@pytest.fixture
async def database(postgres_url: str) -> AsyncGenerator[PostgresDatabase]:
    database = await PostgresDatabase.open(Secret(postgres_url), (GATEWAY_SCHEMA,), connections=5)
    yield database
    await database.aclose()


async def test_an_effect_is_under_way_elsewhere_while_who_began_it_is_alive_and_at_it(
    database: PostgresDatabase, postgres_url: str
) -> None:
    first, second = (SqlEffectLedger(database, process=name) for name in ("first", "second"))
    presence = Presence(database, "first", FakeClock())
    await presence.renew()
    await first.begin("default", "k", "d", 10)

    assert await second.begin("default", "k", "d", 20) == Unfinished(10, here=False, elsewhere=True)
    assert await first.begin("default", "k", "d", 20) == Unfinished(10, here=True)
    # No call takes so long.
    assert await second.begin("default", "k", "d", 20 + HOUR_US) == Unfinished(10, here=False)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("UPDATE drawbridge.processes SET seen_at_us = seen_at_us - 11000000")
    assert await second.begin("default", "k", "d", 20) == Unfinished(10, here=False)


async def test_who_takes_leave_has_nothing_under_way(database: PostgresDatabase) -> None:
    first, second = (SqlEffectLedger(database, process=name) for name in ("first", "second"))
    presence = Presence(database, "first", FakeClock())
    await presence.renew()
    await first.begin("default", "k", "d", 10)
    await presence.leave()

    assert await second.begin("default", "k", "d", 20) == Unfinished(10, here=False)


async def test_whoever_was_not_heard_of_for_long_is_forgotten(database: PostgresDatabase, postgres_url: str) -> None:
    await Presence(database, "first", FakeClock()).renew()
    with psycopg.connect(postgres_url) as connection:
        connection.execute("UPDATE drawbridge.processes SET seen_at_us = 0")
    await Presence(database, "second", FakeClock()).renew()

    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT id FROM drawbridge.processes").fetchall() == [("second",)]


async def test_a_clock_that_is_not_the_databases_is_told_of_once(database: PostgresDatabase) -> None:
    clock = FakeClock(now_us=time.time_ns() // 1000 - 5_000_000)
    presence = Presence(database, "first", clock)
    with structlog.testing.capture_logs() as logs:
        await presence.renew()
        clock.advance(3)
        await presence.renew()
    [told] = logs
    assert told["log_level"] == "warning"
    assert told["off_s"] < -1
    with structlog.testing.capture_logs() as logs:
        await Presence(database, "second", SystemClock()).renew()
    assert logs == []
