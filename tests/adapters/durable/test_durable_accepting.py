"""Who waits for a run that is being written down, and what becomes of those that are asked for twice at once."""

import asyncio
from typing import Any

import anyio
import pytest

from adapters.durable.accepting import Accepting

pytestmark = pytest.mark.anyio


async def test_a_run_that_is_asked_for_twice_at_once_is_waited_for_until_both_are_settled() -> None:
    loop, failed = asyncio.get_running_loop(), list[dict[str, Any]]()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: failed.append(context))
    accepting, first, second = Accepting(), anyio.Event(), anyio.Event()
    try:
        with anyio.fail_after(60):
            accepting.begin("run_1", first.wait())
            accepting.begin("run_1", second.wait())
            first.set()
            await anyio.wait_all_tasks_blocked()
            assert len(accepting) == 1
            second.set()
            await accepting.settled("run_1")
            await anyio.wait_all_tasks_blocked()
    finally:
        loop.set_exception_handler(before)
    assert (len(accepting), failed) == (0, [])
