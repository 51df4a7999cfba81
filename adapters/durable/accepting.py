"""Runs that are being written down for the first time. It goes on if whoever asked for it goes away."""

import asyncio
from collections.abc import Collection, Coroutine
from contextvars import Context
from functools import partial
from typing import Any


class Accepting:
    """What is half accepted would wait for the next launch: so nothing but the end of the engine's patience ends it."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def runs(self) -> Collection[str]:
        return self._tasks.keys()

    def begin(self, run_id: str, accept: Coroutine[Any, Any, None]) -> None:
        """`accept` takes nothing over from the task that asks: not its context, nor its cancellation."""
        task = asyncio.get_running_loop().create_task(accept, context=Context())
        self._tasks[run_id] = task
        task.add_done_callback(partial(self._settled, run_id))

    async def settled(self, run_id: str) -> None:
        """Once `run_id` is written down, at once if that is not under way. Raises: what kept it from being so."""
        task = self._tasks.get(run_id)
        if task is not None:
            await asyncio.shield(task)

    async def all_settled(self, timeout_s: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=timeout_s)

    def _settled(self, run_id: str, task: "asyncio.Task[None]") -> None:
        # Asked for twice at once, a run is written down by both: the later of them is waited for.
        if self._tasks.get(run_id) is task:
            del self._tasks[run_id]
        if not task.cancelled():
            # Told to whoever waits for it; nobody does if they went away.
            task.exception()
