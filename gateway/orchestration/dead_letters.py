"""What may be done with dead letters: look at them, let their runs go on where that is sound, let them go."""

from collections.abc import Sequence

from gateway.core.errors import Conflict, NotFound
from gateway.core.ports.dead_letters import DeadLetter
from gateway.core.ports.runs import Run
from gateway.orchestration.control import Control
from gateway.orchestration.forks import start
from gateway.orchestration.morgue import Morgue
from gateway.orchestration.wiring import Wiring


class DeadLetterOffice:
    """For operators of a tenant, whoever has checked that they are."""

    def __init__(self, wiring: Wiring, control: Control, morgue: Morgue) -> None:
        self._wiring = wiring
        self._control = control
        self._morgue = morgue

    async def list(self, tenant: str, *, workflow: str, settled: bool, limit: int) -> Sequence[DeadLetter]:
        """Newest first; without `settled` only those that wait for somebody."""
        return await self._wiring.dead_letters.list(tenant, workflow=workflow, settled=settled, limit=limit)

    async def find(self, tenant: str, run_id: str) -> DeadLetter:
        """Raises: NotFound."""
        letter = await self._wiring.dead_letters.find(tenant, run_id)
        if letter is None:
            raise NotFound(f"there is no dead letter of run {run_id}")
        return letter

    async def retry(self, tenant: str, run_id: str, *, by: str) -> DeadLetter:
        """Let it go on: the letter as it is then.

        A run that was given up or had no room goes on itself. One that failed has told its end: a new run goes on in
        its place, see `Forks.retried`.

        Raises: NotFound; Conflict: it was retried or dropped before; Exhausted; Unavailable.
        """
        letter, run = await self._open(tenant, run_id)
        match letter.cause:
            case "failed":
                retried = (await self._control.retried(run.id)).id
            case "dead":
                await self._control.resume(run.id)
                retried = run.id
            case "rejected":
                await self._begin(run)
                retried = run.id
        await self._morgue.gone_on(run, by=by, retried_as=retried)
        return await self.find(tenant, run_id)

    async def drop(self, tenant: str, run_id: str, *, by: str) -> DeadLetter:
        """Let it go: somebody has seen it. Raises: NotFound; Conflict: it was retried or dropped before."""
        await self._open(tenant, run_id)
        await self._wiring.dead_letters.settle(tenant, run_id, "dropped", at_us=self._wiring.clock.now_us(), by=by)
        return await self.find(tenant, run_id)

    async def _open(self, tenant: str, run_id: str) -> tuple[DeadLetter, Run]:
        letter = await self.find(tenant, run_id)
        if letter.state != "open":
            raise Conflict(f"run {run_id} was {letter.state} before", detail={"state": letter.state})
        run = await self._wiring.runs.find(tenant, run_id)
        if run is None:
            raise NotFound(f"nothing is kept of run {run_id} but its dead letter")
        return letter, run

    async def _begin(self, run: Run) -> None:
        """A run there was no room for. Its clock begins now. Raises: Exhausted: there still is none."""
        runs, at_us = self._wiring.runs, self._wiring.clock.now_us()
        await runs.hold(run.id, at_us - run.created_at_us)
        await start(self._wiring, run)
        await runs.update(run.id, state="working", at_us=at_us)
