"""Time that passes only while everybody waits."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import pytest
from anyio import to_thread

from adapters import virtual_time
from adapters.virtual_time import EPOCH_US, VirtualLoop, virtual_clock
from gateway.core.errors import Internal

T = TypeVar("T")
DAY_S = 86_400.0


def run(work: Callable[[], Awaitable[T]]) -> T:
    return anyio.run(work, backend_options={"loop_factory": VirtualLoop})


def test_a_day_passes_at_once_and_in_order() -> None:
    told: list[tuple[str, float]] = []

    async def wait(name: str, seconds: float) -> None:
        await anyio.sleep(seconds)
        told.append((name, anyio.current_time()))

    async def work() -> int:
        clock = virtual_clock(to_thread.current_default_thread_limiter())
        async with anyio.create_task_group() as tasks:
            for name, seconds in (("late", DAY_S), ("soon", 1.0), ("between", 60.0)):
                tasks.start_soon(wait, name, seconds)
        return clock.now_us()

    began_s = time.monotonic()
    ended_us = run(work)
    assert time.monotonic() - began_s < 60
    assert [name for name, _ in told] == ["soon", "between", "late"]
    assert told[-1][1] == pytest.approx(DAY_S)  # pyright: ignore[reportUnknownMemberType]
    assert ended_us == EPOCH_US + int(told[-1][1] * 1e6)


def test_deadlines_strike_whoever_is_still_at_work() -> None:
    async def work() -> tuple[bool, bool]:
        virtual_clock(to_thread.current_default_thread_limiter())
        with anyio.move_on_after(10) as short:
            await anyio.sleep(11)
        with anyio.move_on_after(10) as enough:
            await anyio.sleep(9)
        return short.cancelled_caught, enough.cancelled_caught

    assert run(work) == (True, False)


def test_no_time_passes_while_a_thread_is_at_work() -> None:
    async def work() -> bool:
        virtual_clock(to_thread.current_default_thread_limiter())
        with anyio.move_on_after(0.001) as scope:
            await to_thread.run_sync(sum, range(3_000_000))
        return scope.cancelled_caught

    assert run(work) is False


@pytest.mark.parametrize("wait", [anyio.sleep_forever, lambda: anyio.Event().wait()])
def test_waiting_for_ever_ends(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], Awaitable[None]]) -> None:
    monkeypatch.setattr(virtual_time, "PATIENCE_S", 0.01)

    async def work() -> None:
        virtual_clock(to_thread.current_default_thread_limiter())
        await wait()

    with pytest.raises(Internal, match="for ever"):
        run(work)


def test_the_clock_of_a_real_loop_is_refused() -> None:
    async def work() -> None:
        virtual_clock(to_thread.current_default_thread_limiter())

    with pytest.raises(TypeError):
        anyio.run(work)
