"""How long runs are kept, and the job that forgets them: bounded in each round, and never one that is under way.

Rows of a run go last: a round that is cut off is begun again where it was. What effects and tasks at agents are
remembered by goes with the runs, but not while an older run is under way that may need it. What agents remember is for
later runs, and goes by the days of its memory; who prunes by hand may have it go with the runs it was remembered in.
"""

from collections.abc import Callable
from dataclasses import dataclass

import anyio
import structlog
from pydantic import BaseModel, ConfigDict, Field

from gateway.core.errors import GatewayError, Unavailable
from gateway.core.ports.retention import RunArchive
from gateway.core.task import TaskState
from gateway.orchestration.records.spec import spec_from_json
from gateway.orchestration.runs.seen import Runs
from gateway.orchestration.wiring import Wiring

log = structlog.get_logger(__name__)

DAY_US = 86_400_000_000
NEVER_BEGUN_US = 3_600_000_000
"""A run that was stored so long ago, and that the engine does not have, is not being opened any more."""
BETWEEN_FULL_ROUNDS_S = 1.0
"""How soon the next round follows one that left something to do."""


class RetentionSettings(BaseModel):
    """The section `retention` of the configuration: how long runs are kept once they have ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs_days: float = Field(default=30.0, ge=0)
    """Runs that completed or were canceled, and outcomes of effects, are kept for so many days; 0 for ever."""
    keep_failed_days: float = Field(default=90.0, ge=0)
    """Runs that failed, died or were rejected, dead letters among them, are kept for so many days; 0 for ever."""
    in_doubt_days: float = Field(default=365.0, ge=0)
    """Effects that were begun and whose outcome nobody knows are kept for so many days since the last try; 0 for ever.
    A call under the key of one that is forgotten is made anew."""
    interval_s: float = Field(default=3600.0, gt=0)
    """How often it is looked for what may go, seconds."""
    batch: int = Field(default=500, ge=1, le=5000)
    """Runs forgotten in one round, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a round has forgotten."""

    runs: int = 0
    effects: int = 0
    owners: int = 0
    memories: int = 0

    def __add__(self, other: "Pruned") -> "Pruned":
        return Pruned(
            runs=self.runs + other.runs,
            effects=self.effects + other.effects,
            owners=self.owners + other.owners,
            memories=self.memories + other.memories,
        )


class Retention:
    """One a process; several at work on the same rows do no harm."""

    def __init__(
        self, wiring: Wiring, runs: Runs, archive: RunArchive, settings: Callable[[], RetentionSettings]
    ) -> None:
        self._wiring = wiring
        self._runs = runs
        self._archive = archive
        self._settings = settings

    async def run(self) -> None:
        """Rounds, until canceled. One that fails is told of in the log; the next one is not the worse for it."""
        while True:
            full = False
            try:
                full = await self.round()
            except GatewayError as error:
                log.warning("runs were not forgotten as they should be", reason=error.message)
            await anyio.sleep(BETWEEN_FULL_ROUNDS_S if full else self._settings().interval_s)

    async def round(self) -> bool:
        """Settle what the engine gave up or never had, forget what is due; whether more than one round's worth was."""
        await self._settle()
        settings, now_us = self._settings(), self._wiring.clock.now_us()
        await self._reject(now_us - NEVER_BEGUN_US, settings.batch)
        pruned = Pruned()
        if settings.runs_days:
            before_us = now_us - int(settings.runs_days * DAY_US)
            pruned += await self._runs_ended(before_us, failed=False, tenant="", limit=settings.batch)
            pruned += await self._remembered(before_us, tenant="", limit=settings.batch)
        if settings.keep_failed_days:
            before_us = now_us - int(settings.keep_failed_days * DAY_US)
            pruned += await self._runs_ended(before_us, failed=True, tenant="", limit=settings.batch)
        if settings.in_doubt_days:
            before_us = await self._nobody_needs(now_us - int(settings.in_doubt_days * DAY_US))
            pruned += Pruned(effects=await self._archive.forget_in_doubt(before_us, limit=settings.batch))
        await self._archive.forget_notes(now_us, limit=settings.batch)
        self._report(pruned)
        await self._memories_lapsed()
        return max(pruned.runs, pruned.effects, pruned.owners) >= settings.batch

    async def prune(self, tenant: str, before_us: int, *, memories: bool = False) -> Pruned:
        """Forget, at once, every run of a tenant that ended before then, however it ended; with `memories`, what was
        remembered in them as well. Raises: Unavailable; UpstreamFailed: the engine of a memory."""
        pruned, limit = Pruned(), self._settings().batch
        while True:
            more = await self._runs_ended(before_us, failed=False, tenant=tenant, limit=limit, memories=memories)
            more += await self._runs_ended(before_us, failed=True, tenant=tenant, limit=limit, memories=memories)
            more += await self._remembered(before_us, tenant=tenant, limit=limit)
            pruned += more
            if more == Pruned():
                self._report(pruned)
                return pruned

    async def _memories_lapsed(self) -> None:
        """Have memories forget what is too old; whether they can is nothing to runs."""
        memories = self._wiring.memories
        try:
            count = 0 if memories is None else await memories.lapse()
        except GatewayError as error:
            log.warning("a memory did not forget what has lapsed", reason=error.message)
            return
        if count:
            log.info("forgotten", memories=count)

    async def _settle(self) -> None:
        """Write down the end of runs the engine has given up: nobody may have looked at them since."""
        seen = 0
        while given_up := await self._wiring.journal.given_up(seen):
            seen += len(given_up)
            for run_id in given_up:
                kept = await self._wiring.journal.spec(run_id)
                run = None if kept is None else await self._wiring.runs.find(spec_from_json(kept).tenant, run_id)
                if run is not None:
                    await self._runs.settled(run)

    async def _reject(self, before_us: int, limit: int) -> None:
        """Reject runs whose gateway died before the engine had them: as if under way for ever, they would keep what
        others may forget. Asked for again, each begins."""
        for run_id in await self._archive.submitted(before_us, limit=limit):
            try:
                begun = await self._wiring.journal.state(run_id)
            except Unavailable:
                return  # there is no engine, or not at the moment
            if not begun:
                await self._runs.stopped(run_id, TaskState.REJECTED, "the gateway died before the run began")

    async def _runs_ended(
        self, before_us: int, *, failed: bool, tenant: str, limit: int, memories: bool = False
    ) -> Pruned:
        run_ids = await self._archive.ended(before_us, failed=failed, tenant=tenant, limit=limit)
        if not run_ids:
            return Pruned()
        # Among them may be one that was canceled and undoes what it has done, or that somebody has just let go on.
        under_way = await self._wiring.journal.forget(run_ids)
        run_ids = tuple(each for each in run_ids if each not in under_way)
        kept = self._wiring.memories
        count = 0 if kept is None or not memories else await kept.forget_runs(tenant, run_ids)
        for run_id in run_ids:
            await self._wiring.scratch.forget(run_id)
        await self._archive.erase(run_ids)
        return Pruned(runs=len(run_ids), memories=count)

    async def _remembered(self, before_us: int, *, tenant: str, limit: int) -> Pruned:
        until_us = await self._nobody_needs(before_us)
        return Pruned(
            effects=await self._archive.forget_effects(until_us, tenant=tenant, limit=limit),
            owners=await self._archive.forget_owners(until_us, tenant=tenant, limit=limit),
        )

    async def _nobody_needs(self, before_us: int) -> int:
        """Then, or earlier where an older run is under way."""
        oldest_us = await self._archive.oldest_under_way_us()
        return before_us if oldest_us is None else min(before_us, oldest_us)

    def _report(self, pruned: Pruned) -> None:
        if pruned != Pruned():
            log.info(
                "forgotten",
                runs=pruned.runs,
                effects=pruned.effects,
                task_owners=pruned.owners,
                memories=pruned.memories,
            )
