"""A scratchpad in memory. See `Scratchpad`; knows no run but its own."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from gateway.core.errors import Conflict
from gateway.core.json import Json
from gateway.core.labels import CLEAN, Labels
from gateway.core.ports.scratchpad import Entry


class MemoryScratchpad:
    """`taken`: outside resources that another run holds. `draw` is called once for each use."""

    def __init__(self, draw: Callable[[], int], taken: frozenset[str] = frozenset()) -> None:
        self._draw = draw
        self.taken = set(taken)
        self.claimed: set[str] = set()
        self.entries: dict[str, Entry] = {}

    async def get(self, key: str) -> Entry | None:
        self._draw()
        return self.entries.get(key)

    async def all(self) -> Mapping[str, Entry]:
        self._draw()
        return dict(sorted(self.entries.items()))

    async def put(
        self, key: str, value: Json, *, expected_version: int | None, writer: str = "", labels: Labels = CLEAN
    ) -> Entry:
        self._draw()
        entry = Entry(key=key, value=value, version=0, writer=writer, labels=labels)
        return self.written(entry, expected_version=expected_version)

    async def claim(self, resource: str, *, ttl_s: float) -> bool:
        self._draw()
        return self.claims(resource)

    async def release(self, resource: str) -> None:
        self._draw()
        self.claimed.discard(resource)

    def claims(self, resource: str) -> bool:
        """Whether the run holds the resource now."""
        if resource in self.taken:
            return False
        self.claimed.add(resource)
        return True

    def written(self, entry: Entry, *, expected_version: int | None) -> Entry:
        """Raises: Conflict: the key is at another version."""
        known = self.entries.get(entry.key)
        actual = 0 if known is None else known.version
        if expected_version is not None and expected_version != actual:
            raise Conflict(
                f"{entry.key} is at version {actual}, not {expected_version}",
                detail={"key": entry.key, "expected": expected_version, "actual": actual},
            )
        written = self.entries[entry.key] = replace(entry, version=actual + 1)
        return written
