"""Sessions that were let go of, and are ended at their server beside the calls: a few at a time, each bounded."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeAlias

import anyio

from adapters.mcp.client_sessions import Key, Session

Mark: TypeAlias = tuple[Key, bytes]
_MOST = 1024
"""Sessions that wait for their end; beyond that the server ends the oldest in its own time."""
_AT_ONCE = 8
_AGAIN_S = 5.0
"""How often it is looked whether a session is still in use, seconds."""


class Goodbyes:
    """To the sessions with one server."""

    def __init__(self, end: Callable[[Session], Coroutine[Any, Any, None]], parked: Callable[[Session], bool]) -> None:
        """`end` ends a session, within a bound of its own; `parked` says whether a call in it waits for its caller."""
        self._end = end
        self._parked = parked
        self._using: Counter[Mark] = Counter()
        self._leaving: OrderedDict[Mark, Session] = OrderedDict()
        self._some = anyio.Event()

    @contextmanager
    def using(self, session: Session) -> Generator[None]:
        """For as long as a call is under way in it, a session is not ended."""
        self._using[session.mark] += 1
        try:
            yield
        finally:
            self._using[session.mark] -= 1
            if not self._using[session.mark]:
                del self._using[session.mark]
                self._some.set()

    def add(self, session: Session) -> None:
        """End it as soon as no call needs it."""
        if session.id:
            self._leaving[session.mark] = session
            self._some.set()
            if len(self._leaving) > _MOST:
                self._leaving.popitem(last=False)

    async def run(self) -> None:
        """End them, until canceled."""
        while True:
            self._some = anyio.Event()
            await self.say()
            with anyio.move_on_after(_AGAIN_S if self._leaving else None):
                await self._some.wait()

    async def say(self) -> None:
        """End those that no call needs."""
        while ready := [each for each in self._leaving.values() if not self.needed(each)][:_AT_ONCE]:
            async with anyio.create_task_group() as group:
                for session in ready:
                    group.start_soon(self._end, session)
            for session in ready:
                self._leaving.pop(session.mark, None)

    def take_all(self) -> list[Session]:
        """Those that were not ended yet, for whoever ends them all."""
        left, self._leaving = [*self._leaving.values()], OrderedDict()
        return left

    def needed(self, session: Session) -> bool:
        """Whether a call is under way in it, or waits."""
        return session.mark in self._using or self._parked(session)
