"""Nested runs whose outer run does not want them any longer before it has learned of them."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import anyio
import pytest

from gateway.core.errors import Internal
from gateway.core.json import Json, JsonObject
from gateway.core.ports.journal import Journal
from gateway.core.ports.orchestration import Node, Outcome, Steps
from gateway.core.ports.runs import Moved, Run, RunStep, Told
from gateway.core.task import Task
from gateway.orchestration.wiring import Wiring
from gateway.testing.stores.runs import MemoryRuns
from tests.crashes import Scene
from tests.fakes_orchestration import Asked, World, says

pytestmark = pytest.mark.anyio

NESTED = Node(target="workflow:inner", input={"message": "do it"})


class Halting(MemoryRuns):
    """Has written something, and does not come to say so."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where
        self.reached = anyio.Event()

    async def open(self, run: Run) -> Run:
        opened = await super().open(run)
        if run.spec.get("parent_run"):
            await self._halt("opened")
        return opened

    async def tell(
        self,
        run_id: str,
        *,
        steps: Sequence[RunStep] = (),
        events: Sequence[Told] = (),
        moved: Moved | None = None,
        closed: Sequence[str] = (),
    ) -> None:
        if any(step.target == NESTED.target and step.remote_task for step in steps):
            await self._halt("told")
        await super().tell(run_id, steps=steps, events=events, moved=moved, closed=closed)

    async def _halt(self, where: str) -> None:
        if where == self.where and not self.reached.is_set():
            self.reached.set()
            await anyio.sleep_forever()


class Calling:
    """Has a nested run do everything, and waits for it."""

    def __init__(self, settings: JsonObject) -> None:
        pass

    async def run(self, task: Task, steps: Steps) -> Outcome:
        return Outcome(text=(await steps.call(NESTED)).text)


class Undoing(Calling):
    """Has something to undo before that."""

    async def run(self, task: Task, steps: Steps) -> Outcome:
        steps.compensate("agent:undo", {})
        return await super().run(task, steps)


class Dropping(Calling):
    """Does not want it any longer once the test says so."""

    reached: anyio.Event

    async def run(self, task: Task, steps: Steps) -> Outcome:
        await steps.begin("nested", NESTED)
        await self.reached.wait()
        return Outcome(text=(await steps.drop("nested", reason="not wanted")).error)


class Working:
    def __init__(self, settings: JsonObject) -> None:
        pass

    async def run(self, task: Task, steps: Steps) -> Outcome:
        return Outcome(text=(await steps.call(Node(target="agent:slow", input={}))).text)


def world(pattern: type[Calling], at_work: anyio.Event) -> World:
    """`at_work` is set when somebody is at work for the nested run, who never ends."""

    async def never(asked: Asked) -> Json:
        at_work.set()
        await anyio.sleep_forever()

    scene = Scene(
        settings={"pattern": "outer", "limits": {"max_depth": 3}},
        others={"inner": {"pattern": "working"}},
        patterns={"outer": pattern, "working": Working},
        agents=lambda: {"agent:slow": never, "agent:undo": says("undone")},
    )
    return scene.world()


async def cancel(around: World) -> None:
    assert around.orchestrator is not None
    await around.orchestrator.control.cancel(run_of(around, "help").id)


async def leave_it(around: World) -> None:
    """The pattern gives the nested run up by itself."""


def run_of(around: World, workflow: str) -> Run:
    [run] = [run for run in around.runs.runs.values() if run.workflow == workflow]
    return run


GIVING_UP: list[tuple[str, type[Calling], Callable[[World], Awaitable[None]]]] = [
    ("canceled", Calling, cancel),
    ("canceled and undone", Undoing, cancel),
    ("dropped", Dropping, leave_it),
]


@pytest.mark.parametrize(("pattern", "give_up"), [each[1:] for each in GIVING_UP], ids=[each[0] for each in GIVING_UP])
@pytest.mark.parametrize("where", ["opened", "told"])
async def test_a_nested_run_does_not_go_on_that_was_given_up_as_it_was_opened(
    where: str, pattern: type[Calling], give_up: Callable[[World], Awaitable[None]]
) -> None:
    runs, at_work = Halting(where), anyio.Event()
    around = world(pattern, at_work)
    around.runs = runs
    Dropping.reached = at_work if where == "told" else runs.reached
    async with around.up() as (_, journal):
        await around.ask("go", meta={"return_immediately": True})
        await runs.reached.wait()
        if where == "told":
            await at_work.wait()
        await give_up(around)
        with suppress(Internal):  # it was canceled, and had nothing to undo
            await journal.wait(run_of(around, "help").id)
        nested = run_of(around, "inner")
        assert nested.state == "canceled"
        assert await journal.state(nested.id) in ("", "canceled")
        assert around.agents.canceled == ([f"task {nested.id}/1"] if where == "told" else [])


@pytest.mark.parametrize("canceled", [True, False])
async def test_a_nested_run_that_began_as_another_process_canceled_the_outer_one_is_told(canceled: bool) -> None:
    class Shared(World):
        def wiring(self, journal: Journal) -> Wiring:
            return replace(super().wiring(journal), alone=False)

    at_work = anyio.Event()
    around = world(Calling, at_work)
    around = Shared(patterns=around.patterns, workflows=around.workflows, agents=around.agents)
    async with around.up() as (_, journal):
        await around.ask("go", meta={"return_immediately": True})
        await at_work.wait()
        if canceled:
            # The other one has told everybody it knew of before; its word ends the run here.
            await journal.cancel(run_of(around, "help").id)
    # Where nobody did, the process has only come to its end.
    assert run_of(around, "inner").state == ("canceled" if canceled else "working")
