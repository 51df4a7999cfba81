"""What calls cost: counted, priced, kept within budgets and written down."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a budget gives, or gets back, in one minute."""

    budget: str
    """For example `tenant acme`."""
    minute: int
    """Since 1970, UTC."""
    calls: int
    tokens: int


Fits: TypeAlias = Callable[[int, int], bool]
"""(calls, tokens given out before) -> whether there is room for more. Pure; may be asked more than once."""


class MinuteLedger(Protocol):
    """What budgets have given out in a minute, over all processes that share a database."""

    async def reserve(self, given: Given, fits: Fits) -> tuple[int, int] | None:
        """Take this from the minute if it fits; where it does not, calls and tokens that were given out before.

        Raises: Unavailable: that cannot be known.
        """
        ...

    async def settle(self, given: Given) -> None:
        """Add to what was given out in the minute, or take from it: a call used more, or less. Raises: Unavailable."""
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
