"""What a nested run asks reaches whoever started the outermost one, and their answer reaches it."""

from collections.abc import Mapping
from dataclasses import dataclass

import anyio
import anyio.lowlevel
import pytest

from gateway.core.errors import Conflict
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.labels import CLEAN, Labels
from gateway.core.model import Complete, Result, principal
from gateway.core.ports.orchestration import Node, Outcome, Question, Steps
from gateway.core.task import Task
from tests.crashes import Scene
from tests.fakes_orchestration import Asked, World, asking, says, told

pytestmark = pytest.mark.anyio

BOSS = principal("bo", roles=frozenset({"boss"}))


class Asking:
    """Asks its caller what it was told to ask, or somebody with a role."""

    def __init__(self, settings: JsonObject) -> None:
        pass

    async def run(self, task: Task, steps: Steps) -> Outcome:
        words = task.message.text if task.message else ""
        said = await steps.ask(Question(prompt=words, role="boss" if words == "approve" else ""), timeout_s=20)
        return Outcome(text="done", value=[said.given, said.value, said.labels.to_json()])


@dataclass(slots=True)
class SideBySide:
    """Has several things asked at once, beside an agent."""

    nodes: Mapping[str, Node]

    async def run(self, task: Task, steps: Steps) -> Outcome:
        results = await steps.graph(self.nodes, limit=5)
        return Outcome(text="done", value={name: [each.answer, each.error] for name, each in results.items()})


async def never(asked: Asked) -> Json:
    await anyio.sleep_forever()


def world(nodes: Mapping[str, Node], **limits: object) -> World:
    scene = Scene(
        settings={"pattern": "side", "limits": {"max_depth": 3, **limits}},
        others={"inner": {"pattern": "asking"}},
        patterns={"side": lambda _: SideBySide(nodes), "asking": Asking},
        agents=lambda: {"agent:slow": never, "agent:a": says({"a": 1})},
    )
    return scene.world()


def asks(words: str) -> Node:
    return Node(target="workflow:inner", input={"message": words})


async def outer_in(around: World, state: str) -> str:
    """The id of the outer run, once it is in that state."""
    with anyio.fail_after(60):
        while True:
            for run in around.runs.runs.values():
                if run.workflow == "help" and run.state == state:
                    return run.id
            await anyio.lowlevel.checkpoint()


def said_of_questions(around: World, run_id: str) -> list[str]:
    bodies = [each.body for each in around.runs.log[run_id].values()]
    return [str(body.get("text")) for body in bodies if body.get("state") == "input_required"]


async def begun(around: World) -> str:
    await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
    return await outer_in(around, "input_required")


async def reply(around: World, run_id: str, words: str, labels: Labels = CLEAN) -> None:
    meta: JsonObject = {"task": run_id, "message_id": f"reply {words}", "return_immediately": True}
    await around.ask(words, meta=meta, labels=labels)


async def answers(around: World) -> JsonObject:
    return json_object(told(await around.ask("go", meta={"message_id": "m"}))["answer"])


async def test_the_callers_answer_reaches_the_nested_run_with_its_labels() -> None:
    around = world({"which": asks("which one?")})
    async with around.up():
        run_id = await begun(around)
        assert said_of_questions(around, run_id) == ["which: which one?"]
        await reply(around, run_id, "that", labels=Labels(untrusted=frozenset({"web"})))
        result = await around.ask("go", meta={"message_id": "m"})
    value: Json = [True, {"message": "that"}, {"untrusted": ["web"]}]
    assert told(result)["answer"] == {"which": [value, ""]}
    assert isinstance(result, Complete)
    assert result.labels == Labels(untrusted=frozenset({"web"}))


async def test_of_several_that_ask_one_is_heard_at_a_time() -> None:
    around = world({"x": asks("x?"), "y": asks("y?")})
    async with around.up():
        for _ in range(2):
            run_id = await outer_in(around, "input_required") if around.runs.runs else await begun(around)
            await anyio.wait_all_tasks_blocked()
            asked = said_of_questions(around, run_id)[-1]
            await reply(around, run_id, f"to {asked}")
            while said_of_questions(around, run_id)[-1] == asked and around.runs.runs[run_id].state != "completed":
                await anyio.lowlevel.checkpoint()
        said = await answers(around)
    assert {name: json_object(json_list_of(each)[1]) for name, each in said.items()} == {
        "x": {"message": "to x: x?"},
        "y": {"message": "to y: y?"},
    }


def json_list_of(value: Json) -> list[Json]:
    assert isinstance(value, list)
    first = value[0]
    assert isinstance(first, list)
    return first


@pytest.mark.parametrize("words", ["which?", "approve"])
async def test_the_time_of_a_step_stands_still_while_its_run_waits_for_people(words: str) -> None:
    around = world({"asks": asks(words), "slow": Node(target="agent:slow", input={})}, timeout_s=2)
    async with around.up() as (orchestrator, _):
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        with anyio.fail_after(60):
            while not any(step.state == "timeout" for step in around.runs.kept_steps.values()):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        [inner] = [run for run in around.runs.runs.values() if run.workflow == "inner"]
        if words == "approve":
            await orchestrator.approving.answer(BOSS, f"{inner.id}.q1", "approved")
        else:
            await reply(around, await outer_in(around, "input_required"), "that")
        said = await answers(around)
    assert json_object(said)["slow"] == [None, "timeout"]
    assert json_list_of(said["asks"])[0] is True


async def test_nobody_answering_is_bounded_by_the_outer_run() -> None:
    around = world({"asks": asks("which?")}, timeout_s=2, deadline_s=3)
    async with around.up():
        said = await answers(around)
    assert said == {"asks": [None, "deadline"]}
    assert {run.workflow: run.state for run in around.runs.runs.values()} == {"help": "completed", "inner": "canceled"}


async def test_a_question_is_over_with_its_run_and_cannot_be_answered_then() -> None:
    around = world({"asks": asks("which?")})
    async with around.up() as (orchestrator, _):
        run_id = await begun(around)
        await orchestrator.control.cancel(run_id)
        with pytest.raises(Conflict):
            await reply(around, run_id, "that")
    assert {run.workflow: run.state for run in around.runs.runs.values()} == {"help": "canceled", "inner": "canceled"}


async def asks_once(asked: Asked) -> "Result | Json":
    return {"said": asked.input.get("message")} if asked.request.meta.get("task") else asking("which one?")


async def test_what_an_agent_asks_is_put_to_the_caller_and_answered_in_its_task() -> None:
    around = world({"which": Node(target="agent:asks", input={})})
    around.agents.answers["agent:asks"] = asks_once
    async with around.up():
        run_id = await begun(around)
        assert said_of_questions(around, run_id) == ["which: which one?"]
        await reply(around, run_id, "that", Labels(untrusted=frozenset({"web"})))
        result = await around.ask("go", meta={"message_id": "m"})
    assert told(result)["answer"] == {"which": [{"said": "that"}, ""]}
    assert isinstance(result, Complete)
    assert result.labels == Labels(untrusted=frozenset({"web"}))
    first, second = around.agents.deliveries
    message = first.meta["message_id"]
    assert (second.meta["task"], second.meta["message_id"]) == (f"task {message}", f"{message}.1")
    assert second.meta["context_id"] == first.meta["context_id"]


async def test_an_agents_question_is_answered_once() -> None:
    around = world({"which": Node(target="agent:asks", input={})})
    around.agents.answers["agent:asks"] = asks_once
    async with around.up():
        run_id = await begun(around)
        await reply(around, run_id, "that")
        await reply(around, run_id, "that")
        with pytest.raises(Conflict):
            await reply(around, run_id, "this")
        assert await answers(around) == {"which": [{"said": "that"}, ""]}


async def test_an_agent_nobody_answers_has_failed_asking_and_its_time_stood_still() -> None:
    around = world({"which": Node(target="agent:asks", input={})}, timeout_s=2, ask_timeout_s=3)
    around.agents.answers["agent:asks"] = asks_once
    async with around.up():
        assert await answers(around) == {"which": [None, "input_required"]}
    assert around.runs.runs[next(iter(around.runs.runs))].state == "completed"
    assert [each.reason for each in around.runs.kept_steps.values()] == ["which one?: nobody answered it in time"]


async def test_an_agent_that_may_not_ask_has_failed_at_once() -> None:
    around = world({"which": Node(target="agent:asks", input={})}, ask_timeout_s=0)
    around.agents.answers["agent:asks"] = asks_once
    async with around.up():
        assert await answers(around) == {"which": [None, "input_required"]}
        [run_id] = around.runs.runs
        assert said_of_questions(around, run_id) == []
