"""Follows a run through its event log, from any place in it to the end. Changes nothing."""

from gateway.core.model import Emit
from gateway.core.ports.runs import Run
from gateway.core.task import TaskState
from gateway.orchestration.records.events import ends, event_of
from gateway.orchestration.runs.seen import Runs
from gateway.orchestration.wiring import Wiring

LOOK_AGAIN_S = 5.0
"""How long to wait for an event before looking whether the run still lives, unless it is executed here: it does."""


class Watching:
    """For any number of watchers at once."""

    def __init__(self, wiring: Wiring, runs: Runs) -> None:
        self._wiring = wiring
        self._runs = runs

    async def follow(self, run: Run, after: int, emit: Emit, until_s: float) -> Run | None:
        """Hand over every event behind `after`; the run as it ended, or None if that had not come by `until_s`
        (monotonic)."""
        while True:
            left_s = until_s - self._wiring.clock.monotonic_s()
            if left_s <= 0:
                return None
            kept = await self._wiring.runs.wait_events(run.id, after, min(left_s, LOOK_AGAIN_S))
            for each in kept:
                after = each.seq
                await emit(event_of(run, each))
                if ends(each) and (ended := await self._ended(run)):
                    return ended
            if kept or self._wiring.journal.executes(run.id):
                continue
            if ended := await self._ended(run):
                return await self._rest(ended, after, emit)

    async def _ended(self, run: Run) -> Run | None:
        """The run, if it has ended: one that was resumed has ends in its log that were none."""
        latest = await self._wiring.runs.find(run.tenant, run.id)
        if latest is None:
            return None
        latest = await self._runs.settled(latest)
        return latest if TaskState(latest.state).terminal else None

    async def _rest(self, run: Run, after: int, emit: Emit) -> Run:
        for each in await self._wiring.runs.events(run.id, after):
            await emit(event_of(run, each))
        return run
