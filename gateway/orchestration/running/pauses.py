"""Runs that are paused: no further step of theirs begins, those under way go on, and their clock stands still. And
runs that are canceled while they have something to undo: no step begins but those that undo it.

A nested run is a step of its parent: it goes on when only the parent is paused. The time in which a question can be
answered goes on as well, because whoever was asked knows nothing of the pause.
"""

import anyio
from msgspec import structs

from gateway.core.limits import Budget
from gateway.core.ports.runs import Run
from gateway.core.task import TaskState
from gateway.orchestration.running.bell import Bell, Latch
from gateway.orchestration.running.persistence import persistently
from gateway.orchestration.wiring import Wiring

LOOK_AGAIN_S = 1.0
"""How often a paused run looks whether another process has let it go on."""


class Gate:
    """One a run under way here."""

    def __init__(self, wiring: Wiring, run: Run) -> None:
        self._wiring = wiring
        self._run = run
        self._closed = run.paused_at_us > 0
        self._changed = Bell()
        self.held_us = run.held_us
        """For how long the run's clock has stood still altogether, pauses that are not over left out."""
        self.canceled = Latch()
        """Set when the run was canceled, and is still to undo what it has done."""
        self.undoes = False
        """Whether the run has registered something to undo."""
        if run.state == TaskState.CANCELED.value:
            self.canceled.set()

    @property
    def alone(self) -> bool:
        """Whether no other process can pause the run, or cancel it."""
        return self._wiring.alone

    @property
    def held_s(self) -> float:
        """For how long it has stood still since the run began, or went on, in this process."""
        return (self.held_us - self._run.held_us) / 1e6

    async def passed(self) -> None:
        """Return as soon as steps may begin. Raises: RunInterrupted."""
        if self._wiring.alone and not self._closed:
            return
        while await self._is_paused():
            with anyio.move_on_after(LOOK_AGAIN_S):
                await self._changed.wait()

    async def stood_still(self, held_s: float) -> float:
        """Return as soon as steps may begin, with the seconds for which the run's clock has stood still since it had
        done so for `held_s`. Raises: RunInterrupted."""
        await self.passed()
        return self.held_s - held_s

    def look_again(self) -> None:
        """The run was paused, or its pause has ended."""
        self._closed = True
        self._changed.ring()

    async def look(self) -> None:
        """Learn what another process has done to the run."""
        await self._is_paused()

    async def _is_paused(self) -> bool:
        runs = self._wiring.runs
        standing = await persistently(lambda: runs.standing(self._run.id))
        if standing is None:
            return False
        self._closed, self.held_us = standing.paused, standing.held_us
        if standing.state == TaskState.CANCELED.value:
            self.canceled.set()
        return self._closed


class Gates:
    """Those of all runs under way in this process."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._gates: dict[str, Gate] = {}

    def of(self, run: Run) -> Gate:
        """The gate of a run that begins, or goes on, here."""
        gate = self._gates[run.id] = Gate(self._wiring, run)
        return gate

    def over(self, run_id: str) -> None:
        self._gates.pop(run_id, None)

    def undoes(self, run_id: str) -> bool:
        """Whether the run is under way here, and has something to undo."""
        return run_id in self._gates and self._gates[run_id].undoes

    def cancel(self, run_id: str) -> None:
        """The run, if it is under way here, is to stop and undo what it has done."""
        if run_id in self._gates:
            self._gates[run_id].canceled.set()

    def look_again(self, run_id: str) -> None:
        if run_id in self._gates:
            self._gates[run_id].look_again()


def prolonged(budget: Budget, seconds: float) -> Budget:
    """The budget of a run whose clock stood still for so long."""
    return structs.replace(budget, deadline_s=budget.deadline_s + seconds)
