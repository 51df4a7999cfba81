"""Runs that did not come to a good end and wait for somebody to look at them."""

from dataclasses import dataclass
from typing import Literal, Protocol

DeadCause = Literal["failed", "dead", "rejected"]
"""It failed for good; it was under way at too many crashes; there was no room for it."""
DeadState = Literal["open", "retried", "dropped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One run in the queue."""

    run_id: str
    tenant: str
    workflow: str
    owner: str
    cause: DeadCause
    reason: str
    """For people."""
    step: str
    """Id of the step where the failure began; empty where none did."""
    target: str
    """What that step called."""
    attempts: int
    """How often it was tried."""
    at_us: int
    state: DeadState = "open"
    settled_at_us: int = 0
    """While it is open: since when somebody is at it, or was when their gateway died."""
    settled_by: str = ""
    retried_as: str = ""
    """The run that goes on in its place, or is about to; its own id where it goes on itself."""


class DeadLetters(Protocol):
    """The queue. Every look into it is one tenant's."""

    async def add(self, letter: DeadLetter) -> None:
        """Put a run into the queue. One that is open there is left as it is; one that was settled is open again."""
        ...

    async def find(self, tenant: str, run_id: str) -> DeadLetter | None: ...

    async def list(
        self, tenant: str, *, workflow: str = "", settled: bool = False, limit: int = 50
    ) -> tuple[DeadLetter, ...]:
        """Newest first; with `settled`, those that were retried or dropped as well."""
        ...

    async def claim(
        self, tenant: str, run_id: str, *, at_us: int, before_us: int, by: str, retried_as: str = ""
    ) -> DeadLetter | None:
        """Be the one who is at an open letter; the letter as it is then. None: it is settled, or somebody has been at
        it since `before_us`, which is for whoever has died with it.

        A run that was about to go on in its place before stays the one: it may have begun.
        """
        ...

    async def release(self, tenant: str, run_id: str, *, claimed_at_us: int) -> None:
        """Nobody is at it any more: what was to be done could not be. Nothing to do where the claim is another's."""
        ...

    async def settle(
        self, tenant: str, run_id: str, state: DeadState, *, at_us: int, by: str, retried_as: str = ""
    ) -> bool:
        """Retried or dropped. False where nothing is open under this id."""
        ...
