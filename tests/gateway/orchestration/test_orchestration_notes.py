"""What a run sees of the runs before and beside it."""

import anyio
import pytest

from gateway.core.json import Json, JsonObject
from gateway.core.model import principal
from gateway.core.ports.orchestration import Node, Note, Outcome, Steps
from gateway.core.task import Task
from gateway.orchestration.settings.workflow import WorkflowSettings
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Asked, World, says, told

pytestmark = pytest.mark.anyio

BEN = principal("ben", roles=frozenset({"support"}))


class Noting:
    """Tells what it finds, and leaves something for the next."""

    def __init__(self, settings: JsonObject) -> None:
        pass

    async def run(self, task: Task, steps: Steps) -> Outcome:
        shared, own = await steps.recall("seen", "all"), await steps.recall("seen", "own", whose="caller")
        many = await steps.recall("each", "all", limit=3)
        said = task.message.text if task.message else ""
        await steps.note(Note(topic="seen", key="all", value=said))
        await steps.note(Note(topic="seen", key="own", value=said, whose="caller"))
        await steps.note(Note(topic="each", key="all", value=said, id=task.id))
        return Outcome(text="ok", value=[[*shared], [*own], [*many]])


def world() -> World:
    return World(
        patterns={"noting": Noting}, workflows={each: WorkflowSettings(pattern="noting") for each in ("help", "other")}
    )


async def test_notes_are_for_later_runs_of_the_workflow_and_some_for_their_caller_only() -> None:
    around = world()
    async with around.up():
        await around.ask("one")
        await around.ask("two", who=BEN)
        anas = told(await around.ask("three"))["answer"]
        elsewhere = told(await around.ask("four", workflow="other"))["answer"]
    assert anas == [["two"], ["one"], ["two", "one"]]
    assert elsewhere == [[], [], []]


async def test_how_busy_an_agent_is_counts_every_run() -> None:
    reached, may_pass = anyio.Event(), anyio.Event()

    class Looking:
        def __init__(self, settings: JsonObject) -> None:
            pass

        async def run(self, task: Task, steps: Steps) -> Outcome:
            if task.message and task.message.text == "work":
                await steps.call(Node(target="agent:a", input={}))
            offers = await steps.offers(["agent:a"])
            return Outcome(text="ok", value=offers["agent:a"].busy)

    async def hold(asked: Asked) -> Json:
        reached.set()
        await may_pass.wait()
        return {}

    around = World(patterns={"looking": Looking}, workflows={"help": WorkflowSettings(pattern="looking")})
    around.agents.answers["agent:a"] = hold
    async with around.up(), anyio.create_task_group() as group:
        group.start_soon(around.ask, "work")
        await reached.wait()
        assert told(await around.ask("look"))["answer"] == 1
        may_pass.set()
    async with around.up():
        assert told(await around.ask("look"))["answer"] == 0


@pytest.mark.parametrize("where", INSTANTS)
async def test_what_was_seen_is_the_same_after_a_crash(where: Instant) -> None:
    scene = Scene(settings={"pattern": "noting"}, patterns={"noting": Noting}, agents=lambda: {"agent:a": says({})})
    await outlives_crashes(scene, where)
