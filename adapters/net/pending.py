"""Work that goes on while whoever waits for it may look elsewhere. Whoever makes one closes it, or sees its end."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from gateway.core.errors import DeadlineExceeded

T = TypeVar("T")


class Pending(Generic[T]):
    """One piece of work, under way."""

    def __init__(self, work: Coroutine[Any, Any, T], drop: Callable[[T], None]) -> None:
        """`drop` is given what came of it where it is given up by then."""
        self._drop = drop
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._ended)
        self._waiter: asyncio.Future[None] | None = None
        self._nudged = False

    async def outcome(self, within_s: float) -> tuple[T] | None:
        """What came of it; None after a `nudge`. Raises: what the work raises; DeadlineExceeded: it takes longer."""
        if not self._task.done() and not self._nudged:
            self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._waiter,), timeout=max(0.0, within_s))
        if self._nudged:
            self._nudged = False
            return None
        if not self._task.done():
            raise DeadlineExceeded("the server did not answer in time")
        return (self._task.result(),)

    def nudge(self) -> None:
        """Have whoever waits look elsewhere first."""
        self._nudged = True
        self._wake()

    def close(self) -> None:
        """Give it up."""
        if not self._task.done():
            self._task.cancel()
        elif not self._task.cancelled() and self._task.exception() is None:
            self._drop(self._task.result())

    def _ended(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # it is known, also where nobody waits any more
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
