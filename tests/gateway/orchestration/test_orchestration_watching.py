"""Whoever follows a run that says nothing for long: what that costs, and that its end is not missed."""

from dataclasses import dataclass, field
from typing import cast

import anyio
import pytest

from adapters.system import SystemClock
from gateway.core.model import ignore_event
from gateway.core.ports.runs import Run
from gateway.orchestration.runs import watching as module
from gateway.orchestration.runs.seen import Runs
from gateway.orchestration.runs.watching import Watching
from gateway.orchestration.wiring import Wiring
from gateway.testing.stores.runs import MemoryRuns

pytestmark = pytest.mark.anyio

RUN = Run(
    id="run_1",
    tenant="default",
    owner="ana",
    workflow="long",
    context_id="ctx_1",
    state="working",
    created_at_us=1,
    updated_at_us=1,
)


@dataclass(slots=True)
class Journal:
    """What `Watching` asks of one."""

    here: bool
    asked: int = 0

    def executes(self, run_id: str) -> bool:
        return self.here


@dataclass(slots=True)
class World:
    journal: Journal
    runs: MemoryRuns = field(default_factory=MemoryRuns)
    clock: SystemClock = field(default_factory=SystemClock)

    async def settled(self, run: Run) -> Run:
        self.journal.asked += 1
        return run


@pytest.mark.parametrize(("here", "asks"), [(True, False), (False, True)])
async def test_the_engine_is_asked_for_runs_of_other_processes_only(
    monkeypatch: pytest.MonkeyPatch, here: bool, asks: bool
) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.01)
    world = World(Journal(here))
    await world.runs.open(RUN)
    watching = Watching(cast("Wiring", world), cast("Runs", world))
    assert await watching.follow(RUN, 0, ignore_event, world.clock.monotonic_s() + 0.2) is None
    assert (world.journal.asked > 0) is asks


async def test_a_run_that_ended_here_without_a_word_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.01)
    world = World(Journal(here=True))
    await world.runs.open(RUN)
    watching = Watching(cast("Wiring", world), cast("Runs", world))
    ended: list[Run | None] = []

    async def follow() -> None:
        ended.append(await watching.follow(RUN, 0, ignore_event, world.clock.monotonic_s() + 60))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as watchers:
            watchers.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            await world.runs.update("run_1", state="failed", at_us=5, error="the process died")
            world.journal.here = False
    assert [run and run.state for run in ended] == ["failed"]
