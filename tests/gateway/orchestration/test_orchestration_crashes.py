"""A gateway that dies at any step of a run, at any of three instants, and the one that comes after it."""

from collections.abc import Callable
from dataclasses import dataclass

import anyio
import pytest

from gateway.core.errors import InDoubt
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.limits import Usage
from gateway.core.model import Complete, Request, Result
from gateway.core.ports.orchestration import Node, Outcome, Question, Steps
from gateway.core.task import Task
from gateway.orchestration.settings.workflow import WorkflowSettings
from tests import fakes_orchestration as fakes
from tests.crashes import INSTANTS, CrashAt, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, Asked, World, answer, failing, says, told

pytestmark = pytest.mark.anyio


def shipping() -> Scene:
    """Three agents that get in each other's way, and a planner; everything the supervisor knows."""
    settings = {
        "pattern": "supervisor",
        "planner": "triage",
        "agents": ["refunds", "replacements", "scheduling"],
        "synthesiser": "word",
        "propose": True,
    }

    async def refunds(asked: Asked) -> Json:
        substitute = json_object(json_object(asked.member["scratchpad"]).get("substitute")).get("value")
        amount = 50 if substitute is None else 10
        return {"amount": amount, "drawbridge": {"writes": {"refund": amount}, "summary": f"{amount} back"}}

    async def scheduling(asked: Asked) -> Json:
        refund = json_object(json_object(asked.member["scratchpad"]).get("refund")).get("value")
        return {"topic": f"refund of {refund}"}

    async def word(asked: Asked) -> Complete:
        return answer({}, text="All is well.", usage=Usage(tokens=5))

    agents: dict[str, Answering] = {
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
    return Scene(settings=settings, agents=lambda: agents)


def failing_stages() -> Scene:
    """Stages of which the last one fails, so that the ones before it are undone."""
    settings = {
        "pattern": "sequential",
        "stages": [
            {"agent": "a", "undo": {"tool": "undo/a"}},
            {"tool": "orders/find", "input": {"n": "$a.n", "of": "$a.none"}, "undo": {"tool": "undo/b"}},
            {"agent": "bad"},
        ],
    }

    async def bad(asked: Asked) -> Complete:
        return failing("no")

    agents: dict[str, Answering] = {
        "agent:a": says({"n": 1}, writes={"n": 1}),
        "tool:orders/find": says({"found": 1}),
        "agent:bad": bad,
        "tool:undo/a": says({}),
        "tool:undo/b": says({}),
    }
    return Scene(settings=settings, agents=lambda: agents, fails=True)


def nested() -> Scene:
    """A workflow that is a stage of another one."""
    return Scene(
        settings={
            "pattern": "sequential",
            "stages": [{"agent": "a"}, {"workflow": "inner"}, {"agent": "c"}],
            "limits": {"max_depth": 3},
        },
        others={"inner": {"pattern": "sequential", "stages": [{"agent": "b"}, {"tool": "orders/find"}]}},
        agents=lambda: {name: says({}) for name in ("agent:a", "agent:b", "agent:c", "tool:orders/find")},
    )


def asking() -> Scene:
    """A pattern that asks back, twice, and uses all the rest of what a pattern may."""

    class Asking:
        def __init__(self, settings: JsonObject) -> None:
            pass

        async def run(self, task: Task, steps: Steps) -> Outcome:
            first = await steps.ask(Question(prompt="which?"), timeout_s=60)
            entry = await steps.scratchpad.put("which", first.value, expected_version=0)
            claimed = await steps.scratchpad.claim("account:1", ttl_s=60)
            result = await steps.call(Node(target="agent:a", input={}, reads=("which",)))
            await steps.emit("half way", {"n": 1})
            steps.compensate("tool:undo/a", {})
            second = await steps.ask(Question(prompt="sure?"), timeout_s=60)
            seen = await steps.scratchpad.get("which")
            return Outcome(
                text="ok",
                value=[first.value, entry.version, claimed, result.value, second.value, seen is not None],
            )

    return Scene(
        settings={"pattern": "asking"},
        patterns={"asking": Asking},
        agents=lambda: {"agent:a": says({"n": 1})},
        replies=("that one", "yes"),
    )


def nested_asking() -> Scene:
    """The pattern that asks back, two levels down."""
    inner = asking()
    levels = {"pattern": "sequential", "limits": {"max_depth": 3}}
    return Scene(
        settings={**levels, "stages": [{"agent": "a"}, {"workflow": "mid"}], "limits": {"max_depth": 4}},
        others={"mid": {**levels, "stages": [{"workflow": "inner"}, {"agent": "a"}]}, "inner": inner.settings},
        patterns=inner.patterns,
        agents=inner.agents,
        replies=inner.replies,
    )


def agents_asking() -> Scene:
    """An agent that asks back twice, behind a nested run, between others."""

    async def asks(asked: Asked) -> "Result | Json":
        if not asked.request.meta.get("task"):
            return fakes.asking("which?")
        said = asked.input.get("message")
        return fakes.asking("sure?") if said == "that one" else {"said": said}

    levels = {"pattern": "sequential", "limits": {"max_depth": 3}}
    return Scene(
        settings={**levels, "stages": [{"agent": "a"}, {"workflow": "inner"}]},
        others={"inner": {"pattern": "sequential", "stages": [{"agent": "asks"}, {"agent": "b"}]}},
        agents=lambda: {"agent:a": says({}), "agent:asks": asks, "agent:b": says({})},
        replies=("that one", "yes"),
    )


SCENES: dict[str, Callable[[], Scene]] = {
    "supervisor": shipping,
    "sequential": failing_stages,
    "nested": nested,
    "asking": asking,
    "nested asking": nested_asking,
    "agents asking": agents_asking,
}


@pytest.mark.parametrize("where", INSTANTS)
@pytest.mark.parametrize("name", SCENES)
async def test_a_crash_at_any_step_changes_neither_the_answer_nor_what_was_done(name: str, where: Instant) -> None:
    await outlives_crashes(SCENES[name](), where)


async def test_what_depends_on_the_crash_does_not_pass_for_outliving_it() -> None:
    """The harness itself: a pattern that looks at anything but its steps is found out."""
    begun: list[str] = []

    class Counting:
        def __init__(self, settings: JsonObject) -> None:
            pass

        async def run(self, task: Task, steps: Steps) -> Outcome:
            begun.append(task.id)
            result = await steps.call(Node(target="agent:a", input={}))
            return Outcome(text="done", value=[begun.count(task.id), result.ok])

    scene = Scene(settings={"pattern": "p"}, patterns={"p": Counting}, agents=lambda: {"agent:a": says({})})
    with pytest.raises(AssertionError):
        await outlives_crashes(scene, "after")


async def test_a_step_under_way_at_a_crash_is_asked_for_and_not_sent_anew() -> None:
    around = shipping().world()
    crash = CrashAt(around, ("", 1), "unrecorded")
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
    around = shipping().world()
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
    async with around.up(on_slot=CrashAt(around, ("", 2), "before")) as (_, journal):
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
            said = await steps.ask(Question(prompt="which?"), timeout_s=60)
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
