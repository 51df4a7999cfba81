"""Every queue of dead letters keeps these promises."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial

import pytest

from adapters.storage.dead_letters import SqlDeadLetters
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.ports.dead_letters import DeadLetter, DeadLetters
from gateway.testing.stores.around_runs import MemoryDeadLetters
from tests.contracts.databases import STORES, opened

pytestmark = pytest.mark.anyio


@pytest.fixture(params=STORES)
async def letters(request: pytest.FixtureRequest) -> AsyncGenerator[DeadLetters]:
    if request.param == "memory":
        yield MemoryDeadLetters()
        return
    async with opened(request, GATEWAY_SCHEMA) as database:
        yield SqlDeadLetters(database)


FIRST = DeadLetter(
    run_id="run_1",
    tenant="default",
    workflow="help",
    owner="ana",
    cause="failed",
    reason="no stock",
    step="run_1/2",
    target="tool:orders/find",
    attempts=2,
    at_us=1,
)
SECOND = replace(FIRST, run_id="run_2", workflow="other", at_us=2)


async def test_letters_are_listed_newest_first_and_by_tenant(letters: DeadLetters) -> None:
    for letter in (FIRST, SECOND, replace(FIRST, run_id="run_3", tenant="elsewhere")):
        await letters.add(letter)
    assert await letters.list("default") == (SECOND, FIRST)
    assert await letters.list("default", limit=1) == (SECOND,)
    assert await letters.list("default", workflow="help") == (FIRST,)
    assert await letters.find("default", "run_1") == FIRST
    assert await letters.find("default", "run_3") is None


async def test_an_open_letter_stays_as_it_is_and_a_settled_one_is_opened_again(letters: DeadLetters) -> None:
    await letters.add(FIRST)
    later = replace(FIRST, reason="again", at_us=3)
    await letters.add(later)
    assert await letters.find("default", "run_1") == FIRST
    assert await letters.settle("default", "run_1", "retried", at_us=2, by="ops", retried_as="run_9")
    await letters.add(later)
    assert await letters.find("default", "run_1") == later


async def test_a_letter_is_settled_once_and_by_its_own_tenant(letters: DeadLetters) -> None:
    await letters.add(FIRST)
    assert not await letters.settle("elsewhere", "run_1", "dropped", at_us=2, by="ops")
    assert not await letters.settle("default", "run_2", "dropped", at_us=2, by="ops")
    assert await letters.settle("default", "run_1", "dropped", at_us=2, by="ops")
    assert not await letters.settle("default", "run_1", "retried", at_us=3, by="ops")
    dropped = replace(FIRST, state="dropped", settled_at_us=2, settled_by="ops")
    assert await letters.find("default", "run_1") == dropped
    assert await letters.list("default") == ()
    assert await letters.list("default", settled=True) == (dropped,)


async def test_of_those_who_claim_a_letter_one_is_at_it_until_they_let_go_or_are_given_up(
    letters: DeadLetters,
) -> None:
    await letters.add(FIRST)
    claim = partial(letters.claim, "default", "run_1")
    claimed = await claim(at_us=100, before_us=40, by="ana", retried_as="run_7")
    assert claimed == replace(FIRST, settled_at_us=100, settled_by="ana", retried_as="run_7")
    assert await letters.find("default", "run_1") == claimed
    assert await claim(at_us=150, before_us=90, by="ben", retried_as="run_8") is None
    assert await letters.claim("other", "run_1", at_us=500, before_us=400, by="ben") is None

    later = await claim(at_us=200, before_us=140, by="ben", retried_as="run_8")
    assert later == replace(FIRST, settled_at_us=200, settled_by="ben", retried_as="run_7")
    await letters.release("default", "run_1", claimed_at_us=100)
    assert await letters.find("default", "run_1") == later
    await letters.release("default", "run_1", claimed_at_us=200)
    assert await letters.find("default", "run_1") == FIRST

    await letters.settle("default", "run_1", "dropped", at_us=300, by="ana")
    assert await claim(at_us=500, before_us=400, by="ben") is None
    assert await letters.claim("default", "run_9", at_us=500, before_us=400, by="ben") is None
