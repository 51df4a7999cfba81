"""One ledger a run: what its steps have reserved and spent, against what the run may. Knows no step and no clock."""

from dataclasses import dataclass, field
from decimal import Decimal

from msgspec import structs

from gateway.core.limits import NOTHING_USED, WARN_SHARE, Budget, Usage

UNDO_SHARE = Decimal("0.1")
"""Of calls, tokens and cost a run may have: what whoever makes something undone may spend when less is left."""
SYNTHESIS_SHARE = 0.1
"""Kept back of tokens and cost, so that there is something left to word a partial answer with."""


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Steps that run side by side reserve here before they begin, and settle when they have ended.

    Nobody knows beforehand what an agent will spend, so a step reserves what the ones before it spent on average: those
    of the same target, or all of them where its target has had none.
    """

    budget: Budget
    _settled: Usage = field(default_factory=Usage)
    _steps: int = 0
    _by_target: dict[str, tuple[int, Usage]] = field(default_factory=dict[str, tuple[int, Usage]])
    _reserved: list[Usage] = field(default_factory=list[Usage])
    _warned: bool = False

    @property
    def spent(self) -> Usage:
        return self._settled

    def reserve(self, target: str = "", *, last: bool = False) -> Usage | None:
        """A reservation for one more step, or None if the budget has no room for it. `last`: a step that words the
        answer: it may use what was kept back, and begins as long as anything is left."""
        estimate = Usage(calls=1) if last else self._average(target)
        held = sum(self._reserved, self._settled)
        if not _fits(held + estimate, self.budget, Decimal(1) if last else Decimal(1) - Decimal(str(SYNTHESIS_SHARE))):
            return None
        self._reserved.append(estimate)
        return estimate

    def reserve_begun(self, target: str) -> Usage:
        """A reservation for a step that had one before a crash: what the others have spent meanwhile does not end it."""
        estimate = self._average(target)
        self._reserved.append(estimate)
        return estimate

    def reserve_undo(self) -> Usage:
        """A reservation for a step that makes another undone: there is always room for its one call."""
        estimate = Usage(calls=1)
        self._reserved.append(estimate)
        return estimate

    def settle(self, reservation: Usage, used: Usage, target: str = "") -> None:
        """The step has ended and used that."""
        self._reserved.remove(reservation)
        self.add(used, target)

    def add(self, used: Usage, target: str = "") -> None:
        """What a step used whose reservation was made before a crash."""
        self._settled = self._settled + used
        self._steps += 1
        steps, spent = self._by_target.get(target, (0, NOTHING_USED))
        self._by_target[target] = (steps + 1, spent + used)

    def warning(self) -> str:
        """What to say, once, when most of some part of the budget is gone; else empty."""
        if self._warned:
            return ""
        share, part = max(_shares(self._settled, self.budget), default=(Decimal(0), ""))
        if share < Decimal(str(WARN_SHARE)):
            return ""
        self._warned = True
        return f"{int(share * 100)} % of the run's {part} are used"

    def left(self) -> Budget:
        """The run's budget less what is spent and reserved."""
        held = sum(self._reserved, self._settled)
        budget = self.budget
        return structs.replace(
            budget,
            calls=None if budget.calls is None else max(0, budget.calls - held.calls),
            tokens=None if budget.tokens is None else max(0, budget.tokens - held.tokens),
            cost_usd=None if budget.cost_usd is None else max(Decimal(0), budget.cost_usd - held.cost_usd),
        )

    def allowance(self) -> Budget:
        """What a step that makes another undone may spend: what is left, and at least a share of what there was."""
        left, budget = self.left(), self.budget
        calls, tokens = _at_least(left.calls, budget.calls), _at_least(left.tokens, budget.tokens)
        cost_usd = None if budget.cost_usd is None else max(left.cost_usd or Decimal(0), budget.cost_usd * UNDO_SHARE)
        return structs.replace(left, calls=calls, tokens=tokens, cost_usd=cost_usd)

    def _average(self, target: str) -> Usage:
        steps, spent = self._by_target.get(target, (max(1, self._steps), self._settled))
        return Usage(calls=1, tokens=spent.tokens // steps, cost_usd=spent.cost_usd / steps)


def _at_least(left: int | None, limit: int | None) -> int | None:
    return None if limit is None else max(left or 0, int(limit * UNDO_SHARE), 1)


def _fits(held: Usage, budget: Budget, share: Decimal) -> bool:
    return (
        (budget.calls is None or held.calls <= budget.calls)
        and (budget.tokens is None or held.tokens < budget.tokens * share)
        and (budget.cost_usd is None or held.cost_usd < budget.cost_usd * share)
    )


def _shares(used: Usage, budget: Budget) -> list[tuple[Decimal, str]]:
    parts = (
        (Decimal(used.calls), budget.calls, "calls"),
        (Decimal(used.tokens), budget.tokens, "tokens"),
        (used.cost_usd, budget.cost_usd, "cost"),
    )
    return [(spent / limit, name) for spent, limit, name in parts if limit is not None and limit > 0]
