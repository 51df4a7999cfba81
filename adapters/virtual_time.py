"""An event loop whose clock jumps: whoever sleeps wakes as soon as nobody has anything else to do.

The only module that knows how asyncio waits. A timer that is due next is due now once no callback is ready, no file
descriptor is, and no thread of anyio's is at work; so an hour's wait takes no time, and what happens first still
happens first. Real time does not pass in it: work that really takes long takes none.
"""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any

from anyio import CapacityLimiter

from gateway.core.errors import Internal

THREAD_POLL_S = 0.002
"""How often a loop with nothing to do looks whether a thread has come back, in real seconds."""
PATIENCE_S = 5.0
"""How long a loop without a timer waits for something from outside, real seconds."""
LONGEST_S = 366 * 86_400.0
"""How long time may go on, virtual seconds."""
_FOR_EVER = "nothing is left that could happen: somebody waits for ever"
EPOCH_US = 1_795_000_000_000_000
"""When virtual time begins, UTC microseconds: always the same, so that the same run has the same times."""


class _JumpingSelector(selectors.BaseSelector):
    """Waits for files as another selector does, and for time not at all."""

    def __init__(self) -> None:
        self._files = selectors.DefaultSelector()
        self.now_s = 0.0
        self.threads: CapacityLimiter | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._files.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.threads is not None and self.threads.borrowed_tokens:
            return self._files.select(THREAD_POLL_S)
        if timeout is None:
            return self._last_hope()
        self.now_s += timeout
        if self.now_s > LONGEST_S:
            # Whoever sleeps for ever has a timer too; asyncio looks at it once a day.
            raise Internal(_FOR_EVER)
        return []

    def _last_hope(self) -> list[tuple[selectors.SelectorKey, int]]:
        """No timer is set: only from outside can anything come. Raises: Internal: nothing does."""
        ready = self._files.select(PATIENCE_S)
        if not ready:
            raise Internal(_FOR_EVER)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._files.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._files.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._files.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._files.get_map()

    def close(self) -> None:
        self._files.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """For `anyio.run(…, backend_options={"loop_factory": VirtualLoop})`."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s

    def wait_for_threads(self, threads: CapacityLimiter) -> None:
        """Let no time pass while any of these is at work."""
        self._jumping.threads = threads


class VirtualClock:
    """See `Clock`, for whoever runs in a virtual loop; `monotonic_s` is the loop's own clock."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time

    def now_us(self) -> int:
        return EPOCH_US + int(self._time() * 1_000_000)

    def monotonic_s(self) -> float:
        return self._time()


def virtual_clock(threads: CapacityLimiter) -> VirtualClock:
    """The clock of the loop that runs now. Raises: TypeError: it is none whose time is virtual."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise TypeError("this loop's time is real")
    loop.wait_for_threads(threads)
    return VirtualClock(loop.time)
