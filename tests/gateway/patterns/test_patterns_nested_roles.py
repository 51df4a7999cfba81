"""Roles that other workflows fill: what counts is their answer, and not what their run says about itself."""

import pytest

from gateway.core.json import Json, json_list, json_object
from gateway.core.ports.orchestration import PatternType
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.concurrent.pattern import Concurrent
from gateway.patterns.consensus.pattern import Consensus
from gateway.patterns.event_driven.pattern import EventDriven
from gateway.patterns.plan_execute.pattern import PlanExecute
from gateway.patterns.sequential.pattern import Sequential
from gateway.patterns.supervisor.pattern import Supervisor
from gateway.testing.agents import Agent, Asked, Reply, in_turn, says
from gateway.testing.rehearsal import Rehearsal, Stage, rehearse

pytestmark = pytest.mark.anyio


def runs(answer: Json, **said: Json) -> Agent:
    """A workflow that answers so: its answer stands in the account of its run."""
    return says({"answer": answer, "gaps": [], "steps": [], **said})


async def ran(made: PatternType, agents: dict[str, Agent], settings: dict[str, Json]) -> Rehearsal:
    given: dict[str, Json] = {**settings, "limits": {"max_depth": 3, **json_object(settings.get("limits"))}}
    return await rehearse(made(WorkflowSettings.model_validate(given).to_json()), Stage(agents=agents))


async def test_a_workflow_plans() -> None:
    seen = await ran(
        Supervisor,
        {"workflow:plan": runs({"steps": [{"id": "one", "agent": "a"}]}), "agent:a": says("done")},
        {"pattern": "supervisor", "planner": {"workflow": "plan"}, "agents": ["a"]},
    )
    assert seen.outcome.value == {"one": "done"}
    assert len(seen.asked_of("workflow:plan")) == 1


async def test_a_workflow_reviews() -> None:
    verdicts = in_turn(
        runs({"reviews": [{"step": "one", "verdict": "retry", "note": "more"}]}),
        runs({"reviews": [{"step": "one", "verdict": "accept"}]}),
    )
    seen = await ran(
        Supervisor,
        {"workflow:review": verdicts, "agent:a": in_turn(says("draft"), says("final"))},
        {"pattern": "supervisor", "plan": [{"id": "one", "agent": "a"}], "critic": {"workflow": "review"}},
    )
    assert seen.outcome.value == {"one": "final"}
    assert seen.outcome.notices == ()


async def test_workflows_answer_and_judge() -> None:
    def judge(asked: Asked) -> Reply:
        shown = {str(each["answer"]): each["value"] for each in map(json_object, json_list(asked.fields["answers"]))}
        scores: Json = {letter: {"sound": 1 if value == {"n": 2} else 0} for letter, value in shown.items()}
        return Reply(value={"answer": {"scores": scores, "because": "two"}, "gaps": [], "steps": []})

    agents = {"workflow:one": runs({"n": 1}), "workflow:two": runs({"n": 2}, notices=["stale"]), "workflow:j": judge}
    seen = await ran(
        Consensus,
        agents,
        {
            "pattern": "consensus",
            "workflows": ["one", "two"],
            "judge": {"workflow": "j"},
            "consensus": {"rubric": {"sound": {}}},
        },
    )
    assert (seen.outcome.value, seen.outcome.confidence) == ({"n": 2}, 1.0)
    assert seen.outcome.notices == ("stale",)
    assert len(seen.asked_of("workflow:j")) == 1


async def test_workflows_check_a_goal_and_reconcile() -> None:
    seen = await ran(
        Concurrent,
        {
            "agent:a": in_turn(says({"n": 1}), says({"n": 2})),
            "workflow:check": in_turn(runs({"reached": False, "again": ["a"]}), runs({"reached": True})),
            "workflow:one": runs({"sum": 2}),
        },
        {
            "pattern": "concurrent",
            "agents": ["a"],
            "goal_checker": {"workflow": "check"},
            "reconciler": {"workflow": "one"},
        },
    )
    assert len(seen.asked_of("agent:a")) == 2
    assert json_object(seen.outcome.value)["merged"] == {"sum": 2}


async def test_a_workflow_checks_the_goal_of_a_queue() -> None:
    seen = await ran(
        EventDriven,
        {"agent:a": says("found"), "workflow:check": runs({"reached": True, "because": "enough"})},
        {
            "pattern": "event_driven",
            "agents": ["a"],
            "goal_checker": {"workflow": "check"},
            "event_driven": {"workers": {"a": {"topics": ["*"]}}},
        },
    )
    assert (seen.outcome.why["ended"], seen.outcome.why["because"]) == ("goal", "enough")


LACKING: Json = {"step": "price", "target": "agent:p", "error": "timeout", "reason": "too slow"}


@pytest.mark.parametrize(
    ("made", "settings"),
    [
        (Sequential, {"stages": [{"workflow": "w"}]}),
        (Sequential, {"stages": [{"workflow": "w"}], "sequential": {"batch": {"items": "$task.items"}}}),
        (Supervisor, {"plan": [{"id": "w", "workflow": "w"}]}),
        (Supervisor, {"plan": [{"id": "w", "workflow": "w"}], "propose": True}),
        (PlanExecute, {"planner": "chief", "workflows": ["w"], "plan_execute": {"tiers": [{"agent": "t"}]}}),
    ],
    ids=["sequential", "batch", "supervisor", "propose", "plan_execute"],
)
async def test_what_a_workflow_lacks_the_answer_it_is_part_of_lacks_too(
    made: PatternType, settings: dict[str, Json]
) -> None:
    agents = {
        "workflow:w": runs({"n": 1}, gaps=[LACKING], notices=["stale"]),
        "agent:chief": says({"steps": [{"id": "w", "workflow": "w"}]}),
    }
    given: dict[str, Json] = {"pattern": "p", **settings, "limits": {"max_depth": 3}}
    pattern = made(WorkflowSettings.model_validate(given).to_json())
    seen = await rehearse(pattern, Stage(agents=agents, data={"items": [1]}))
    [gap] = seen.outcome.gaps
    assert gap.step == ("w[1]/price" if "sequential" in settings else "w/price")
    assert (gap.target, gap.error, gap.reason) == ("agent:p", "timeout", "too slow")
    assert (seen.outcome.notices, seen.outcome.error) == (("stale",), "")
    assert "sequential" in settings or "too slow" in seen.outcome.text
