"""Runs that wait for a message, and one look for all of them. What is recorded of a wait, and when, is DBOS's own.

DBOS asks its database for every waiting run by itself, several times a minute at best: a thousand runs that wait for
people would keep a core busy with nothing. So nobody asks for a run before there is something to receive. A run that
begins to wait looks once, after it has said where it waits; from then on whoever sends in this process tells it, and
what other processes send is looked for in one statement, however many wait. Only then is DBOS asked for the message.

A wait takes two places of its run's journal, as DBOS itself lays them out: what was received, or that nothing came; and
until when it lasts, written before it begins. A wait that DBOS began goes on here, and the other way round.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import anyio
from anyio import to_thread
from sqlalchemy import Engine, text

from adapters.durable.places import prefix
from gateway.core.json import Json

_logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 10.0
"""Between two looks while the database does not answer."""
_RECEIVED = "DBOS.recv"
"""What DBOS calls the first of the two places."""

_Address: TypeAlias = tuple[str, str]
"""A run and a topic."""

_LISTED = {
    False: "SELECT value FROM json_each(:runs)",
    True: "SELECT jsonb_array_elements_text(CAST(:runs AS jsonb))",
}
_UNDELIVERED = {
    shared: text(
        f"SELECT DISTINCT destination_uuid, topic FROM {prefix(shared=shared)}notifications"  # noqa: S608 - nothing of it is given
        f" WHERE NOT consumed AND destination_uuid IN ({listed})"
    )
    for shared, listed in _LISTED.items()
}
"""By whether the database is shared. One parameter for all runs: the statement stays the same."""


class Recording(Protocol):
    """What is needed of DBOS, of its private parts."""

    def check_operation_execution(self, workflow_id: str, function_id: int, function_name: str, /) -> object:
        """What is recorded in a place; None where nothing is."""
        ...

    def record_sleep(self, workflow_uuid: str, function_id: int, seconds: float, /) -> float:
        """Write down, once, until when; how many seconds are left of it."""
        ...

    def recv_async(
        self, workflow_uuid: str, function_id: int, timeout_function_id: int, topic: str, timeout_seconds: float, /
    ) -> Awaitable[Any]:
        """The oldest message, taken and recorded in one transaction; None, recorded as well, when the time is over."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What one run waits for, and its two places in the journal."""

    run_id: str
    topic: str
    timeout_s: float
    message: int
    until: int


@dataclass(slots=True)
class _Waiting:
    woken: "asyncio.Future[None]"
    until_ns: int | None = None
    """On this machine's clock, which goes on while it sleeps; None before it is known."""

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class Mailbox:
    """Of one launched engine. `close` it before the engine."""

    def __init__(self, engine: Engine, recording: Recording, *, shared: bool, poll_s: float, close_s: float) -> None:
        """`poll_s`: how soon what another process sent is noticed."""
        self._engine = engine
        self._recording = recording
        self._undelivered = _UNDELIVERED[shared]
        self._poll_s = poll_s
        self._close_s = close_s
        self._waiting: dict[_Address, _Waiting] = {}
        self._somebody_waits = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._first_looks: set[asyncio.Task[float]] = set()

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep_looking(), context=Context())

    async def close(self) -> None:
        """Look no more, and wait for whatever has a connection still; bounded."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task, *self._first_looks), timeout=self._close_s)

    def came(self, run_id: str, topic: str) -> None:
        """A message was sent, by this process: nobody has to look for it."""
        if waiting := self._waiting.get((run_id, topic)):
            waiting.wake()

    async def receive(self, wait: Wait) -> Json:
        """See `Journal.receive`. Of the run's own task only. Raises: what DBOS does."""
        address, waiting = (wait.run_id, wait.topic), _Waiting(asyncio.get_running_loop().create_future())
        # Whoever waited here before has lost the run to this task, and finds that out.
        self.came(*address)
        # Before the first look: what is sent after it finds who waits.
        self._waiting[address] = waiting
        try:
            left_s = await self._first_look(wait)
            if left_s > 0:
                self._somebody_waits.set()
                await _passed(waiting, left_s)
        finally:
            if self._waiting.get(address) is waiting:
                del self._waiting[address]
        return await self._recording.recv_async(wait.run_id, wait.message, wait.until, wait.topic, wait.timeout_s)

    async def _first_look(self, wait: Wait) -> float:
        """See `_left_s`. Goes on where the run is canceled meanwhile: a thread cannot be stopped."""
        look = asyncio.get_running_loop().create_task(asyncio.to_thread(self._left_s, wait))
        self._first_looks.add(look)
        look.add_done_callback(self._first_looked)
        return await asyncio.shield(look)

    def _first_looked(self, look: "asyncio.Task[float]") -> None:
        self._first_looks.discard(look)
        if not look.cancelled():
            look.exception()  # told to the run, if it is there still

    def _left_s(self, wait: Wait) -> float:
        """How long there is to wait; nothing where there is something to receive, or it was received before a crash."""
        if self._recording.check_operation_execution(wait.run_id, wait.message, _RECEIVED) is not None:
            return 0.0
        left_s = self._recording.record_sleep(wait.run_id, wait.until, wait.timeout_s)
        return 0.0 if (wait.run_id, wait.topic) in self._look((wait.run_id,)) else left_s

    async def _keep_looking(self) -> None:
        pause_s = self._poll_s
        while True:
            if not self._waiting:
                self._somebody_waits.clear()
                await self._somebody_waits.wait()
            await anyio.sleep(pause_s)
            self._wake_overdue()
            runs = tuple({run_id for run_id, _ in self._waiting})
            try:
                found = await to_thread.run_sync(self._look, runs)
            except Exception:
                # The task's edge: whatever it was, nobody's wait ends by it, and nobody else looks.
                _logger.exception("what was sent to runs that wait could not be looked for")
                pause_s = max(self._poll_s, min(LONGEST_PAUSE_S, pause_s * 2))
                continue
            pause_s = self._poll_s
            for address in found:
                self.came(*address)

    def _wake_overdue(self) -> None:
        """Those whose time went by while the machine slept; the event loop's clock stood still."""
        now_ns = time.time_ns()
        for waiting in self._waiting.values():
            if waiting.until_ns is not None and waiting.until_ns <= now_ns:
                waiting.wake()

    def _look(self, runs: tuple[str, ...]) -> frozenset[_Address]:
        if not runs:
            return frozenset()
        with self._engine.connect() as connection:
            rows = connection.execute(self._undelivered, {"runs": json.dumps(runs)})
            return frozenset((run_id, topic) for run_id, topic in rows)


async def _passed(waiting: _Waiting, left_s: float) -> None:
    """Return when somebody wakes it, or the time is over."""
    waiting.until_ns = time.time_ns() + int(left_s * 1e9)
    # No task, no scope: this is all that a waiting run is made of, for days.
    timer = asyncio.get_running_loop().call_later(left_s, waiting.wake)
    try:
        await waiting.woken
    finally:
        timer.cancel()
