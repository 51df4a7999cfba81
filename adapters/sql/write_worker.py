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
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from adapters.sql.hand_over import Act, ActQueue, Done, GivenUp, connected, deliver, failed, put_back, told_of
from adapters.sql.prepared import commits_by_itself, one_statement

T = TypeVar("T")

LASTING = "lasting"
"""Of a connection's `info`, read by its engine as a transaction begins: whether it has to survive a power loss, and not
only the end of this process."""
TRIES = 10
"""How often a write is run that loses to others, each time after a longer pause, by chance."""
_LONGEST_PAUSE_S = 0.1
_LOST_TO_OTHERS = frozenset({"40001", "40P01", "23505"})
"""SQLSTATEs: serialisation failure, deadlock, and a unique key somebody else has taken since it was looked up."""


class WriteWorker:
    """Runs writes in the order in which they were handed over."""

    def __init__(self, engine: Engine, *, name: str, queue_limit: int, batch_limit: int = 256) -> None:
        self._engine = engine
        self._queue = ActQueue(limit=queue_limit, at_once=batch_limit)
        self._thread = threading.Thread(target=self._run, name=f"write-{name}", daemon=True)
        self._thread.start()

    def submit(
        self, act: Callable[[Connection], Any], *, lasting: bool = True, lone: bool = False
    ) -> "asyncio.Future[Any]":
        """Queue a write; the future has its outcome once it is on disk. A canceled future is skipped if not yet begun.
        A batch of which no write is `lasting` is handed to the system only: see `LASTING`. One that is `lone` is a
        single statement handed to the driver, see `prepared`: where nothing shares its commit, it needs no transaction.
        It is lasting.

        Raises: Unavailable: closed, or too many writes wait.
        """
        return self._queue.put(act, lasting=lasting, lone=lone)

    def close(self, timeout_s: float) -> bool:
        """Refuse what comes, finish what is queued; False if that took longer than `timeout_s`. Blocks; idempotent."""
        self._queue.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        # Kept open between batches: borrowing it anew would cost as much as the statements of a small write.
        connection: Connection | None = None
        while batch := self._queue.next_batch():
            try:
                connection = connection or connected(self._engine)
                done = _together(connection, batch)
            except Exception as error:  # noqa: BLE001 - the thread's edge: every waiter is told, translated
                put_back(connection)
                connection = None
                if isinstance(error, GivenUp) or (len(batch) == 1 and not _worth_another_try(error)):
                    done = failed(batch, error)
                else:
                    done = _apart(self._engine, batch)
            deliver(done)
            # Nothing of what was written is held on to until the next write.
            del batch, done
        put_back(connection)


def _together(connection: Connection, batch: list[Act]) -> list[Done]:
    if len(batch) == 1 and batch[0].lone and commits_by_itself(connection):
        with one_statement(connection):
            return [(batch[0].future, _committed(partial(batch[0].run, connection)), None)]
    connection.info[LASTING] = any(write.lasting for write in batch)
    with connection.begin() as transaction:
        done: list[Done] = [(write.future, write.run(connection), None) for write in batch]
        _committed(transaction.commit)
    return done


def _committed(commit: Callable[[], T]) -> T:
    """What it gives. Raises: GivenUp: the connection broke meanwhile."""
    try:
        return commit()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise GivenUp("the storage broke off; whether it wrote is not known", retry_after_s=1.0) from error
        raise


def _apart(engine: Engine, batch: list[Act]) -> list[Done]:
    done: list[Done] = []
    for place, write in enumerate(batch):
        if write.future.cancelled():
            continue
        done.append(_alone(engine, write))
        error = done[-1][2]
        if isinstance(error, GivenUp):
            return [*done, *failed(batch[place + 1 :], error)]
    return done


def _alone(engine: Engine, write: Act) -> Done:
    for tries_left in range(TRIES - 1, -1, -1):
        try:
            with connected(engine) as connection:
                return _together(connection, [write])[0]
        except Exception as error:  # noqa: BLE001 - the thread's edge: this one waiter is told, translated
            if not tries_left or not _worth_another_try(error):
                return (write.future, None, told_of(error))
        # By chance, so that those who met once do not meet again.
        time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, 0.002 * 2 ** (TRIES - tries_left))))  # noqa: S311 - no secret
    raise AssertionError("unreachable: the last try returns")


def _worth_another_try(error: Exception) -> bool:
    """Whether it came of what others did meanwhile, or of a connection that was gone before anything was done."""
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _LOST_TO_OTHERS
