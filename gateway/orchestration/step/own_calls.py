"""What agents call by the token of a step: a part of the run, which spends its budget.

Counted with the step, so that every gateway on a database counts the same, and a step that goes on after a crash knows
what it has spent. Where the run is under way in this process, what its other steps hold counts at once as well.
"""

from dataclasses import replace

import structlog
from msgspec import structs

from gateway.core.errors import Exhausted, GatewayError
from gateway.core.limits import NOTHING_USED, Budget, Usage
from gateway.core.model import Request
from gateway.core.ports.storage import OpenStep, OpenSteps
from gateway.orchestration.running.ledger import Ledgers
from gateway.orchestration.step.run_server import NAME as RUN_SERVER

log = structlog.get_logger(__name__)

_OF_THE_RUN = f"tool:{RUN_SERVER}/"
"""What the gateway itself offers to agents at work."""


def spent_on_own_calls(steps: OpenSteps, run_id: str, step_id: str) -> Usage:
    """By whoever is at work on the step, so far."""
    step = steps.find(run_id, step_id)
    return NOTHING_USED if step is None else step.spent


class StepsOwnCalls:
    """See `OwnCalls`."""

    def __init__(self, steps: OpenSteps, ledgers: Ledgers) -> None:
        self._steps = steps
        self._ledgers = ledgers

    async def begun(self, request: Request) -> Request:
        step = self._step_of(request)
        if step is None:
            return request
        budget = _within(request.budget, self._left(step))
        # Counted before anything else happens: of several at once each finds those before it.
        await self._steps.spend(step.run_id, step.step_id, Usage(calls=1))
        return structs.replace(request, budget=budget)

    async def ended(self, request: Request, used: Usage) -> None:
        step = self._step_of(request)
        if step is None:
            return
        # The call itself was counted as it began.
        used = replace(used, calls=max(0, used.calls - 1))
        if used == NOTHING_USED:
            return
        try:
            await self._steps.spend(step.run_id, step.step_id, used)
        except GatewayError as error:
            # It has been made, and its caller is told what came of it.
            log.warning("what an agent spent is not written", run=step.run_id, reason=error.message)

    def _step_of(self, request: Request) -> OpenStep | None:
        if request.principal.kind != "agent" or not request.step_id or request.operation != "call":
            return None
        if request.capability.startswith(_OF_THE_RUN):
            return None
        return self._steps.find(request.run_id, request.step_id)

    def _left(self, step: OpenStep) -> Budget:
        """Raises: Exhausted."""
        spent = step.spent
        own = Budget(
            deadline_s=0,
            calls=None if step.calls_left is None else step.calls_left - spent.calls,
            tokens=None if step.tokens_left is None else step.tokens_left - spent.tokens,
            cost_usd=None if step.cost_left_usd is None else step.cost_left_usd - spent.cost_usd,
        )
        for name, left in (("calls", own.calls), ("tokens", own.tokens), ("cost_usd", own.cost_usd)):
            if left is not None and left <= 0:
                raise Exhausted(f"the step has no {name} left for calls of its agent's own", detail={"limit": name})
        ledger = self._ledgers.of(step.run_id)
        of_run = None if ledger is None else ledger.left_for_own_calls(step.step_id)
        return own if of_run is None else _within(own, of_run)


def _within(budget: Budget, left: Budget) -> Budget:
    """The budget, with at most so many calls, tokens and cost."""
    shared = budget.share(tokens=left.tokens, cost_usd=left.cost_usd)
    calls = min((each for each in (budget.calls, left.calls) if each is not None), default=None)
    return structs.replace(shared, calls=calls)
