"""Which processes on a shared database are alive, by the database's own clock. Knows nothing of what they do.

A row a process, renewed every few seconds. What somebody wrote who is no longer alive - an effect under way, an agent
at work - counts no more than it would after a restart.
"""

import structlog
from sqlalchemy import BigInteger, Connection, cast, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from adapters.storage.tables import agent_calls, processes
from adapters.storage.transactions import Transactions
from gateway.core.ports.world import Clock

RENEW_EVERY_S = 2.0
ALIVE_S = 10
"""A process that was not heard of for so long is dead."""
OFF_AT_MOST_US = 1_000_000
"""By how much the clock of a process may differ from the database's before it is told of."""
_FORGET_AFTER_S = 3600

log = structlog.get_logger(__name__)

_NOW_US = cast(func.extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)
_HEARD = processes.c.seen_at_us > _NOW_US - ALIVE_S * 1_000_000
_SEEN = insert(processes).values(seen_at_us=_NOW_US)
_RENEW = _SEEN.on_conflict_do_update(index_elements=["id"], set_={"seen_at_us": _NOW_US})
_LEFT = delete(processes).where(processes.c.seen_at_us < _NOW_US - _FORGET_AFTER_S * 1_000_000)
_LEFT_CALLS = delete(agent_calls).where(agent_calls.c.process.not_in(select(processes.c.id)))

LIVING = select(processes.c.id).where(_HEARD)
"""Ids of the processes that are alive."""


class Presence:
    """Of this process, as long as somebody renews it."""

    def __init__(self, database: Transactions, process: str, clock: Clock) -> None:
        self._database = database
        self._process = process
        self._clock = clock
        self._renewed_s: float | None = None
        self._off = False

    async def renew(self) -> None:
        """Say that this process is alive, if that was not said lately. Raises: Unavailable."""
        now_s = self._clock.monotonic_s()
        if self._renewed_s is not None and now_s - self._renewed_s < RENEW_EVERY_S:
            return

        def act(connection: Connection) -> int:
            connection.execute(_RENEW, {"id": self._process})
            connection.execute(_LEFT)
            connection.execute(_LEFT_CALLS)
            return connection.execute(select(_NOW_US)).scalar_one()

        before_us = self._clock.now_us()
        there_us = await self._database.write(act, about=self._process)
        self._renewed_s = now_s
        self._compare(before_us, there_us, self._clock.now_us())

    def _compare(self, before_us: int, there_us: int, after_us: int) -> None:
        """Have it told, once, that this clock is not the database's; claims and deadlines go by this one."""
        behind_us = max(0, there_us - after_us) or min(0, there_us - before_us)
        told, self._off = self._off, abs(behind_us) > OFF_AT_MOST_US
        if self._off and not told:
            log.warning("the clock of this gateway is not the database's: set both by NTP", off_s=-behind_us / 1e6)

    async def leave(self) -> None:
        """An orderly end: what was under way here no longer is. Raises: Unavailable."""

        def act(connection: Connection) -> None:
            connection.execute(delete(processes).where(processes.c.id == self._process))
            connection.execute(_LEFT_CALLS)

        await self._database.write(act, about=self._process)


def is_alive(connection: Connection, process: str) -> bool:
    """Whether a process is; on a database that has them."""
    return connection.execute(LIVING.where(processes.c.id == process)).first() is not None
