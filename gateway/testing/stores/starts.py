"""Runs that messages have started, in memory."""

from gateway.core.ports.starts import Start


class MemoryStarts:
    """See `StartStore`."""

    def __init__(self) -> None:
        self.starts: dict[str, Start] = {}
        self.told_at_us: dict[str, int] = {}
        self._claims: dict[str, tuple[str, int]] = {}

    async def add(self, start: Start) -> None:
        if start.run_id not in self.starts and not await self.find(start.bus, start.topic, start.message_id):
            self.starts[start.run_id] = start

    async def find(self, bus: str, topic: str, message_id: str) -> Start | None:
        named = (bus, topic, message_id)
        return next((each for each in self.starts.values() if (each.bus, each.topic, each.message_id) == named), None)

    async def count(self, bus: str, topic: str) -> int:
        return sum((each.bus, each.topic) == (bus, topic) for each in self._untold())

    async def under_way(self, limit: int) -> tuple[Start, ...]:
        return tuple(sorted(self._untold(), key=lambda each: (each.at_us, each.run_id))[:limit])

    async def claim(self, run_id: str, *, by: str, now_us: int, until_us: int) -> bool:
        if run_id not in self.starts or run_id in self.told_at_us:
            return False
        claimer, claimed_until_us = self._claims.get(run_id, (by, 0))
        if claimer != by and claimed_until_us > now_us:
            return False
        self._claims[run_id] = (by, until_us)
        return True

    async def told(self, run_id: str, at_us: int) -> None:
        self.told_at_us[run_id] = at_us

    def _untold(self) -> list[Start]:
        return [each for each in self.starts.values() if each.run_id not in self.told_at_us]
