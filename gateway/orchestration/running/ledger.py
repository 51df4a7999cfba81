"""One ledger a run: what its steps have reserved and spent, against what the run may. Knows no step and no clock.

A nested run has one of its own, and spends from those of the runs around it as well: what several nested ones side by
side were each told is left is there once. They find each other in one process; where one of several gateways has
crashed, a nested run may go on at another than the runs around it, and keeps to what it was told when it began.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import reduce

from msgspec import structs

from gateway.core.errors import Exhausted
from gateway.core.limits import NOTHING_USED, WARN_SHARE, Budget, Usage

UNDO_SHARE = Decimal("0.1")
"""Of calls, tokens and cost a run may have: what whoever makes something undone may spend when less is left."""
SYNTHESIS_SHARE = 0.1
"""Kept back of tokens and cost, so that there is something left to word a partial answer with."""
_LEAST_USD = Decimal("0.000001")


@dataclass(slots=True, kw_only=True, eq=False)
class Reservation:
    """What is held for one step."""

    estimate: Usage
    step_id: str = ""
    undoes: bool = False
    """Whether there is room for all of it, whatever is left."""
    share: Decimal = Decimal(1)
    """Of the budget, which may be reserved when this is."""


class Ledgers:
    """Those of all runs under way in this process."""

    def __init__(self) -> None:
        self._by_run: dict[str, Ledger] = {}
        self._by_step: dict[str, Ledger] = {}
        """Of nested runs, by the step that each of them is."""

    def open(self, ledger: "Ledger") -> None:
        """The ledger's run begins, or goes on, here."""
        self._by_run[ledger.run_id] = ledger
        if ledger.parent_step:
            self._by_step[ledger.parent_step] = ledger

    def of(self, run_id: str) -> "Ledger | None":
        return self._by_run.get(run_id)

    def within(self, step_id: str) -> "Ledger | None":
        """Of the nested run that the step is."""
        return self._by_step.get(step_id)

    def settled(self, step_id: str) -> None:
        """The step has ended, and what was spent in it is settled."""
        self._by_step.pop(step_id, None)

    def over(self, run_id: str) -> None:
        """The run is not under way here any more. What a nested one has spent is kept for its step to settle."""
        ledger = self._by_run.pop(run_id, None)
        if ledger is None:
            return
        for reservation in ledger.reservations:
            self._by_step.pop(reservation.step_id, None)
        if self._by_step.get(ledger.parent_step) is ledger and ledger.parent_run not in self._by_run:
            del self._by_step[ledger.parent_step]


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Steps that run side by side reserve here before they begin, and settle when they have ended.

    Nobody knows beforehand what an agent will spend, so a step reserves what the ones before it spent on average: those
    of the same target. Where its target has had none it is a guess, what all of them spent; and as what others spend is
    no reason to refuse it, it reserves at most what is left, as long as something is.
    """

    budget: Budget
    run_id: str = ""
    parent_run: str = ""
    parent_step: str = ""
    others: Ledgers = field(default_factory=Ledgers)
    own_calls: Callable[[str], Usage] = lambda _step_id: NOTHING_USED
    """What the agent at work on a step has spent so far on calls of its own."""
    reservations: list[Reservation] = field(default_factory=list[Reservation])
    _settled: Usage = field(default_factory=Usage)
    _steps: int = 0
    _by_target: dict[str, tuple[int, Usage]] = field(default_factory=dict[str, tuple[int, Usage]])
    _warned: set[str] = field(default_factory=set[str])
    """Parts of the budget of which it was said that most is gone."""

    @property
    def spent(self) -> Usage:
        return self._settled

    @property
    def held(self) -> Usage:
        """What is spent and reserved."""
        return sum(map(self._held_for, self.reservations), self._settled)

    def reserve(self, target: str = "", step_id: str = "", *, last: bool = False) -> Reservation | None:
        """A reservation for one more step, or None if the budget has no room for it, or that of a run around this one.
        `last`: a step that words the answer: it may use what was kept back, and begins as long as anything is left."""
        share = Decimal(1) if last else Decimal(1) - Decimal(str(SYNTHESIS_SHARE))
        books = (self, *self._around())
        estimate = Usage(calls=1) if last else self._average(target)
        if target not in self._by_target:
            estimate = reduce(_at_most_left, ((each.held, each.budget, share) for each in books), estimate)
        reservation = self._held(estimate, step_id, share=share)
        if all(_fits(each.held, each.budget, share) for each in books):
            return reservation
        self.reservations.remove(reservation)
        return None

    def reserve_begun(self, target: str, step_id: str = "") -> Reservation:
        """A reservation for a step that had one before a crash: what others have spent meanwhile does not end it."""
        return self._held(self._average(target), step_id)

    def reserve_undo(self, step_id: str = "") -> Reservation:
        """A reservation for a step that makes another undone: there is always room for its one call."""
        return self._held(Usage(calls=1), step_id, undoes=True)

    def left_for_own_calls(self, step_id: str) -> Budget | None:
        """What the agent at work on the step may spend on calls of its own: None where the run does not bound it,
        because the step undoes something or is none of those under way here. Raises: Exhausted: nothing."""
        mine = next((each for each in self.reservations if each.step_id == step_id), None)
        if mine is None or mine.undoes:
            return None
        # What is held of the step is at least the call it is itself and those of its own; one more has to fit.
        more = max(0, self.own_calls(step_id).calls + 2 - self._held_for(mine).calls)
        if all(_fits(each.held + Usage(calls=more), each.budget, mine.share) for each in (self, *self._around())):
            return self.left()
        raise Exhausted("the run's budget has no room for another call", detail={"limit": "budget"})

    def settle(self, reservation: Reservation, used: Usage, target: str = "") -> Usage:
        """The step has ended and used that, or more: what a nested run has spent of which nobody heard the end counts
        too. What it comes to."""
        within = self.others.within(reservation.step_id)
        if within is not None:
            used = _most(used, within.spent + Usage(calls=1))
            self.others.settled(reservation.step_id)
        self.reservations.remove(reservation)
        self.add(used, target)
        return used

    def add(self, used: Usage, target: str = "") -> None:
        """What a step used whose reservation was made before a crash."""
        self._settled = self._settled + used
        self._steps += 1
        steps, spent = self._by_target.get(target, (0, NOTHING_USED))
        self._by_target[target] = (steps + 1, spent + used)

    def warnings(self) -> dict[str, str]:
        """What to say, once a part, of those parts of the budget of which most is gone."""
        most = Decimal(str(WARN_SHARE))
        now = {
            part: f"{int(share * 100)} % of the run's {part} are used"
            for share, part in _shares(self._settled, self.budget)
            if share >= most and part not in self._warned
        }
        self._warned.update(now)
        return now

    def left(self) -> Budget:
        """The run's budget less what is spent and reserved, and at most what is left of those around it."""
        held, budget = self.held, self.budget
        left = structs.replace(
            budget,
            calls=None if budget.calls is None else max(0, budget.calls - held.calls),
            tokens=None if budget.tokens is None else max(0, budget.tokens - held.tokens),
            cost_usd=None if budget.cost_usd is None else max(Decimal(0), budget.cost_usd - held.cost_usd),
        )
        for each in self._around()[:1]:
            around = each.left()
            left = left.share(tokens=around.tokens, cost_usd=around.cost_usd)
            left = structs.replace(
                left, calls=min((n for n in (left.calls, around.calls) if n is not None), default=None)
            )
        return left

    def allowance(self) -> Budget:
        """What a step that makes another undone may spend: what is left, and at least a share of what there was."""
        left, budget = self.left(), self.budget
        calls, tokens = _at_least(left.calls, budget.calls), _at_least(left.tokens, budget.tokens)
        cost_usd = None if budget.cost_usd is None else max(left.cost_usd or Decimal(0), budget.cost_usd * UNDO_SHARE)
        return structs.replace(left, calls=calls, tokens=tokens, cost_usd=cost_usd)

    def _held(self, estimate: Usage, step_id: str, *, undoes: bool = False, share: Decimal = Decimal(1)) -> Reservation:
        reservation = Reservation(estimate=estimate, step_id=step_id, undoes=undoes, share=share)
        self.reservations.append(reservation)
        return reservation

    def _held_for(self, reservation: Reservation) -> Usage:
        within = self.others.within(reservation.step_id)
        held = _most(reservation.estimate, self.own_calls(reservation.step_id) + Usage(calls=1))
        return held if within is None else _most(held, within.held + Usage(calls=1))

    def _around(self) -> "tuple[Ledger, ...]":
        """Those of the runs around this one, the nearest first, as far as they bound it: one that undoes something has
        an allowance of its own."""
        outer = self.others.of(self.parent_run)
        mine = None if outer is None else next((e for e in outer.reservations if e.step_id == self.parent_step), None)
        return () if outer is None or mine is None or mine.undoes else (outer, *outer._around())

    def _average(self, target: str) -> Usage:
        steps, spent = self._by_target.get(target, (max(1, self._steps), self._settled))
        return Usage(calls=1, tokens=spent.tokens // steps, cost_usd=spent.cost_usd / steps)


def _most(one: Usage, other: Usage) -> Usage:
    """`one`, in every part at least as much as the other."""
    if one.calls >= other.calls and one.tokens >= other.tokens and one.cost_usd >= other.cost_usd:
        return one
    return replace(
        other,
        calls=max(one.calls, other.calls),
        tokens=max(one.tokens, other.tokens),
        cost_usd=max(one.cost_usd, other.cost_usd),
    )


def _at_least(left: int | None, limit: int | None) -> int | None:
    return None if limit is None else max(left or 0, int(limit * UNDO_SHARE), 1)


def _at_most_left(estimate: Usage, book: tuple[Usage, Budget, Decimal]) -> Usage:
    """The estimate, less what of its tokens and cost does not fit; where nothing fits, it does not either."""
    held, budget, share = book
    if budget.tokens is not None:
        left = math.ceil(budget.tokens * share) - 1 - held.tokens
        estimate = replace(estimate, tokens=min(estimate.tokens, max(1, left)))
    if budget.cost_usd is not None:
        left_usd = budget.cost_usd * share - _LEAST_USD - held.cost_usd
        estimate = replace(estimate, cost_usd=min(estimate.cost_usd, max(_LEAST_USD, left_usd)))
    return estimate


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
