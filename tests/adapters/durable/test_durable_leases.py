"""Processes on one database: who is alive, and whose runs they are."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import psycopg
import pytest
from anyio import to_thread

from adapters.durable.dbos_journal import DbosJournal
from adapters.durable.leases import Lease
from adapters.durable.places import PostgresServer
from gateway.core.json import JsonObject
from gateway.core.ports.journal import Journal, RunBody
from gateway.core.ports.world import Secret

pytestmark = pytest.mark.anyio

SLEPT = "UPDATE drawbridge_engine.leases SET seen = seen - 3600"
"""What the row of a process looks like whose machine slept: its own clock stood still, the server's went on."""


@asynccontextmanager
async def opened(place: PostgresServer, body: RunBody, *, lease_s: float = 10.0) -> AsyncGenerator[DbosJournal]:
    journal = DbosJournal(place, poll_s=0.05, lease_s=lease_s)
    await journal.launch(body)
    try:
        with anyio.fail_after(60):
            yield journal
    finally:
        await journal.aclose()


async def sleep_forever(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
    await anyio.sleep_forever()
    return {}


def test_a_lease_that_lapsed_by_the_servers_clock_is_not_renewed_but_taken_anew(postgres_url: str) -> None:
    engine = PostgresServer(Secret(postgres_url)).open()
    lease = Lease(engine, "me", ttl_s=10.0)
    lease.open()
    with psycopg.connect(postgres_url) as connection:
        connection.execute(SLEPT)

    assert lease.held
    assert lease.renew(()).lapsed
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute(
            "SELECT seen < extract(epoch FROM now()) - 60 FROM drawbridge_engine.leases"
        ).fetchone()
    lease.take()
    assert lease.held
    engine.dispose()


async def test_a_process_whose_machine_slept_stops_its_runs_before_it_goes_on_with_any(postgres_url: str) -> None:
    begun: list[float] = []
    stopped: list[float] = []
    once, twice = anyio.Event(), anyio.Event()

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        begun.append(time.monotonic())
        once.set()
        if len(begun) == 2:
            twice.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.append(time.monotonic())
        return {}

    async with opened(PostgresServer(Secret(postgres_url)), body) as journal:
        await journal.start("run_1", {})
        await once.wait()
        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            await connection.execute(SLEPT)

        await twice.wait()
        assert stopped[0] <= begun[1]


async def test_a_process_is_alive_before_its_first_run(postgres_url: str) -> None:
    async with opened(PostgresServer(Secret(postgres_url)), sleep_forever) as journal:
        await journal.start("run_1", {})
    leases: list[int] = []

    def alive() -> int:
        with psycopg.connect(postgres_url) as connection:
            return len(connection.execute("SELECT 1 FROM drawbridge_engine.leases").fetchall())

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        leases.append(await to_thread.run_sync(alive))
        return {}

    with psycopg.connect(postgres_url) as connection:
        # What the killed left has been given back by others already, and waits in the queue.
        connection.execute(
            "UPDATE drawbridge_engine.workflow_status SET status = 'ENQUEUED', queue_name = '_dbos_internal_queue'"
        )
    async with opened(PostgresServer(Secret(postgres_url)), body) as journal:
        await journal.wait("run_1")
    assert leases == [1]


def test_a_server_that_is_gone_without_a_word_is_found_out(postgres_url: str) -> None:
    engine = PostgresServer(Secret(postgres_url)).open()
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        given = driver.info.get_parameters()
    engine.dispose()
    assert {"keepalives_idle", "keepalives_count", "tcp_user_timeout"} <= given.keys()
