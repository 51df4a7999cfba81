"""Keeps the runs of a process going: theirs for as long as they may be, and again after what interrupted them.

Where several processes share the database, the lease is renewed here, what the dead left is given back, and what others
canceled is stopped. On any database a run that a storage interrupted goes back into the queue once that answers again:
it would otherwise wait for the next launch, with nobody to tell why.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from contextvars import Context
from typing import Any

import anyio
from anyio import to_thread
from dbos import DBOS
from sqlalchemy import Engine, text

from adapters.durable.leases import Lease
from adapters.durable.places import Place, prefix

_logger = logging.getLogger(__name__)

QUEUE = "_dbos_internal_queue"
"""Where DBOS puts what is to go on."""
LONGEST_PAUSE_S = 60.0
"""Between two tries of a run that is interrupted again and again."""

# Guarded by state and owner, as DBOS's own recovery is; that it was interrupted is no sign of a run that crashes us.
_AGAIN = {
    shared: text(
        f"UPDATE {prefix(shared=shared)}workflow_status SET status = 'ENQUEUED', owner_xid = NULL,"  # noqa: S608 - nothing of it is given
        " started_at_epoch_ms = NULL, recovery_attempts = 0, queue_name = COALESCE(queue_name, :queue)"
        " WHERE workflow_uuid = :run_id AND status = 'PENDING' AND executor_id = :me"
    )
    for shared in (False, True)
}


class Keeper:
    """Of one launched engine. `close` it before the engine."""

    def __init__(
        self,
        engine: Engine,
        place: Place,
        under_way: Mapping[str, "asyncio.Task[Any]"],
        lease: Lease | None,
        *,
        pause_s: float,
        close_s: float,
    ) -> None:
        """`under_way`: the tasks of the runs that are executed here. `pause_s`: before a run is first tried again."""
        self._engine = engine
        self._place = place
        self._under_way = under_way
        self._lease = lease
        self._pause_s = pause_s
        self._close_s = close_s
        self._interrupted: dict[str, float] = {}
        """When each is tried again, monotonic."""
        self._pauses_s: dict[str, float] = {}
        """How long each waited last; forgotten when it ends."""
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def holds(self) -> bool:
        return self._lease is None or self._lease.held

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep(), context=Context())

    def interrupted(self, run_id: str) -> None:
        """The run was stopped by what it needs, and is still to be run here."""
        pause_s = min(LONGEST_PAUSE_S, self._pauses_s.get(run_id, self._pause_s / 2) * 2)
        self._pauses_s[run_id] = pause_s
        self._interrupted[run_id] = time.monotonic() + pause_s
        self._woken.set()

    def goes_on(self, run_id: str) -> bool:
        """Whether the run, whose body has ended, was interrupted and goes on here."""
        if run_id in self._interrupted:
            return True
        self._pauses_s.pop(run_id, None)
        return False

    async def close(self) -> None:
        """Stop everything that is under way here; bounded."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=self._close_s)
        await self._stop_all()

    async def _keep(self) -> None:
        while True:
            await self._pause()
            try:
                if self._lease is not None:
                    await self._look(self._lease)
                await self._revive()
            except Exception:
                # The task's edge: whatever it was, a lease that nobody renews any more costs every run here.
                _logger.exception("runs of this process could not be looked after")

    async def _pause(self) -> None:
        if self._lease is not None:
            await anyio.sleep(min(1.0, self._lease.ttl_s / 4))
            return
        if not self._interrupted:
            self._woken.clear()
            await self._woken.wait()
        await anyio.sleep(min(1.0, self._pause_s))

    async def _look(self, lease: Lease) -> None:
        """Renew the lease, give back what the dead left, stop what others canceled."""
        if not lease.held:
            await self._stand_back(lease)
            return
        seen = await to_thread.run_sync(lease.renew, tuple(self._under_way))
        if seen.lapsed:
            # The server's clock went on where this process's stood still: a machine that slept, for one.
            await self._stand_back(lease)
            return
        if seen.dead:
            await to_thread.run_sync(_give_back, list(seen.dead))
        for run_id in seen.canceled:
            if task := self._under_way.get(run_id):
                task.cancel()

    async def _stand_back(self, lease: Lease) -> None:
        """Others may have taken this process for dead, and run its runs: stop them here, give back the rest, and only
        then be alive again."""
        _logger.warning("the lease of this process has lapsed: its runs go on wherever they are taken up")
        await self._stop_all()
        self._interrupted.clear()
        await to_thread.run_sync(_give_back, [self._place.executor_id])
        await to_thread.run_sync(lease.take)

    async def _stop_all(self) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._close_s)

    async def _revive(self) -> None:
        now_s = time.monotonic()
        due = [run_id for run_id, at_s in self._interrupted.items() if at_s <= now_s]
        if not due:
            return
        await to_thread.run_sync(_queue_again, self._engine, self._place, due)
        for run_id in due:
            self._interrupted.pop(run_id, None)


def _queue_again(engine: Engine, place: Place, run_ids: Collection[str]) -> None:
    with engine.begin() as connection:
        for run_id in run_ids:
            connection.execute(_AGAIN[place.shared], {"run_id": run_id, "me": place.executor_id, "queue": QUEUE})


def _give_back(executors: list[str]) -> None:
    """Put back into the queue what these had under way: idempotent, and guarded by the owner."""
    # What DBOS's own control plane calls; nothing public names the executors whose runs are meant.
    DBOS._recover_pending_workflows(executors)  # pyright: ignore[reportPrivateUsage]
