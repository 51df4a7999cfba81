"""What this process tells the others on its database while it lives, and learns of them; nothing where it is alone."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from adapters.storage.agent_calls import SqlAgentCalls
from adapters.storage.changes import Act, Changes
from adapters.storage.minutes import SqlMinutes
from adapters.storage.presence import Presence
from gateway.core.errors import GatewayError
from gateway.core.hops import SharedHops
from gateway.core.ports.world import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """Where several processes have to agree at once."""

    process: str
    """As which this one is known; another one at every start."""
    hops: SharedHops | None = None
    minutes: SqlMinutes | None = None


@asynccontextmanager
async def among_others(changes: Changes | None, process: str, clock: Clock) -> AsyncGenerator[Others]:
    """Alive for the others on the database, for the time of the block. Raises: Unavailable."""
    if changes is None:
        yield Others(process=process)
        return
    presence = Presence(changes.database, process, clock)
    await presence.renew()
    changes.each_time(presence.renew)
    try:
        calls = SqlAgentCalls(changes.database, process, clock)
        yield Others(process=process, hops=SharedHops(calls, clock), minutes=SqlMinutes(changes.database))
    finally:
        # Where it cannot be told, the others find out.
        with suppress(GatewayError):
            await presence.leave()


def every(seconds: float, act: Act, clock: Clock) -> Act:
    """`act`, but when it is called more often than that, nothing."""
    last_s = clock.monotonic_s()

    async def sometimes() -> None:
        nonlocal last_s
        if clock.monotonic_s() - last_s >= seconds:
            last_s = clock.monotonic_s()
            await act()

    return sometimes
