"""A gateway that dies at any instant of a run, and the one that comes after it: any pattern can be held to it.

SCENE = Scene(settings={"pattern": "router", ...}, agents=lambda: {"agent:a": says({})})

@pytest.mark.parametrize("where", INSTANTS)
async def test_routing_survives_every_crash(where: Instant) -> None:
    await outlives_crashes(SCENE, where)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeAlias

import anyio

from adapters.durable.memory import Where
from gateway.core.json import Json, JsonObject
from gateway.core.model import Complete, Event, Result, StatusChanged
from gateway.core.ports.orchestration import PatternType
from gateway.core.task import TaskState
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.plugins import load_patterns
from tests.fakes_orchestration import Answering, World, told

Instant: TypeAlias = Literal["before", "unrecorded", "after", "everywhere"]
"""Before a step acts; when its effect is there and its record is not; after it was recorded; at all of these in turn,
so that every process gets one instant further than the one before it."""
INSTANTS: tuple[Instant, ...] = ("before", "unrecorded", "after", "everywhere")

Place: TypeAlias = tuple[str, int]
"""(run, slot): the outermost run is ``, a nested one the step that it is, `/3`."""

_installed = cache(load_patterns)
"""Found once: a scene has a world for each instant at which its gateway may die."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A workflow at work. What its agents answer may depend on nothing but what they are asked."""

    settings: Mapping[str, Any]
    """As in the configuration: `{"pattern": "sequential", "stages": [...]}`."""
    agents: Callable[[], Mapping[str, Answering]]
    """Who answers, by target; asked for once for each world, so that an answer may count its questions."""
    message: str = "go"
    data: Json = None
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Settings of further workflows, by slug, which the first may call."""
    patterns: Mapping[str, PatternType] = field(default_factory=dict[str, PatternType])
    """Patterns that no entry point offers."""
    replies: tuple[str, ...] = ()
    """What the caller answers to the run's questions, in turn."""
    fails: bool = False
    """Whether the run is meant to fail: one that fails by mistake would outlive every crash."""
    same_log: bool = True
    """Whether what is told of the run is the same too; not where it depends on who of several was first."""

    def world(self) -> World:
        named = {"help": self.settings, **self.others}
        workflows = {slug: WorkflowSettings.model_validate(said) for slug, said in named.items()}
        installed = {each.pattern for each in workflows.values()} - self.patterns.keys()
        around = World(patterns={**_installed(frozenset(installed)), **self.patterns}, workflows=workflows)
        around.agents.answers |= self.agents()
        return around


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a scene went: all that has to be the same, however often the gateway died meanwhile. Without ids."""

    answer: Json
    failed: bool
    done: tuple[tuple[str, str], ...]
    """Everything that was really done: target and phase."""
    log: tuple[str, ...]


async def outlives_crashes(scene: Scene, where: Instant) -> None:
    """Crash the scene at every slot of every run in it, and hold each course to the undisturbed one."""
    expected, places = await undisturbed(scene)
    assert places, "a run without a step proves nothing"
    if where == "everywhere":
        around = scene.world()
        crash = CrashEverywhere(around)
        while await dies(scene, around, crash):
            pass
        assert {place for place, _ in crash.seen} >= set(places), "it did not die at each of its steps"
        assert await course(scene, around) == expected
        return
    for place in places:
        around = scene.world()
        crash = CrashAt(around, place, where)
        assert await dies(scene, around, crash), f"the run did not come to {place}, {where}"
        assert await course(scene, around) == expected, (place, where)


async def undisturbed(scene: Scene) -> tuple[Course, list[Place]]:
    """How it goes when nothing happens, and the places at which something could."""
    around = scene.world()
    calm = await course(scene, around)
    assert calm.failed == scene.fails, calm.answer
    return calm, [(_named(around, run), number) for run, entry in around.entries.items() for number in entry.slots]


async def dies(scene: Scene, around: World, crash: Callable[[str, int, Where], bool]) -> bool:
    """Run one gateway process; whether it died before the scene was over."""
    async with around.up(on_slot=crash) as (_, journal), anyio.create_task_group() as group:

        async def to_the_end() -> None:
            await _ask(scene, around)
            group.cancel_scope.cancel()

        group.start_soon(to_the_end)
        await journal.crashed.wait()
        group.cancel_scope.cancel()
    return journal.crashed.is_set()


async def course(scene: Scene, around: World) -> Course:
    """How the scene went, once the next process has brought it to its end."""
    async with around.up():
        result = await _ask(scene, around)
        assert isinstance(result, Complete), result
        runs = around.runs.runs
        assert all(TaskState(run.state).terminal for run in runs.values()), "a run has no end"
        assert around.open_steps.steps == {}, "a step is open still, and its token good"
        assert "running" not in {step.state for step in around.runs.kept_steps.values()}, "a step is shown at work"
        assert around.scratch.claims == {}, "a claim outlives its run"
        return Course(
            answer=_without_ids(told(result), around),
            failed=result.is_error,
            done=tuple(sorted((asked.target, asked.phase) for asked in around.agents.asked)),
            log=_log(around) if scene.same_log else (),
        )


@dataclass(slots=True)
class CrashAt:
    """The instant at which the gateway dies, once."""

    around: World
    place: Place
    where: Where
    happened: bool = False

    def __call__(self, run_id: str, number: int, where: Where) -> bool:
        if self.happened or where != self.where or (_named(self.around, run_id), number) != self.place:
            return False
        self.happened = True
        return True


@dataclass(slots=True)
class CrashEverywhere:
    """Each instant kills one process."""

    around: World
    seen: set[tuple[Place, Where]] = field(default_factory=set[tuple[Place, Where]])

    def __call__(self, run_id: str, number: int, where: Where) -> bool:
        instant = ((_named(self.around, run_id), number), where)
        if instant in self.seen:
            return False
        self.seen.add(instant)
        return True


async def _ask(scene: Scene, around: World) -> Result:
    """Ask the scene's question, or what became of it, and answer when asked back."""

    async def reply(event: Event) -> None:
        if not isinstance(event, StatusChanged) or event.state is not TaskState.INPUT_REQUIRED:
            return
        # The events of earlier processes come again; what counts is the question that is open now.
        run, log = around.runs.runs[event.task_id], around.runs.log[event.task_id]
        asked = [each for each in log.values() if each.body.get("state") == TaskState.INPUT_REQUIRED.value]
        if run.state == TaskState.INPUT_REQUIRED.value:
            meta: JsonObject = {"task": run.id, "message_id": f"reply {len(asked)}", "return_immediately": True}
            await around.ask(scene.replies[len(asked) - 1], meta=meta)

    return await around.ask(scene.message, data=scene.data, meta={"message_id": "m"}, emit=reply, seconds=20.0)


def _log(around: World) -> tuple[str, ...]:
    """What was told, in no order: steps side by side end as they like. Numbered without a gap."""
    said: list[str] = []
    for run_id, log in around.runs.log.items():
        assert [event.seq for event in log.values()] == list(range(1, len(log) + 1)), run_id
        said += [f"{_named(around, run_id)} {_without_ids(event.body, around)}" for event in log.values()]
    return tuple(sorted(said))


def _named(around: World, run_id: str) -> str:
    """The run's name in every world: ids differ, the step that a nested run is does not."""
    run = around.runs.runs[run_id]
    parent, step = str(run.spec.get("parent_run") or ""), str(run.spec.get("parent_step") or "")
    return f"{_named(around, parent)}{step.removeprefix(parent)}" if parent else ""


def _without_ids(value: Json, around: World) -> Json:
    """The value with every run's own id replaced by its name."""
    if isinstance(value, str):
        for run_id in around.runs.runs:
            value = value.replace(run_id, f"RUN{_named(around, run_id)}")
        return value
    if isinstance(value, list):
        return [_without_ids(each, around) for each in value]
    if isinstance(value, dict):
        return {key: _without_ids(each, around) for key, each in value.items()}
    return value
