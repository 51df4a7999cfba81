"""Who gets in when many want to."""

import anyio
import pytest

from gateway.core.bulkhead import Bulkhead, room
from gateway.core.errors import Exhausted
from tests.fakes import FakeClock

pytestmark = pytest.mark.anyio


def shared(concurrency: int, queue: int, *, of_one: int, of_one_waiting: int) -> Bulkhead:
    it = room(concurrency, queue, shared=True, tenant_concurrency=of_one, tenant_queue=of_one_waiting)
    return Bulkhead("orders", it, clock=FakeClock())


def test_no_tenant_gets_the_last_place_of_several() -> None:
    bulkhead = shared(3, 10, of_one=100, of_one_waiting=100)
    assert [bulkhead.try_enter("a") for _ in range(3)] == [True, True, False]
    assert bulkhead.try_enter("b")
    assert not bulkhead.try_enter("b")
    assert bulkhead.in_flight == 3


def test_the_only_place_goes_to_whoever_comes_first() -> None:
    bulkhead = shared(1, 1, of_one=100, of_one_waiting=100)
    assert bulkhead.try_enter("a")
    assert not bulkhead.try_enter("b")


async def test_tenants_that_wait_take_turns() -> None:
    bulkhead = shared(1, 10, of_one=1, of_one_waiting=5)
    served: list[str] = []

    async def enter(tenant: str) -> None:
        await bulkhead.enter(tenant, 2000)
        served.append(tenant)

    assert bulkhead.try_enter("a")
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for tenant in ("a", "a", "a", "b", "c", "b"):
                tasks.start_soon(enter, tenant)
                await anyio.wait_all_tasks_blocked()
            holder = "a"
            for _ in range(6):
                bulkhead.leave(holder)
                await anyio.wait_all_tasks_blocked()
                holder = served[-1]
    assert served == ["a", "b", "c", "a", "b", "a"]
    assert (bulkhead.in_flight, bulkhead.waiting) == (1, 0)


async def test_a_tenants_full_line_refuses_it_and_nobody_else() -> None:
    bulkhead = shared(2, 10, of_one=1, of_one_waiting=1)
    assert bulkhead.try_enter("a")
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bulkhead.enter, "a", 2000)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(Exhausted):
                await bulkhead.enter("a", 2000)
            await bulkhead.enter("b", 2000)
            assert bulkhead.waiting == 1
            bulkhead.leave("a")
    assert (bulkhead.in_flight, bulkhead.waiting) == (2, 0)


async def test_more_room_lets_in_who_waits_and_less_drives_nobody_out() -> None:
    bulkhead = Bulkhead("orders", room(1, 5), clock=FakeClock())
    assert bulkhead.try_enter("a")
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bulkhead.enter, "a", 2000)
            tasks.start_soon(bulkhead.enter, "a", 2000)
            await anyio.wait_all_tasks_blocked()
            bulkhead.resize(room(3, 5))
    bulkhead.resize(room(1, 5))
    assert bulkhead.in_flight == 3
    bulkhead.leave("a")
    assert not bulkhead.try_enter("a")
