"""Waking those who wait, at next to no cost while nobody does.

Runs wait for people, a thousand of them, for days. An event of the event loop's has room from the beginning for those
who may wait for it, and a run has half a dozen.
"""

import anyio


class Bell:
    """Rings for those who wait at that moment, and is not heard by whoever comes later."""

    __slots__ = ("_rung",)

    def __init__(self) -> None:
        self._rung: anyio.Event | None = None

    async def wait(self) -> None:
        """Return at the next ring."""
        rung = self._rung = self._rung or anyio.Event()
        try:
            await rung.wait()
        finally:
            if self._rung is rung and not rung.statistics().tasks_waiting:
                self._rung = None

    def ring(self) -> None:
        rung, self._rung = self._rung, None
        if rung is not None:
            rung.set()


class Latch:
    """See `anyio.Event`: once it is set, it stays so."""

    __slots__ = ("_bell", "_set")

    def __init__(self) -> None:
        self._bell = Bell()
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        self._bell.ring()

    async def wait(self) -> None:
        while not self._set:
            await self._bell.wait()
