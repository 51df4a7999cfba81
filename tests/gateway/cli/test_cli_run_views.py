"""A run as a tree, a table and a diagram: what each answered, nested runs too, and whom it waits for."""

from io import StringIO

import anyio
import pytest
from rich.console import Console, RenderableType

from adapters.http.api_views import run_in_full
from gateway.cli.run_forms import mermaid, run_table
from gateway.cli.run_views import run_tree
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.model import principal
from gateway.core.ports.orchestration import Question, Steps
from gateway.core.task import Task
from gateway.orchestration.runs.explanation import explained as told
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.sequential.pattern import Sequential
from gateway.patterns.supervisor.pattern import Supervisor
from tests.fakes_orchestration import ANA, World, says
from tests.gateway.orchestration.test_orchestration_approvals import asked
from tests.gateway.orchestration.test_orchestration_explanation import fails
from tests.gateway.orchestration.test_orchestration_orchestrator import world as of_one_step

OPERATOR = principal("olga", kind="operator")

pytestmark = pytest.mark.anyio


def shown(view: RenderableType) -> str:
    console = Console(file=StringIO(), width=200)
    console.print(view)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


async def explained(around: World, workflow: str) -> tuple[JsonObject, JsonObject]:
    """The run as the API has it, and its explanation."""
    orchestrator = around.orchestrator
    assert orchestrator is not None
    run = next(each for each in around.runs.runs.values() if each.workflow == workflow)
    return run_in_full(run, await around.runs.steps(run.id)), await orchestrator.explaining.explain(ANA, run.id)


async def test_every_form_shows_what_was_answered_in_data_alone_however_deep() -> None:
    outer = {"pattern": "sequential", "stages": [{"agent": "reader"}, {"workflow": "press"}]}
    inner = {"pattern": "sequential", "stages": [{"agent": "setter"}]}
    around = World(
        patterns={"sequential": Sequential},
        workflows={
            "help": WorkflowSettings.model_validate(outer),
            "press": WorkflowSettings.model_validate(inner),
        },
    )
    around.agents.answers |= {"agent:reader": says({"pages": 77}), "agent:setter": says({"set": "in Garamond"})}
    async with around.up():
        await around.ask("print the book")
        run, explanation = await explained(around, "help")
    tree = shown(run_tree(run, {}, explanation))
    lines = [line for line in tree.splitlines() if "agent:" in line or "workflow:" in line]
    assert [line.split("ok  ")[1].split("  ")[0] for line in lines] == [
        "agent:reader",
        "workflow:press",
        "agent:setter",
    ]
    assert lines[2].startswith("    "), "it stands below the run it belongs to"
    for form in (tree, shown(run_table(explanation))):
        assert '{"pages": 77}' in form
        assert '{"set": "in Garamond"}' in form
    assert "Garamond" in mermaid(explanation)


async def test_two_stages_of_one_agent_are_told_apart_in_every_form() -> None:
    stages: list[Json] = [{"agent": "writer"}, {"agent": "writer", "name": "polish"}]
    settings = WorkflowSettings.model_validate({"pattern": "sequential", "stages": stages})
    around = World(patterns={"sequential": Sequential}, workflows={"help": settings})
    around.agents.answers["agent:writer"] = says({})
    async with around.up():
        await around.ask("a poem")
        run, explanation = await explained(around, "help")
    assert [json_object(each).get("name") for each in json_list(explanation["steps"])] == [None, "polish"]
    for form in (shown(run_tree(run, {}, explanation)), shown(run_table(explanation))):
        assert [line.count(" as polish ") for line in form.splitlines() if "agent:writer" in line] == [0, 1]
    diagram = mermaid(explanation)
    assert [line.count(" polish ") for line in diagram.splitlines() if "W->>" in line] == [0, 1]
    assert sum("participant" in line for line in diagram.splitlines()) == 2


async def test_every_form_says_what_was_handed_over_beside_a_steps_own_input() -> None:
    plan: list[Json] = [
        {"id": "quote", "agent": "seller"},
        {"id": "count", "agent": "stock", "input": {"shelf": 7}},
        {"id": "offer", "agent": "writer", "after": ["quote", "count"], "reads": ["replacement", "nowhere"]},
        {"id": "shelve", "agent": "seller", "after": ["broken"]},
        {"id": "broken", "agent": "broken", "after": ["offer"]},
    ]
    settings = WorkflowSettings.model_validate({"pattern": "supervisor", "plan": plan, "limits": {"max_rounds": 1}})
    around = World(patterns={"supervisor": Supervisor}, workflows={"help": settings})
    writes: JsonObject = {"drawbridge": {"writes": {"replacement": {"price": "a large value"}}}}
    around.agents.answers |= {"agent:seller": says(writes), "agent:stock": says({}), "agent:writer": says({})}
    around.agents.answers["agent:broken"] = fails
    async with around.up():
        await around.ask("what does it cost?")
        run, explanation = await explained(around, "help")
    steps = {json_text(each.get("name"), "broken"): each for each in map(json_object, json_list(explanation["steps"]))}
    assert steps["count"]["handed"] == {"request": ["text"]}
    assert json_object(steps["offer"]["handed"]) == {
        "request": ["text"],
        "results": ["quote", "count"],
        "scratchpad": ["replacement"],
    }
    assert "handed" not in steps["shelve"], "it was skipped, and received nothing"
    table, tree = shown(run_table(explanation)), shown(run_tree(run, {}, explanation))
    assert "the request; results: quote, count" in table
    assert "given the request; results: quote, count" in tree
    assert "the request, results quote, count" in mermaid(explanation)
    assert '{"shelf": 7} + the request' in table
    assert "scratchpad: replacement" in table
    assert "scratchpad: replacement" in tree


async def test_a_run_of_a_time_when_less_was_told_is_shown_with_its_steps_own_input() -> None:
    around = World(
        patterns={"sequential": Sequential},
        workflows={"help": WorkflowSettings.model_validate({"pattern": "sequential", "stages": [{"agent": "reader"}]})},
    )
    around.agents.answers["agent:reader"] = says({})
    async with around.up() as (orchestrator, _):
        await around.ask("read it")
        [run] = around.runs.runs.values()
        events = await around.runs.events(run.id)
        for each in events:
            json_object(each.body.get("detail")).pop("handed", None)
        tree = await orchestrator.runs.tree(ANA, run.id)
    [step] = [json_object(each) for each in json_list(told(tree, {run.id: events})["steps"])]
    assert (step["received"], "handed" in step) == ({}, False)


async def waiting(around: World, *waits: JsonObject) -> tuple[JsonObject, JsonObject]:
    """A run and its explanation, once it waits for those and nobody else."""
    with anyio.fail_after(60):
        while True:
            run, explanation = await explained(around, "help")
            if explanation["waits"] == [*waits]:
                return run, explanation
            await anyio.lowlevel.checkpoint()


async def test_a_run_that_waits_says_for_whom_and_what_it_asks() -> None:
    async def doing(task: Task, steps: Steps) -> Json:
        await steps.ask(Question(prompt="Pay it?", role="chief"), timeout_s=60)
        return (await steps.ask(Question(prompt="Which colour?"), timeout_s=60)).value

    around = of_one_step(doing)
    async with around.up() as (orchestrator, _):
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        approval = await asked(around)
        pay: JsonObject = {"for": "chief", "question": "Pay it?", "approval": approval.id}
        run, explanation = await waiting(around, pay)
        assert "waits for chief: Pay it?" in shown(run_tree(run, {}, explanation))
        await orchestrator.approving.answer(OPERATOR, approval.id, "approved", value=None)
        await around.ask("go", protocol="a2a", meta={"stream": False, "message_id": "m"})
        run, explanation = await waiting(around, {"for": "ana", "question": "Which colour?"})
        assert "waits for ana: Which colour?" in shown(run_tree(run, {}, explanation))
