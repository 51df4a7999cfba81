"""Asks a storage that is busy again, and stops the run where it stands if that does not help. Knows no storage."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import structlog

from gateway.core.errors import Unavailable
from gateway.core.ports.journal import RunInterrupted

log = structlog.get_logger(__name__)

T = TypeVar("T")

PAUSES_S = (0.1, 0.4, 1.6)


async def persistently(act: Callable[[], Awaitable[T]]) -> T:
    """What `act` gives, at the first try or one of the next.

    Raises: RunInterrupted: the storage cannot be reached; whatever else `act` raises.
    """
    for pause_s in PAUSES_S:
        try:
            return await act()
        except Unavailable as error:
            log.warning("a storage a run needs does not answer", reason=error.message)
            await anyio.sleep(pause_s)
    try:
        return await act()
    except Unavailable as error:
        raise RunInterrupted from error
