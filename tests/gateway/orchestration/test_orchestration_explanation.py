"""The questions asked of a run, answered from what is kept of it."""

import anyio
import pytest

from gateway.cli.run_forms import mermaid
from gateway.core.json import Json, json_list, json_object, json_text
from gateway.core.model import Complete
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.sequential.pattern import Sequential
from gateway.patterns.supervisor.pattern import Supervisor
from tests.crashes import Scene
from tests.fakes_orchestration import ANA, Asked, World, failing, says
from tests.gateway.orchestration.test_orchestration_forks import ShiftedClock

pytestmark = pytest.mark.anyio


async def fails(asked: Asked) -> Complete:
    return failing("the press is broken")


def world() -> World:
    """A supervisor over an agent, and over another workflow in which something fails."""
    outer = {
        "pattern": "supervisor",
        "plan": [
            {"id": "read", "agent": "reader", "input": {"book": 7}},
            {"id": "print", "workflow": "press", "after": ["read"]},
            {"id": "bind", "agent": "binder", "after": ["print"]},
        ],
        "limits": {"max_rounds": 1},
    }
    inner = {"pattern": "sequential", "stages": [{"agent": "setter"}, {"agent": "printer"}]}
    around = World(
        patterns={"supervisor": Supervisor, "sequential": Sequential},
        workflows={
            "help": WorkflowSettings.model_validate(outer),
            "press": WorkflowSettings.model_validate(inner),
        },
    )
    around.agents.answers |= {
        "agent:reader": says({"text": "once"}, summary="read it"),
        "agent:setter": says({"set": True}),
        "agent:printer": fails,
        "agent:binder": says({}),
    }
    return around


async def explanation(around: World) -> dict[str, Json]:
    async with around.up() as (orchestrator, _):
        await around.ask("print the book")
        run_id = next(run.id for run in around.runs.runs.values() if run.workflow == "help")
        return await orchestrator.explaining.explain(ANA, run_id)


async def test_it_says_who_was_called_in_what_order_and_given_what() -> None:
    said = await explanation(world())
    assert said["agents"] == ["agent:reader", "workflow:press", "agent:setter", "agent:printer", "agent:binder"]
    steps = [json_object(each) for each in json_list(said["steps"])]
    assert [(each["target"], each["state"], each["depth"]) for each in steps] == [
        ("agent:reader", "ok", 0),
        ("workflow:press", "failed", 0),
        ("agent:setter", "ok", 1),
        ("agent:printer", "failed", 1),
        ("agent:binder", "skipped", 0),
    ]
    assert steps[0]["received"] == {"book": 7}
    assert steps[0]["summary"] == "read it"
    assert json_object(said["totals"])["steps"] == 5


async def test_it_says_where_the_failure_began_however_deep_and_what_followed() -> None:
    said = await explanation(world())
    failure = json_object(said["failure"])
    assert (failure["target"], failure["error"], failure["reason"]) == (
        "agent:printer",
        "failed",
        "the press is broken",
    )
    assert [json_text(each).rpartition("/")[2] for each in json_list(failure["within"])] == ["print"]


async def test_a_run_in_which_nothing_failed_has_no_failure() -> None:
    around = world()
    around.agents.answers["agent:printer"] = says({"printed": True})
    said = await explanation(around)
    assert said["failure"] is None
    assert json_object(said["run"])["state"] == "completed"


async def test_the_diagram_names_everybody_once_and_breaks_no_line() -> None:
    around = world()
    around.agents.answers["agent:reader"] = says({"text": "x"}, summary="one; two: #three\nfour -->> five")
    text = mermaid(await explanation(around))
    lines = text.splitlines()
    assert lines[0] == "sequenceDiagram"
    assert sum(line.strip().startswith("participant") for line in lines) == 6
    assert all(line == "sequenceDiagram" or line.startswith("    ") for line in lines)
    assert not [line for line in lines if ";" in line or "#" in line]
    assert any("--xW" in line for line in lines)


async def hangs(asked: Asked) -> Json:
    await anyio.sleep_forever()


async def test_a_step_that_was_dropped_when_time_was_up_is_where_the_failure_began() -> None:
    settings = {"pattern": "concurrent", "agents": ["quick", "slow"], "concurrent": {"gather_s": 2}}
    agents = {"agent:quick": says({"n": 1}), "agent:slow": hangs}
    said = await explanation(Scene(settings=settings, agents=lambda: agents).world())
    failure = json_object(said["failure"])
    assert (failure["target"], failure["error"], failure["consequences"]) == ("agent:slow", "deadline", [])
    assert json_object(said["totals"])["calls"] == 2


async def test_a_step_that_was_resumed_began_when_it_began() -> None:
    around = Scene(
        settings={"pattern": "sequential", "stages": [{"agent": "slow"}]}, agents=lambda: {"agent:slow": hangs}
    ).world()
    around.clock = clock = ShiftedClock()
    async with around.up():
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        with anyio.fail_after(60):
            while not any(step.remote_task for step in around.runs.kept_steps.values()):
                await anyio.lowlevel.checkpoint()
    [before] = around.runs.kept_steps.values()
    around.agents.answers["agent:slow"] = says({})
    clock.shift_s = 60
    async with around.up():
        await around.ask("go", meta={"message_id": "m"})
    [after] = around.runs.kept_steps.values()
    assert (after.state, after.started_at_us) == ("ok", before.started_at_us)
    assert after.duration_us >= 60_000_000
