"""Steps that go on beside the pattern: which ends first is journaled, what nobody waits for is stopped."""

from dataclasses import dataclass

import anyio
import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject
from gateway.core.model import Complete
from gateway.core.ports.orchestration import Node, Outcome, Steps
from gateway.core.task import Task
from gateway.orchestration.settings.workflow import WorkflowSettings
from tests.fakes_orchestration import Asked, World, answer, told

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class FirstOf:
    """Asks three, takes the first good answer and drops the rest."""

    settings: JsonObject

    async def run(self, task: Task, steps: Steps) -> Outcome:
        for slug in ("slow", "quick", "bad"):
            await steps.begin(slug, Node(target=f"agent:{slug}", input={"n": slug}, part=slug))
        order: list[Json] = []
        while (found := await steps.finished()) is not None:
            name, result = found
            order.append([name, result.ok])
            if result.ok:
                break
        stopped = await steps.drop("slow", reason="another was quicker")
        return Outcome(text="done", value={"order": order, "stopped": [stopped.error, stopped.reason]})


@dataclass(slots=True)
class Forgetful:
    """Begins a step and does not wait for it."""

    settings: JsonObject

    async def run(self, task: Task, steps: Steps) -> Outcome:
        await steps.begin("slow", Node(target="agent:slow", input={}))
        assert await steps.finished(timeout_s=0.01) is None
        return Outcome(text="done")


@dataclass(slots=True)
class Misused:
    """Asks for what is not there."""

    settings: JsonObject

    async def run(self, task: Task, steps: Steps) -> Outcome:
        said: list[Json] = [await steps.finished() is None]
        await steps.begin("a", Node(target="agent:quick", input={}))
        for begin, name in ((True, "a"), (True, "no name"), (False, "b")):
            try:
                if begin:
                    await steps.begin(name, Node(target="agent:quick", input={}))
                else:
                    await steps.drop(name, reason="")
            except InvalidRequest as error:
                said.append(error.message)
        return Outcome(text="done", value=said)


def world(pattern: type[FirstOf] | type[Forgetful] | type[Misused]) -> World:
    around = World(patterns={"own": pattern}, workflows={"help": WorkflowSettings(pattern="own")})

    async def slow(asked: Asked) -> Json:
        await anyio.sleep_forever()
        return {}

    async def quick(asked: Asked) -> Json:
        return {"quick": True}

    async def bad(asked: Asked) -> Complete:
        await anyio.lowlevel.checkpoint()
        return answer("no")

    around.agents.answers |= {"agent:slow": slow, "agent:quick": quick, "agent:bad": bad}
    return around


async def test_the_first_good_answer_wins_and_the_rest_is_stopped() -> None:
    around = world(FirstOf)
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"order": [["quick", True]], "stopped": ["canceled", "another was quicker"]}
    [run] = around.runs.runs
    # Who was stopped was at work, and was called.
    assert around.runs.runs[run].usage.calls == 3
    assert {step.id.rpartition("/")[2]: step.state for step in await around.runs.steps(run)}["1"] == "canceled"
    assert [event.body["name"] for event in await around.runs.events(run) if event.body["kind"] == "artifact"][:1] == [
        "part-quick"
    ]


async def test_what_nobody_waits_for_is_stopped_with_the_run() -> None:
    around = world(Forgetful)
    async with around.up():
        result = told(await around.ask())
    assert result["steps"] == [
        {
            "id": result["steps"][0]["id"],  # pyright: ignore[reportArgumentType, reportCallIssue, reportIndexIssue, reportOptionalSubscript]
            "name": "slow",
            "target": "agent:slow",
            "ok": False,
            "error": "canceled",
            "reason": "the run had its answer",
        }
    ]


async def test_what_makes_no_sense_is_refused() -> None:
    around = world(Misused)
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == [
        True,
        "a step called a is under way already",
        "'no name' is no name of a step: letters, digits, _ and -, at most 40",
        "no step called b is under way",
    ]


@pytest.mark.parametrize("where", ["before", "unrecorded", "after"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_the_same_one_is_first_after_a_crash(number: int, where: str) -> None:
    around = world(FirstOf)
    died = False

    def crash(run_id: str, at: int, place: str) -> bool:
        nonlocal died
        if died or (at, place) != (number, where):
            return False
        died = True
        return True

    async with around.up(on_slot=crash) as (_, journal):
        await around.ask(meta={"return_immediately": True, "message_id": "m"})
        with anyio.move_on_after(60):
            await journal.crashed.wait()
    assert died
    async with around.up():
        result = told(await around.ask(meta={"message_id": "m"}))
    assert result["answer"] == {"order": [["quick", True]], "stopped": ["canceled", "another was quicker"]}
    assert len(around.agents.asked_of("agent:quick")) == 1
