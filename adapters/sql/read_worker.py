"""One thread that reads what takes no time, over one connection that stays open. Knows no tables.

For rows found by their key, of which every step of a run asks for some: borrowing a connection and a thread for each
costs several times what the statement takes. They wait for each other; whatever may take longer is read elsewhere.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from adapters.sql.hand_over import Act, ActQueue, Done, GivenUp, connected, deliver, failed, put_back, told_of

_AT_ONCE = 32
"""The first of a batch waits for the last."""


class ReadWorker:
    """Runs reads in the order in which they were handed over. Each may be run twice."""

    def __init__(self, engine: Engine, *, name: str, queue_limit: int) -> None:
        """Its `engine` begins no transaction by itself: nothing would end it."""
        self._engine = engine
        self._queue = ActQueue(limit=queue_limit, at_once=_AT_ONCE)
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name=f"glance-{name}", daemon=True)
        self._thread.start()

    def submit(self, act: Callable[[Connection], Any]) -> "asyncio.Future[Any]":
        """What it gives. A canceled future is skipped if not yet begun. Raises: Unavailable: closed, or too many."""
        return self._queue.put(act)

    def close(self, timeout_s: float) -> None:
        """Refuse what comes, finish what is queued, for at most so long. Blocks; idempotent."""
        self._queue.close()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while batch := self._queue.next_batch():
            deliver(self._outcomes(batch))
            del batch
        self._let_go()

    def _outcomes(self, batch: list[Act]) -> list[Done]:
        done: list[Done] = []
        for place, read in enumerate(batch):
            try:
                done.append((read.future, self._read(read.run), None))
            except GivenUp as error:
                return [*done, *failed(batch[place:], error)]
            except Exception as error:  # noqa: BLE001 - the thread's edge: whoever waits is told, translated
                # Whatever state it was left in.
                self._let_go()
                done.append((read.future, None, told_of(error)))
        return done

    def _read(self, act: Callable[[Connection], Any]) -> Any:
        try:
            return act(self._connected())
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        # It broke while nobody used it, which is found out now.
        self._let_go()
        return act(self._connected())

    def _connected(self) -> Connection:
        self._connection = self._connection or connected(self._engine)
        return self._connection

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        put_back(connection)
