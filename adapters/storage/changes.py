"""What other processes on the same database have changed, looked at several times a second. Knows no topic.

Looking rather than listening: LISTEN needs a connection of its own that no pooler may share, and NOTIFY makes commits
wait for each other. One small statement four times a second costs less than either, and says as well that the database
answers: who keeps a copy can refuse to rely on it once it has not been compared for too long.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import anyio

from adapters.storage.postgres import PostgresDatabase
from gateway.core.errors import GatewayError
from gateway.core.ports.world import Clock

_logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25
"""Copies are behind by this, and by how long reading anew takes."""
STALE_AFTER_S = 5.0
"""A copy that could not be compared for so long is not to be relied on."""

Act: TypeAlias = Callable[[], Awaitable[object]]


@dataclass(slots=True, kw_only=True)
class _Copy:
    read_again: Act
    serial: int = -1
    """At which it was read; none is negative, so that everything is read once more at the start."""
    compared_at_s: float


@dataclass(slots=True)
class Changes:
    """Tell it with `on` and `each_time` what to do; then `run` it for as long as the process lives."""

    database: PostgresDatabase
    clock: Clock
    _copies: dict[str, _Copy] = field(default_factory=dict[str, _Copy])
    _each_time: list[Act] = field(default_factory=list[Act])
    answers: bool = True
    """Whether the database did when it was last looked at."""
    _failing: bool = False

    def on(self, topic: str, read_again: Act) -> None:
        """Have `read_again` called whenever what `topic` names has changed, and once at the start."""
        self._copies[topic] = _Copy(read_again=read_again, compared_at_s=self.clock.monotonic_s())

    def each_time(self, act: Act) -> None:
        """Have `act` called at every look, after the copies."""
        self._each_time.append(act)

    def current(self, topic: str) -> bool:
        """Whether the copy of what `topic` names was compared lately."""
        return self.clock.monotonic_s() - self._copies[topic].compared_at_s < STALE_AFTER_S

    async def run(self) -> None:
        """Look until canceled."""
        while True:
            await self.look()
            await anyio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Compare once. What fails is tried again at the next look."""
        try:
            at_s = self.clock.monotonic_s()
            serials = await self._serials()
            failed = [
                topic for topic, copy in self._copies.items() if not await _compare(copy, serials.get(topic, 0), at_s)
            ]
            for act in self._each_time:
                await act()
        except GatewayError as error:
            self._told(error.message)
        else:
            self._told(f"{', '.join(failed)} could not be read again" if failed else "")

    async def _serials(self) -> dict[str, int]:
        try:
            serials = await self.database.serials()
        except GatewayError:
            self.answers = False
            raise
        self.answers = True
        return serials

    def _told(self, problem: str) -> None:
        """Once when it begins and once when it is over, not four times a second."""
        if problem and not self._failing:
            _logger.warning("what other gateways change is not seen: %s", problem)
        elif not problem and self._failing:
            _logger.info("what other gateways change is seen again")
        self._failing = bool(problem)


async def _compare(copy: _Copy, serial: int, at_s: float) -> bool:
    if serial != copy.serial:
        try:
            await copy.read_again()
        except GatewayError:
            _logger.exception("a copy of what is stored could not be read again")
            return False
        copy.serial = serial
    copy.compared_at_s = at_s
    return True
