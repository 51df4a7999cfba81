"""What is kept of runs beside the engine, when nobody needs it any more."""

from collections.abc import Collection
from typing import Protocol


class RunArchive(Protocol):
    """Rows of runs, and of what they did. An empty tenant stands for all of them."""

    async def ended(self, before_us: int, *, failed: bool, tenant: str, limit: int) -> tuple[str, ...]:
        """Runs that ended before then, oldest first: those that failed or were rejected, or all the others."""
        ...

    async def oldest_under_way_us(self) -> int | None:
        """When the oldest run began that has not ended; None where all have."""
        ...

    async def submitted(self, before_us: int, *, limit: int) -> tuple[str, ...]:
        """Runs stored before then that have not begun, oldest first."""
        ...

    async def erase(self, run_ids: Collection[str]) -> None:
        """The runs' rows, with their steps, events, questions, open steps and dead letters."""
        ...

    async def forget_effects(self, before_us: int, *, tenant: str, limit: int) -> int:
        """Effects whose outcome was recorded before then; how many."""
        ...

    async def forget_in_doubt(self, before_us: int, *, limit: int) -> int:
        """Effects without an outcome that nobody has tried since then; how many."""
        ...

    async def forget_notes(self, now_us: int, *, limit: int) -> int:
        """What runs have noted for later ones, and is over; how many."""
        ...

    async def forget_owners(self, before_us: int, *, tenant: str, limit: int) -> int:
        """Whose the tasks at agents are that began before then; how many."""
        ...
