"""Nobody is asked the same twice in one run, however often a plan names it."""

import pytest

from gateway.core.json import Json, JsonObject
from gateway.core.ports.orchestration import PatternType
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.plan_execute.pattern import PlanExecute
from gateway.patterns.supervisor.pattern import Supervisor
from gateway.testing.agents import says
from gateway.testing.rehearsal import Stage, rehearse

pytestmark = pytest.mark.anyio

FIND: JsonObject = {"agent": "a", "input": {"instruction": "find A-1008"}}
TELL: JsonObject = {"agent": "b", "input": {"instruction": "tell"}}


@pytest.mark.parametrize(
    ("made", "settings"),
    [
        (Supervisor, {"pattern": "supervisor", "planner": "p", "agents": ["a", "b"]}),
        (PlanExecute, {"pattern": "plan_execute", "planner": "p", "executor": "a", "agents": ["b"]}),
    ],
)
async def test_work_a_plan_names_twice_is_done_once(made: PatternType, settings: JsonObject) -> None:
    steps: list[Json] = [
        {"id": "one", **FIND},
        {"id": "two", **FIND},
        {"id": "three", **TELL, "after": ["two"]},
        {"id": "four", **TELL, "after": ["one", "two"]},
        {"id": "other", "agent": "a", "input": {"instruction": "find A-1009"}},
        {"id": "later", **FIND, "after": ["other"]},
    ]
    agents = {"agent:p": says({"steps": steps}), "agent:a": says({"n": 1}), "agent:b": says({"told": True})}
    pattern = made(WorkflowSettings.model_validate(settings).to_json())
    seen = await rehearse(pattern, Stage(agents=agents))
    assert seen.outcome.error == ""
    assert len(seen.asked_of("agent:a")) == 3
    assert len(seen.asked_of("agent:b")) == 1
    assert [(each["chosen"], each["because"]) for each in seen.decisions("same")] == [
        ("two", "two is the work that one does"),
        ("four", "four is the work that three does"),
    ]
    assert seen.outcome.gaps == ()
