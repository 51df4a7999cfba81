"""The programs of one server that run for single callers: each one's own, so that what it asks can only be theirs.

Bounded: whoever comes when all places are taken gets the one that nobody has used for longest, if nobody would miss it.
"""

from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio

from adapters.mcp.client_program import Program
from adapters.mcp.client_sessions import Key
from gateway.core.errors import DeadlineExceeded, Exhausted, Unavailable
from gateway.core.ports.world import Clock

STOP_S = 5.0
"""Longest the end of a program may take, seconds."""
_SHARE = 2
"""One caller may have this fraction of the places: a client can declare what it can be asked in many ways."""


class Programs:
    """See the module."""

    def __init__(self, slug: str, make: Callable[[Key], Program], clock: Clock, *, most: int, idle_s: float) -> None:
        """`idle_s`: how long one is kept that nobody uses."""
        self._slug = slug
        self._make = make
        self._clock = clock
        self._most = most
        self._idle_s = idle_s
        self._programs: OrderedDict[Key, Program] = OrderedDict()
        """The one used last is last."""
        self._coming: dict[Key, anyio.Event] = {}
        """For whom room is being made, which is nobody else's then; set once that is over."""
        self._closed = False

    def __contains__(self, key: Key) -> bool:
        return key in self._programs

    @asynccontextmanager
    async def lease(self, key: Key, deadline_s: float, *, to_listen: bool = False) -> AsyncGenerator[Program]:
        """The caller's program, which nobody ends meanwhile. Raises: Exhausted; DeadlineExceeded; Unavailable."""
        program = await self._held(key, deadline_s, to_listen=to_listen)
        try:
            yield program
        finally:
            program.calls -= 1
            program.used_s = self._clock.monotonic_s()

    @asynccontextmanager
    async def follow(self, key: Key, deadline_s: float) -> AsyncGenerator[Program]:
        """As `lease`, for whoever only listens: it makes room for those who call, and nobody who listens for it."""
        async with self.lease(key, deadline_s, to_listen=True) as program:
            program.followers += 1
            program.calls -= 1
            try:
                yield program
            finally:
                program.followers -= 1
                program.calls += 1

    async def tidy(self) -> None:
        """End those that have not been used for long."""
        before_s = self._clock.monotonic_s() - self._idle_s
        for key, program in tuple(self._programs.items()):
            if self._programs.get(key) is not program:
                continue  # it made room while another ended, and somebody may use the one in its place
            if not program.busy and not program.followers and program.used_s <= before_s:
                await self._end(key)

    async def aclose(self) -> None:
        """End all of them; bounded; idempotent."""
        self._closed = True
        async with anyio.create_task_group() as ending:
            for key in tuple(self._programs):
                ending.start_soon(self._end, key)

    async def _held(self, key: Key, deadline_s: float, *, to_listen: bool) -> Program:
        program = self._programs.get(key)
        if program is None:
            try:
                with anyio.fail_after(max(0.0, deadline_s - self._clock.monotonic_s())):
                    program = await self._made(key, to_listen=to_listen)
            except TimeoutError as error:
                raise DeadlineExceeded(f"{self._slug} did not start in time", detail={"sent": False}) from error
        else:
            program.calls += 1
        if key in self._programs:
            self._programs.move_to_end(key)
        return program

    async def _made(self, key: Key, *, to_listen: bool) -> Program:
        while key not in self._programs:
            self._check_open()
            if key in self._coming:
                await self._coming[key].wait()
                continue
            leaver = self._leaver(key, to_listen=to_listen)
            if leaver is not None:
                await self._make_room(key, leaver)
                self._check_open()
            # No `await` from here on: the room could be taken meanwhile.
            self._programs[key] = self._make(key)
            self._programs[key].used_s = self._clock.monotonic_s()
        program = self._programs[key]
        program.calls += 1
        return program

    async def _make_room(self, key: Key, leaver: Key) -> None:
        """End a program so that one can begin in its place, without holding up those whose places are free."""
        over = self._coming[key] = anyio.Event()
        try:
            await self._end(leaver)
        finally:
            del self._coming[key]
            over.set()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(f"{self._slug} has been stopped", detail={"sent": False})

    def _leaver(self, key: Key, *, to_listen: bool) -> Key | None:
        """Whose program has to end before another can begin for `key`; None where there is room.

        Raises: Exhausted: somebody would miss any of them.
        """
        who = key[:2]
        taken = (*self._programs, *self._coming)
        crowd = Counter(each[:2] for each in taken)
        own = crowd[who] >= max(1, self._most // _SHARE)
        if not own and len(taken) < self._most:
            return None
        idle = [each for each, program in self._programs.items() if not program.busy and (not own or each[:2] == who)]
        if to_listen:  # else more listeners than places would take each other's in turn, and start programs without end
            idle = [each for each in idle if not self._programs[each].followers]
        if not idle:
            whose = "for this caller" if own else "at once"
            raise Exhausted(
                f"{self._slug} runs as many processes as it may {whose}, and all are busy; try again later",
                detail={"sent": False},
                retry_after_s=1.0,
            )
        return min(idle, key=lambda each: self._programs[each].followers > 0)

    async def _end(self, key: Key) -> None:
        program = self._programs.pop(key, None)
        if program is not None:
            # Whoever makes room may give up; what has been let go of ends all the same.
            with anyio.CancelScope(shield=True), anyio.move_on_after(STOP_S):
                await program.aclose()
