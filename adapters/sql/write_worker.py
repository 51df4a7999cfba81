"""One thread that writes, and commits together what comes together. Knows neither tables nor what is written.

SQLite has one writer at a time whatever one does, and a durable commit costs far more than the statements in it. So
every write goes to one thread with one connection; whatever queued up while it was committing shares the next commit.
A batch is first tried as one transaction. If any of its writes raises, all of it is rolled back and each is run again
in a transaction of its own: refusals are rare, and this costs the ordinary write no savepoint. It also means that a
write must touch nothing but the connection it is given.

On PostgreSQL, where a few such threads work side by side and other processes beside them, a write that lost to another
is run again. A connection that breaks during the commit leaves open what became of it: those writes are not repeated.
"""

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from gateway.core.errors import GatewayError, Internal, Unavailable

_logger = logging.getLogger(__name__)

LASTING = "lasting"
"""Of a connection's `info`, read by its engine as a transaction begins: whether it has to survive a power loss, and not
only the end of this process."""
TRIES = 10
"""How often a write is run that loses to others, each time after a longer pause, by chance."""
_LONGEST_PAUSE_S = 0.1
_LOST_TO_OTHERS = frozenset({"40001", "40P01", "23505"})
"""SQLSTATEs: serialisation failure, deadlock, and a unique key somebody else has taken since it was looked up."""

_Done: TypeAlias = "tuple[asyncio.Future[Any], Any, BaseException | None]"


@dataclass(slots=True, eq=False)
class _Write:
    act: Callable[[Connection], Any]
    lasting: bool
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop


class WriteWorker:
    """Runs writes in the order in which they were handed over."""

    def __init__(self, engine: Engine, *, name: str, queue_limit: int, batch_limit: int = 256) -> None:
        self._engine = engine
        self._queue: deque[_Write] = deque()
        self._queue_limit = queue_limit
        self._batch_limit = batch_limit
        self._wake = threading.Condition(threading.Lock())
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"write-{name}", daemon=True)
        self._thread.start()

    def submit(self, act: Callable[[Connection], Any], *, lasting: bool = True) -> "asyncio.Future[Any]":
        """Queue a write; the future has its outcome once it is on disk. A canceled future is skipped if not yet begun.
        A batch of which no write is `lasting` is handed to the system only: see `LASTING`.

        Raises: Unavailable: closed, or too many writes wait.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._wake:
            if self._closed:
                raise Unavailable("the storage is closed")
            if len(self._queue) >= self._queue_limit:
                raise Unavailable("the storage cannot keep up: too many writes are waiting", retry_after_s=1.0)
            self._queue.append(_Write(act, lasting, future, loop))
            self._wake.notify()
        return future

    def close(self, timeout_s: float) -> bool:
        """Refuse what comes, finish what is queued; False if that took longer than `timeout_s`. Blocks; idempotent."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        # Kept open between batches: borrowing it anew would cost as much as the statements of a small write.
        connection: Connection | None = None
        while batch := self._next_batch():
            try:
                connection = connection or _connected(self._engine)
                done = _together(connection, batch)
            except Exception as error:  # noqa: BLE001 - the thread's edge: every waiter is told, translated
                connection = _put_back(connection)
                if isinstance(error, _GivenUp) or (len(batch) == 1 and not _worth_another_try(error)):
                    done = _failed(batch, error)
                else:
                    done = _apart(self._engine, batch)
            _deliver(batch, done)
            # Nothing of what was written is held on to until the next write.
            del batch, done
        _put_back(connection)

    def _next_batch(self) -> list[_Write]:
        """What waits now, at least one; empty once closed and drained."""
        while True:
            with self._wake:
                while not self._queue and not self._closed:
                    self._wake.wait()
                if not self._queue:
                    return []
                count = min(len(self._queue), self._batch_limit)
                taken = [self._queue.popleft() for _ in range(count)]
            wanted = [write for write in taken if not write.future.cancelled()]
            if wanted:
                return wanted


class _GivenUp(Unavailable):
    """No use in trying the writes of a batch one by one: nobody answers, or what became of them is not known."""


def _connected(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except DBAPIError as error:
        _logger.exception("the storage cannot be reached")
        raise _GivenUp("the storage cannot be used at the moment", retry_after_s=1.0) from error


def _together(connection: Connection, batch: list[_Write]) -> list[_Done]:
    connection.info[LASTING] = any(write.lasting for write in batch)
    with connection.begin() as transaction:
        done: list[_Done] = [(write.future, write.act(connection), None) for write in batch]
        try:
            transaction.commit()
        except DBAPIError as error:
            if error.connection_invalidated:
                raise _GivenUp("the storage broke off; whether it wrote is not known", retry_after_s=1.0) from error
            raise
    return done


def _apart(engine: Engine, batch: list[_Write]) -> list[_Done]:
    done: list[_Done] = []
    for place, write in enumerate(batch):
        if write.future.cancelled():
            continue
        done.append(_alone(engine, write))
        error = done[-1][2]
        if isinstance(error, _GivenUp):
            return [*done, *_failed(batch[place + 1 :], error)]
    return done


def _alone(engine: Engine, write: _Write) -> _Done:
    for tries_left in range(TRIES - 1, -1, -1):
        try:
            with _connected(engine) as connection:
                return _together(connection, [write])[0]
        except Exception as error:  # noqa: BLE001 - the thread's edge: this one waiter is told, translated
            if not tries_left or not _worth_another_try(error):
                return (write.future, None, _translated(error))
        # By chance, so that those who met once do not meet again.
        time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, 0.002 * 2 ** (TRIES - tries_left))))  # noqa: S311 - no secret
    raise AssertionError("unreachable: the last try returns")


def _failed(batch: list[_Write], error: Exception) -> list[_Done]:
    told = _translated(error)
    return [(write.future, None, told) for write in batch]


def _worth_another_try(error: Exception) -> bool:
    """Whether it came of what others did meanwhile, or of a connection that was gone before anything was done."""
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _LOST_TO_OTHERS


def _put_back(connection: Connection | None) -> None:
    """To the pool, which rolls back whatever a failed commit left open."""
    if connection is not None:
        connection.close()


def _deliver(batch: list[_Write], done: list[_Done]) -> None:
    for loop in {write.loop for write in batch}:
        mine = [each for each in done if each[0].get_loop() is loop]
        try:
            loop.call_soon_threadsafe(_resolve, mine)
        except RuntimeError:
            _logger.warning("%d writes outlived the loop that asked for them", len(mine))


def _resolve(done: list[_Done]) -> None:
    for future, value, error in done:
        if future.done():
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


def _translated(error: Exception) -> GatewayError:
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
