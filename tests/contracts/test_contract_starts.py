"""Every store of runs that messages started keeps these promises."""

from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from adapters.storage.starts import SqlStarts
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.ports.starts import Start, StartStore
from gateway.testing.stores.starts import MemoryStarts
from tests.contracts.databases import STORES, opened

pytestmark = pytest.mark.anyio


@pytest.fixture(params=STORES)
async def starts(request: pytest.FixtureRequest) -> AsyncGenerator[StartStore]:
    if request.param == "memory":
        yield MemoryStarts()
        return
    async with opened(request, GATEWAY_SCHEMA) as database:
        yield SqlStarts(database)


FIRST = Start(
    run_id="run_1",
    tenant="default",
    workflow="intake",
    bus="mail",
    topic="orders",
    message_id="m-1",
    digest="d",
    answers_to="done",
    at_us=1,
)
SECOND = replace(FIRST, run_id="run_2", message_id="m-2", at_us=2)
ELSEWHERE = replace(FIRST, run_id="run_3", topic="returns", at_us=3)


async def test_a_message_finds_the_run_it_started(starts: StartStore) -> None:
    assert await starts.find("mail", "orders", "m-1") is None
    await starts.add(FIRST)
    await starts.add(ELSEWHERE)
    assert await starts.find("mail", "orders", "m-1") == FIRST
    assert await starts.find("mail", "returns", "m-1") == ELSEWHERE
    assert await starts.find("post", "orders", "m-1") is None


async def test_the_first_run_of_a_message_counts(starts: StartStore) -> None:
    await starts.add(FIRST)
    await starts.add(replace(FIRST, at_us=9))
    await starts.add(replace(FIRST, run_id="run_9"))
    assert await starts.under_way(10) == (FIRST,)


async def test_runs_are_under_way_until_their_end_is_told(starts: StartStore) -> None:
    for each in (SECOND, ELSEWHERE, FIRST):
        await starts.add(each)
    assert await starts.under_way(10) == (FIRST, SECOND, ELSEWHERE)
    assert await starts.under_way(1) == (FIRST,)
    assert await starts.count("mail", "orders") == 2
    await starts.told("run_1", 5)
    assert await starts.under_way(10) == (SECOND, ELSEWHERE)
    assert await starts.count("mail", "orders") == 1
    assert await starts.find("mail", "orders", "m-1") == FIRST


async def test_one_tells_the_end_at_a_time_and_only_once(starts: StartStore) -> None:
    await starts.add(FIRST)
    assert await starts.claim("run_1", by="a", now_us=10, until_us=20)
    assert not await starts.claim("run_1", by="b", now_us=19, until_us=29)
    assert await starts.claim("run_1", by="a", now_us=19, until_us=25)
    assert await starts.claim("run_1", by="b", now_us=25, until_us=35)
    await starts.told("run_1", 26)
    assert not await starts.claim("run_1", by="b", now_us=27, until_us=37)
    assert not await starts.claim("run_1", by="a", now_us=99, until_us=109)
    assert not await starts.claim("run_7", by="a", now_us=99, until_us=109)
