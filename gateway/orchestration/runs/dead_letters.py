"""What may be done with dead letters: look at them, let their runs go on where that is sound, let them go."""

from collections.abc import Sequence

from gateway.core.errors import Conflict, GatewayError, NotFound
from gateway.core.ports.dead_letters import DeadLetter
from gateway.core.ports.runs import Run
from gateway.orchestration.running.dead_letter_queue import DeadLetterQueue
from gateway.orchestration.runs.control import Control
from gateway.orchestration.runs.forks import start
from gateway.orchestration.wiring import Wiring

CLAIM_US = 60_000_000
"""For how long somebody is taken to be at a letter; if their gateway dies meanwhile, another may be afterwards."""


class DeadLetterOffice:
    """For operators of a tenant, whoever has checked that they are."""

    def __init__(self, wiring: Wiring, control: Control, dead_letter_queue: DeadLetterQueue) -> None:
        self._wiring = wiring
        self._control = control
        self._dead_letter_queue = dead_letter_queue

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

        Raises: NotFound; Conflict: it was retried or dropped before, or somebody is at it; Exhausted; Unavailable.
        """
        letter, run = await self._open(tenant, run_id)
        new_run = self._wiring.ids.new("run") if letter.cause == "failed" else run.id
        letter = await self._claimed(letter, by=by, retried_as=new_run)
        try:
            await self._go_on(letter, run, by)
        except GatewayError:
            await self._wiring.dead_letters.release(tenant, run_id, claimed_at_us=letter.settled_at_us)
            raise
        await self._dead_letter_queue.gone_on(run, by=by, retried_as=letter.retried_as)
        return await self.find(tenant, run_id)

    async def drop(self, tenant: str, run_id: str, *, by: str) -> DeadLetter:
        """Let it go: somebody has seen it. Raises: NotFound; Conflict: it was retried or dropped before."""
        letter, _ = await self._open(tenant, run_id)
        await self._claimed(letter, by=by)
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

    async def _claimed(self, letter: DeadLetter, *, by: str, retried_as: str = "") -> DeadLetter:
        """The letter, for whoever gets it first. Raises: Conflict: somebody else did."""
        at_us = self._wiring.clock.now_us()
        claimed = await self._wiring.dead_letters.claim(
            letter.tenant, letter.run_id, at_us=at_us, before_us=at_us - CLAIM_US, by=by, retried_as=retried_as
        )
        if claimed is None:
            raise Conflict(f"somebody else is retrying or dropping run {letter.run_id}", retry_after_s=1.0)
        return claimed

    async def _go_on(self, letter: DeadLetter, run: Run, by: str) -> None:
        match letter.cause:
            case "failed":
                await self._control.retried(run.id, letter.retried_as)
            case "dead":
                await self._control.resume(run.id, by=by)
            case "rejected":
                await self._begin(run)

    async def _begin(self, run: Run) -> None:
        """A run there was no room for. Its clock begins now. Raises: Exhausted: there still is none."""
        runs, at_us = self._wiring.runs, self._wiring.clock.now_us()
        # All of it, however often it was tried: what an earlier try held counts.
        await runs.hold(run.id, at_us - run.created_at_us - run.held_us)
        await start(self._wiring, run)
        await runs.update(run.id, state="working", at_us=at_us)
