"""What calls cost: counted, priced, kept within budgets and written down."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.limits import Usage
from gateway.core.model import Capability, Emit, Request, Result
from gateway.core.ports.upstream import Upstream

WARNINGS = "budget_warnings"
"""Under which name in an answer's meta a run finds what to tell of budgets, by key."""


class TokenCounter(Protocol):
    """Counts as a widespread tokenizer does: which one whoever reads the text has, nobody here knows."""

    async def count(self, texts: Sequence[str]) -> int:
        """How many tokens the texts have together. Long ones do not hold up the event loop."""
        ...

    async def cut(self, text: str, most: int) -> str:
        """The longest beginning of the text that has at most `most` tokens."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was spent on one target, on one day, for one workflow."""

    day: str
    """UTC, `2026-11-28`."""
    tenant: str
    target: str
    """Name of the capability that was called."""
    workflow: str
    """Slug of the workflow whose run called it, or an agent at work on a step of it; empty outside runs."""
    usage: Usage


class CostLedger(Protocol):
    """Adds up what was spent, by day, tenant, target and workflow."""

    def note(self, spent: Spent) -> None:
        """Add to the ledger; on disk within moments. Never waits."""
        ...

    async def rows(self, tenant: str, *, since: str, until: str = "") -> tuple[Spent, ...]:
        """Everything of these days, ends included, what is not on disk yet too. `*`: of every tenant. Raises:
        Unavailable."""
        ...


class Meter(Protocol):
    """Stands between the path and what is called, where calls have a price, a budget or an account."""

    def concerns(self, tenant: str, capability: Capability) -> bool:
        """Whether calls of this tenant to it go through `call`; compiled into plans, once per snapshot."""
        ...

    async def call(self, request: Request, capability: Capability, upstream: Upstream, emit: Emit) -> Result:
        """See `Upstream.call`; the answer's usage is complete: counted where it was not reported, and priced.

        Raises: Exhausted: a budget has no room for this call; says which, and when it opens again.
        """
        ...

    def note(self, request: Request, capability: Capability, usage: Usage) -> None:
        """Write down what a call reported that did not go through `call`."""
        ...
