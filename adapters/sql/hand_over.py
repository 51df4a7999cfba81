"""How acts come from the event loop to a thread with a connection, and their outcomes back. Runs none of them.

Handing over costs a lock and waking somebody up, several times what a small statement takes. So a thread takes all that
waits at once, and tells all outcomes of that in one call to the loop.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from gateway.core.errors import GatewayError, Internal, Unavailable

_logger = logging.getLogger(__name__)

Done: TypeAlias = "tuple[asyncio.Future[Any], Any, BaseException | None]"
"""Whose outcome; what it gave; what it raised instead."""


@dataclass(slots=True, eq=False)
class Act:
    """One that waits to be run."""

    run: Callable[[Connection], Any]
    lasting: bool
    lone: bool
    """Whether it is one statement."""
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop


class GivenUp(Unavailable):
    """No use in trying the acts of a batch one by one: nobody answers, or what became of them is not known."""


class ActQueue:
    """From any event loop to one thread."""

    def __init__(self, *, limit: int, at_once: int) -> None:
        """`limit`: of those that wait. `at_once`: of a batch."""
        self._waiting: deque[Act] = deque()
        self._limit = limit
        self._at_once = at_once
        self._wake = threading.Condition(threading.Lock())
        self._closed = False

    def put(
        self, run: Callable[[Connection], Any], *, lasting: bool = True, lone: bool = False
    ) -> "asyncio.Future[Any]":
        """Its outcome. A canceled future is skipped if not yet begun. Raises: Unavailable: closed, or too many wait."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._wake:
            if self._closed:
                raise Unavailable("the storage is closed")
            if len(self._waiting) >= self._limit:
                raise Unavailable("the storage cannot keep up: too many acts are waiting", retry_after_s=1.0)
            self._waiting.append(Act(run, lasting, lone, future, loop))
            self._wake.notify()
        return future

    def close(self) -> None:
        """Refuse what comes; what waits is still handed over."""
        with self._wake:
            self._closed = True
            self._wake.notify()

    def next_batch(self) -> list[Act]:
        """What waits now, at least one; empty once closed and drained. Blocks; for the thread."""
        while True:
            with self._wake:
                while not self._waiting and not self._closed:
                    self._wake.wait()
                if not self._waiting:
                    return []
                count = min(len(self._waiting), self._at_once)
                taken = [self._waiting.popleft() for _ in range(count)]
            wanted = [act for act in taken if not act.future.cancelled()]
            if wanted:
                return wanted


def connected(engine: Engine) -> Connection:
    """Raises: GivenUp."""
    try:
        return engine.connect()
    except DBAPIError as error:
        _logger.exception("the storage cannot be reached")
        raise GivenUp("the storage cannot be used at the moment", retry_after_s=1.0) from error


def put_back(connection: Connection | None) -> None:
    """To the pool, which rolls back whatever a failed commit left open."""
    if connection is not None:
        connection.close()


def failed(acts: Iterable[Act], error: Exception) -> list[Done]:
    told = told_of(error)
    return [(act.future, None, told) for act in acts]


def deliver(done: list[Done]) -> None:
    """Tell whoever waits; from the thread."""
    for loop in {each[0].get_loop() for each in done}:
        mine = [each for each in done if each[0].get_loop() is loop]
        try:
            loop.call_soon_threadsafe(_resolve, mine)
        except RuntimeError:
            _logger.warning("%d acts outlived the loop that asked for them", len(mine))


def _resolve(done: list[Done]) -> None:
    for future, value, error in done:
        if future.done():
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


def told_of(error: Exception) -> GatewayError:
    return error if isinstance(error, GatewayError) else translated(error)


def translated(error: Exception) -> GatewayError:
    """What a failure of the database is called outside; the log gets the rest."""
    _logger.error("the storage failed", exc_info=error)
    if isinstance(error, DBAPIError):
        kinds = {kind.__name__ for kind in type(error.orig).__mro__}
        # Of several drivers: PostgreSQL's names each kind of OperationalError.
        if error.connection_invalidated or "OperationalError" in kinds:
            return Unavailable("the storage cannot be used at the moment")
    return Internal("the storage refused what it was given")
