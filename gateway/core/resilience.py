"""Keeps one slow upstream from taking the others with it. Knows upstreams by name only."""

from collections import deque

import anyio

from gateway.core.errors import DeadlineExceeded, Exhausted
from gateway.core.ports.world import Clock


class Bulkhead:
    """At most `concurrency` calls in flight and `queue` waiting, first come, first served.

    Entering without contention neither awaits nor allocates. A place that becomes free is handed to the next in line
    before anybody new can take it.
    """

    __slots__ = ("_clock", "_concurrency", "_in_flight", "_name", "_queue", "_waiting")

    def __init__(self, name: str, *, concurrency: int, queue: int, clock: Clock) -> None:
        self._name = name
        self._concurrency = concurrency
        self._queue = queue
        self._clock = clock
        self._in_flight = 0
        self._waiting: deque[anyio.Event] = deque()

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def try_enter(self) -> bool:
        """Take a place if one is free."""
        if self._in_flight >= self._concurrency:
            return False
        self._in_flight += 1
        return True

    async def enter(self, deadline_s: float) -> None:
        """Wait for a place until `deadline_s` (monotonic).

        Raises: Exhausted: the queue is full too; DeadlineExceeded: no place came free in time.
        """
        if self.try_enter():
            return
        if len(self._waiting) >= self._queue:
            raise Exhausted(
                f"{self._name} is busy: {self._concurrency} calls under way and {self._queue} waiting",
                detail={"limit": "upstream_queue", "upstream": self._name},
                retry_after_s=1.0,
            )
        turn = anyio.Event()
        self._waiting.append(turn)
        try:
            with anyio.fail_after(max(0.0, deadline_s - self._clock.monotonic_s())):
                await turn.wait()
        except TimeoutError as error:
            self._give_up(turn)
            raise DeadlineExceeded(
                f"{self._name} was busy until the deadline", detail={"upstream": self._name}
            ) from error
        except BaseException:
            self._give_up(turn)
            raise

    def leave(self) -> None:
        """Give the place to the next in line, or back."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._in_flight -= 1

    def _give_up(self, turn: anyio.Event) -> None:
        """Leave the line; a place that was handed over in the same moment goes on to the next."""
        if turn.is_set():
            self.leave()
        else:
            self._waiting.remove(turn)
