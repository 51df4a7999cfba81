"""The scratchpad of one run, as its pattern sees it. Knows no step, no agent and no storage."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.core.json import Json
from gateway.core.labels import CLEAN, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A scratchpad key at one version. Versions start at 1 and grow by one with each write."""

    key: str
    value: Json
    version: int
    writer: str
    """Step id of the last write."""
    labels: Labels = CLEAN


class Scratchpad(Protocol):
    """Shared state of one run: versioned keys, compare-and-set, claims on outside resources."""

    async def get(self, key: str) -> Entry | None: ...

    async def all(self) -> Mapping[str, Entry]: ...

    async def put(
        self, key: str, value: Json, *, expected_version: int | None, writer: str = "", labels: Labels = CLEAN
    ) -> Entry:
        """Write a key. `expected_version` 0: it must not exist yet; None: whatever is there.

        Raises: Conflict: the key is at another version; detail has `expected` and `actual`.
        """
        ...

    async def claim(self, resource: str, *, ttl_s: float) -> bool:
        """Claim an outside resource (`account:4711`); False while another run of the tenant holds it."""
        ...

    async def release(self, resource: str) -> None: ...
