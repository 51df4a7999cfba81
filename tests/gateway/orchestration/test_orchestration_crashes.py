"""A gateway that dies at any step of a run, at any of three instants, and the one that comes after it."""

from collections.abc import Callable
from dataclasses import dataclass

import anyio
import pytest

from adapters.durable.memory import Where
from gateway.core.errors import InDoubt
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.limits import Usage
from gateway.core.model import Accepted, Complete, Request
from gateway.core.ports.orchestration import Node, Outcome, PatternType, Question, Steps
from gateway.core.task import Task
from gateway.orchestration.settings import WorkflowSettings
from gateway.patterns.sequential import Sequential
from gateway.patterns.supervisor import Supervisor
from tests.fakes_orchestration import Asked, World, answer, failing, says, told

pytestmark = pytest.mark.anyio

PATTERNS: dict[str, PatternType] = {"sequential": Sequential, "supervisor": Supervisor}


def shipping() -> World:
    """Three agents that get in each other's way, and a planner; everything the supervisor knows."""
    settings = WorkflowSettings.model_validate(
        {
            "pattern": "supervisor",
            "planner": "triage",
            "agents": ["refunds", "replacements", "scheduling"],
            "synthesiser": "word",
            "propose": True,
        }
    )
    around = World(patterns=PATTERNS, workflows={"help": settings})

    async def refunds(asked: Asked) -> Json:
        substitute = json_object(json_object(asked.member["scratchpad"]).get("substitute")).get("value")
        amount = 50 if substitute is None else 10
        return {"amount": amount, "drawbridge": {"writes": {"refund": amount}, "summary": f"{amount} back"}}

    async def scheduling(asked: Asked) -> Json:
        refund = json_object(json_object(asked.member["scratchpad"]).get("refund")).get("value")
        return {"topic": f"refund of {refund}"}

    async def word(asked: Asked) -> Complete:
        return answer({}, text="All is well.", usage=Usage(tokens=5))

    around.agents.answers |= {
        "agent:triage": says(
            {
                "steps": [
                    {"id": "refund", "agent": "refunds", "reads": ["substitute"]},
                    {"id": "replace", "agent": "replacements"},
                    {"id": "call", "agent": "scheduling", "reads": ["refund"], "after": ["replace"]},
                ]
            }
        ),
        "agent:refunds": refunds,
        "agent:replacements": says({"sku": "B2"}, writes={"substitute": "B2"}),
        "agent:scheduling": scheduling,
        "agent:word": word,
    }
    return around


def failing_stages() -> World:
    """Stages of which the last one fails, so that the ones before it are undone."""
    settings = WorkflowSettings.model_validate(
        {
            "pattern": "sequential",
            "stages": [
                {"agent": "a", "undo": {"tool": "undo/a"}},
                {"tool": "orders/find", "input": {"n": "$a.n"}, "undo": {"tool": "undo/b"}},
                {"agent": "bad"},
            ],
        }
    )
    around = World(patterns=PATTERNS, workflows={"help": settings})

    async def bad(asked: Asked) -> Complete:
        return failing("no")

    around.agents.answers |= {
        "agent:a": says({"n": 1}, writes={"n": 1}),
        "tool:orders/find": says({"found": 1}),
        "agent:bad": bad,
        "tool:undo/a": says({}),
        "tool:undo/b": says({}),
    }
    return around


@dataclass(slots=True)
class CrashAt:
    """The instant at which the gateway dies, once."""

    number: int
    where: Where
    happened: bool = False

    def __call__(self, run_id: str, number: int, where: Where) -> bool:
        if self.happened or (number, where) != (self.number, self.where):
            return False
        self.happened = True
        return True


def without_ids(value: Json, run_id: str) -> Json:
    """The answer with the run's own id taken out of it."""
    if isinstance(value, str):
        return value.replace(run_id, "RUN")
    if isinstance(value, list):
        return [without_ids(each, run_id) for each in value]
    if isinstance(value, dict):
        return {key: without_ids(each, run_id) for key, each in value.items()}
    return value


async def undisturbed(build: Callable[[], World]) -> tuple[World, Json, int]:
    """How it ends when nothing happens, and in how many slots."""
    around = build()
    async with around.up() as (_, journal):
        result = await around.ask("go")
        [run_id] = around.runs.runs
        slots = max(journal.entries[run_id].slots)
    assert isinstance(result, Complete)
    return around, without_ids(told(result), run_id), slots


@pytest.mark.parametrize("where", ["before", "unrecorded", "after"])
@pytest.mark.parametrize("build", [shipping, failing_stages])
async def test_a_crash_at_any_step_changes_neither_the_answer_nor_what_was_done(
    build: Callable[[], World], where: Where
) -> None:
    calm, expected, slots = await undisturbed(build)
    done = sorted((asked.target, asked.phase) for asked in calm.agents.asked)
    calm_log = [body for _, body in events_of(calm)]
    for number in range(1, slots + 1):
        around = build()
        crash = CrashAt(number, where)
        async with around.up(on_slot=crash) as (_, journal):
            accepted = await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
            assert isinstance(accepted, Accepted)
            with anyio.move_on_after(2):
                await journal.crashed.wait()
        assert crash.happened, (number, where)
        async with around.up():
            result = await around.ask("go", meta={"message_id": "m"})
        run_id = accepted.task.id
        assert without_ids(told(result), run_id) == expected, (number, where)
        assert sorted((asked.target, asked.phase) for asked in around.agents.asked) == done, (number, where)
        assert around.open_steps.steps == {}
        states = {step.state for step in around.runs.kept_steps.values()}
        assert "running" not in states
        assert sorted(str(body) for _, body in events_of(around)) == sorted(map(str, calm_log)), (number, where)
        assert [seq for seq, _ in events_of(around)] == list(range(1, len(calm_log) + 1))


def events_of(around: World) -> list[tuple[int, Json]]:
    [run_id] = around.runs.runs
    return [(event.seq, without_ids(event.body, run_id)) for event in around.runs.log[run_id].values()]


async def test_a_step_under_way_at_a_crash_is_asked_for_and_not_sent_anew() -> None:
    around = shipping()
    crash = CrashAt(1, "unrecorded")
    async with around.up(on_slot=crash) as (_, journal):
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        await journal.crashed.wait()
    async with around.up():
        await around.ask("go", meta={"message_id": "m"})
    first, second = [each for each in around.agents.deliveries if each.capability == "agent:triage"]
    assert "resume" not in first.meta
    assert second.meta["resume"] == {"task": f"task {first.meta['message_id']}"}
    assert second.meta["message_id"] == first.meta["message_id"]


async def test_a_step_nobody_can_vouch_for_is_in_doubt_and_not_repeated() -> None:
    around = shipping()
    tries: list[Request] = []

    async def forgetful(asked: Asked) -> Json:
        tries.append(asked.request)
        if "resume" in asked.request.meta:
            raise InDoubt("nobody knows")
        await anyio.sleep_forever()
        return {}

    around.agents.answers["agent:replacements"] = forgetful
    async with around.up():
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        while not tries:
            await anyio.lowlevel.checkpoint()
    async with around.up():
        result = told(await around.ask("go", meta={"message_id": "m"}))
    gaps = result["gaps"]
    assert isinstance(gaps, list)
    assert [json_object(gap)["error"] for gap in gaps] == ["in_doubt", "skipped"]
    assert len(tries) == 2


async def test_a_pattern_that_does_something_else_after_a_crash_is_stopped_loudly() -> None:
    order = ["a", "b"]

    @dataclass(slots=True)
    class Fickle:
        async def run(self, task: Task, steps: Steps) -> Outcome:
            for slug in order:
                await steps.call(Node(target=f"agent:{slug}", input={}))
            return Outcome(text="done")

    settings = WorkflowSettings.model_validate({"pattern": "fickle"})
    around = World(patterns={"fickle": lambda _: Fickle()}, workflows={"help": settings})
    around.agents.answers |= {"agent:a": says({}), "agent:b": says({})}
    async with around.up(on_slot=CrashAt(2, "before")) as (_, journal):
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        await journal.crashed.wait()
    order.reverse()
    async with around.up():
        result = await around.ask("go", meta={"message_id": "m"})
    assert isinstance(result, Complete)
    assert result.is_error
    assert "not deterministic" in str(told(result)["error"]) or "place 1" in str(told(result)["error"])


async def test_a_question_survives_a_crash_and_is_asked_once() -> None:
    class Asking:
        async def run(self, task: Task, steps: Steps) -> Outcome:
            said = await steps.ask(Question(prompt="which?"), timeout_s=5)
            return Outcome(text="ok", value=said.value)

    settings = WorkflowSettings.model_validate({"pattern": "asking"})
    around = World(patterns={"asking": lambda _: Asking()}, workflows={"help": settings})
    async with around.up():
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        [run_id] = around.runs.runs
        while around.runs.runs[run_id].state != "input_required":
            await anyio.lowlevel.checkpoint()
    async with around.up():
        result = await around.ask("that one", meta={"task": run_id, "message_id": "m2"})
        assert told(result)["answer"] == {"message": "that one"}
    log: list[JsonObject] = [event.body for event in around.runs.log[run_id].values()]
    assert [body["state"] for body in log if body["kind"] == "status"].count("input_required") == 1
