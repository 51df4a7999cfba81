"""The dead-letter queue: runs that did not come to a good end, and where their failure began. Starts none."""

from collections.abc import Sequence

import structlog

from gateway.core.errors import GatewayError
from gateway.core.json import json_text
from gateway.core.ports.dead_letters import DeadCause, DeadLetter
from gateway.core.ports.runs import Run, RunStep
from gateway.orchestration.wiring import Wiring

log = structlog.get_logger(__name__)

_NO_FAILURE = ("ok", "running", "skipped", "canceled")
_LEVELS = 8


class DeadLetterQueue:
    """Whoever notices that a run has ended badly brings it here; nested runs are their parents' business."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    async def receive(self, run: Run, cause: DeadCause) -> None:
        """Put the run into the queue. One that cannot be put there is told of in the log: it is no worse off."""
        if json_text(run.spec.get("parent_run")):
            return
        try:
            await self._wiring.dead_letters.add(await self._letter(run, cause))
        except GatewayError as error:
            log.warning("a run is missing among the dead letters", run=run.id, reason=error.message)

    async def gone_on(self, run: Run, *, by: str, retried_as: str = "") -> bool:
        """Somebody has let the run go on, or another in its place. False where it was not waiting for that."""
        at_us = self._wiring.clock.now_us()
        return await self._wiring.dead_letters.settle(
            run.tenant, run.id, "retried", at_us=at_us, by=by, retried_as=retried_as or run.id
        )

    async def _letter(self, run: Run, cause: DeadCause) -> DeadLetter:
        began = await self._first_failure(run, _LEVELS)
        return DeadLetter(
            run_id=run.id,
            tenant=run.tenant,
            workflow=run.workflow,
            owner=run.owner,
            cause=cause,
            reason=run.error,
            step="" if began is None else began.id,
            target="" if began is None else began.target,
            attempts=0 if began is None else began.attempt,
            at_us=self._wiring.clock.now_us(),
        )

    async def _first_failure(self, run: Run, levels: int) -> RunStep | None:
        """The step where it began: within a nested run that failed, the one there."""
        failed = first_failed(await self._wiring.runs.steps(run.id))
        if failed is None or not failed.target.startswith("workflow:") or not failed.remote_task or not levels:
            return failed
        inner = await self._wiring.runs.find(run.tenant, failed.remote_task)
        return failed if inner is None else await self._first_failure(inner, levels - 1) or failed


def first_failed(steps: Sequence[RunStep]) -> RunStep | None:
    """Of the steps whose last attempt failed, the one that began first. A step that was under way when the run was
    given up counts where none failed. Pure."""
    last = {step.id: step for step in sorted(steps, key=lambda step: step.attempt)}
    began = sorted(last.values(), key=lambda step: (step.started_at_us, step.id))
    failed = next((step for step in began if step.state not in _NO_FAILURE), None)
    return failed or next((step for step in began if step.state == "running"), None)
