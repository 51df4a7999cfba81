"""What every `EffectLedger` does."""

from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from adapters.storage.effects import SqlEffectLedger
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.errors import Conflict, NotFound
from gateway.core.json import JsonObject
from gateway.core.ports.storage import EffectLedger, EffectState, Fresh, Known, Unfinished
from gateway.testing.stores.effects import MemoryEffectLedger
from tests.contracts.databases import STORES, opened

pytestmark = pytest.mark.anyio

InProcess = Callable[[str], EffectLedger]
OUTCOME: JsonObject = {"content": [{"type": "text", "text": "refunded £20 ☂"}], "isError": False, "n": 2**80}


@pytest.fixture(params=STORES)
async def in_process(request: pytest.FixtureRequest) -> AsyncIterator[InProcess]:
    """The ledger as the process of that name sees it."""
    if request.param == "memory":
        effects = MemoryEffectLedger().effects
        yield lambda process: MemoryEffectLedger(process=process, effects=effects)
        return
    async with opened(request, GATEWAY_SCHEMA) as database:
        yield lambda process: SqlEffectLedger(database, process=process)


@pytest.fixture
def ledger(in_process: InProcess) -> EffectLedger:
    return in_process("first")


async def test_who_begins_first_is_told_so_and_the_next_that_it_is_under_way(ledger: EffectLedger) -> None:
    assert await ledger.begin("default", "k", "d", 10) == Fresh()
    assert await ledger.begin("default", "k", "d", 20) == Unfinished(10, here=True)


async def test_a_finished_effect_gives_its_outcome(ledger: EffectLedger) -> None:
    await ledger.begin("default", "k", "d", 10)
    await ledger.finish("default", "k", OUTCOME, 20)

    assert await ledger.begin("default", "k", "d", 30) == Known(OUTCOME)


async def test_an_empty_outcome_is_an_outcome(ledger: EffectLedger) -> None:
    await ledger.begin("default", "k", "d", 10)
    await ledger.finish("default", "k", {}, 20)

    assert await ledger.begin("default", "k", "d", 30) == Known({})


async def test_the_first_outcome_stays(ledger: EffectLedger) -> None:
    await ledger.begin("default", "k", "d", 10)
    await ledger.finish("default", "k", {"n": 1}, 20)
    await ledger.finish("default", "k", {"n": 2}, 30)

    assert await ledger.begin("default", "k", "d", 40) == Known({"n": 1})


@pytest.mark.parametrize("finished", [True, False])
async def test_a_key_used_with_another_digest_is_a_conflict(ledger: EffectLedger, finished: bool) -> None:
    await ledger.begin("default", "k", "d", 10)
    if finished:
        await ledger.finish("default", "k", OUTCOME, 20)

    with pytest.raises(Conflict):
        await ledger.begin("default", "k", "other", 30)


async def test_keys_of_tenants_are_apart(ledger: EffectLedger) -> None:
    await ledger.begin("default", "k", "d", 10)
    await ledger.finish("default", "k", OUTCOME, 20)

    assert await ledger.begin("other", "k", "e", 30) == Fresh()


async def test_an_effect_begun_before_a_restart_is_not_begun_here(in_process: InProcess) -> None:
    await in_process("first").begin("default", "k", "d", 10)

    assert await in_process("second").begin("default", "k", "d", 20) == Unfinished(10, here=False)


async def test_an_effect_tried_again_is_under_way_here(in_process: InProcess) -> None:
    await in_process("first").begin("default", "k", "d", 10)
    second = in_process("second")

    await second.again("default", "k", 20)

    assert await second.begin("default", "k", "d", 30) == Unfinished(10, here=True)
    await second.finish("default", "k", OUTCOME, 40)
    assert await second.begin("default", "k", "d", 50) == Known(OUTCOME)


async def test_an_effect_nobody_is_at_any_more_stays_unfinished_and_is_not_begun_here(ledger: EffectLedger) -> None:
    await ledger.begin("default", "k", "d", 10)
    await ledger.leave("default", "k")

    assert await ledger.begin("default", "k", "d", 20) == Unfinished(10, here=False)
    await ledger.finish("default", "k", OUTCOME, 30)
    await ledger.leave("default", "k")
    assert await ledger.begin("default", "k", "d", 40) == Known(OUTCOME)


async def test_a_forgotten_effect_can_be_begun_by_anybody(ledger: EffectLedger) -> None:
    await ledger.begin("default", "k", "d", 10)
    await ledger.forget("default", "k")

    assert await ledger.begin("default", "k", "other", 20) == Fresh()


async def test_an_effect_that_happened_is_never_forgotten(ledger: EffectLedger) -> None:
    await ledger.begin("default", "k", "d", 10)
    await ledger.finish("default", "k", OUTCOME, 20)
    await ledger.forget("default", "k")

    assert await ledger.begin("default", "k", "d", 30) == Known(OUTCOME)


async def test_what_was_never_begun_cannot_be_finished_or_tried_again(ledger: EffectLedger) -> None:
    with pytest.raises(NotFound):
        await ledger.finish("default", "k", OUTCOME, 10)
    with pytest.raises(NotFound):
        await ledger.again("default", "k", 10)
    await ledger.forget("default", "k")


async def test_of_many_who_begin_at_once_exactly_one_begins(ledger: EffectLedger) -> None:
    states: list[EffectState] = []

    async def begin() -> None:
        states.append(await ledger.begin("default", "k", "d", 10))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(begin)

    assert states.count(Fresh()) == 1
    assert states.count(Unfinished(10, here=True)) == 19
