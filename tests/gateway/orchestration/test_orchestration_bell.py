"""What wakes those who wait."""

import anyio
import pytest

from gateway.orchestration.running.bell import Bell, Latch

pytestmark = pytest.mark.anyio


async def test_a_bell_wakes_all_who_wait_and_nobody_who_comes_later() -> None:
    bell, woken = Bell(), list[str]()

    async def wait(name: str) -> None:
        await bell.wait()
        woken.append(name)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(wait, "a")
            group.start_soon(wait, "b")
            await anyio.wait_all_tasks_blocked()
            bell.ring()
            group.start_soon(wait, "late")
            await anyio.wait_all_tasks_blocked()
            assert sorted(woken) == ["a", "b"]
            bell.ring()
    assert woken[2:] == ["late"]


async def test_a_bell_rung_for_nobody_is_not_heard_afterwards() -> None:
    bell = Bell()
    bell.ring()
    with anyio.move_on_after(0) as waited:
        await bell.wait()
    assert waited.cancelled_caught


async def test_who_gave_up_waiting_leaves_the_others_to_be_woken() -> None:
    bell, woken = Bell(), anyio.Event()

    async def wait() -> None:
        await bell.wait()
        woken.set()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(0):
                await bell.wait()
            bell.ring()
            await woken.wait()


async def test_a_latch_once_set_keeps_nobody_waiting() -> None:
    latch = Latch()
    assert not latch.is_set()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(latch.wait)
            await anyio.wait_all_tasks_blocked()
            latch.set()
        await latch.wait()
    assert latch.is_set()
