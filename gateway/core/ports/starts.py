"""Runs that were started by messages: which message started which run, and who is still to be told how it ended."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A run that a message started."""

    run_id: str
    tenant: str
    workflow: str
    bus: str
    """Slug of the bus the message came by."""
    topic: str
    message_id: str
    digest: str
    """SHA-256, hex, of what the message said."""
    answers_to: str
    """Topic of the same bus on which its end is told; empty for none."""
    at_us: int


class StartStore(Protocol):
    """A run counts as under way until its end was told."""

    async def add(self, start: Start) -> None:
        """Keep a start. One of that run, or of that message, is left as it is."""
        ...

    async def find(self, bus: str, topic: str, message_id: str) -> Start | None:
        """What a message has started."""
        ...

    async def count(self, bus: str, topic: str) -> int:
        """How many runs of the topic are under way, of all processes."""
        ...

    async def under_way(self, limit: int) -> tuple[Start, ...]:
        """Oldest first."""
        ...

    async def claim(self, run_id: str, *, by: str, now_us: int, until_us: int) -> bool:
        """Be the only one to tell the end of a run, until then. False where it is told, or somebody else is at it."""
        ...

    async def told(self, run_id: str, at_us: int) -> None:
        """The end of the run was told."""
        ...
