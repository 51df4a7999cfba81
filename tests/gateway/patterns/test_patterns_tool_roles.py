"""Roles that tools fill: a tool is told what it needs for it, under the same names in every pattern."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.core.json import Json, JsonObject, json_object
from gateway.core.ports.orchestration import Node
from gateway.orchestration.messages.said import said_to
from gateway.orchestration.records.spec import RunSpec
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.plugins import load_patterns
from tests.fakes_orchestration import ANA, World, says, told

pytestmark = pytest.mark.anyio

TOOL = "tool:house/does"
IT: Mapping[str, str] = {"tool": "house/does"}
DATA: JsonObject = {"order": 7}
ONE: list[JsonObject] = [{"id": "one", "agent": "a"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    pattern: str
    settings: Mapping[str, Any]
    answers: Json
    """What the tool answers."""
    results: tuple[str, ...] = ()
    scratchpad: tuple[str, ...] = ()
    agents: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Agents that answer something else than `{"n": 1}`."""


LOOKING = {"workers": {"a": {"topics": ["look"]}}, "first": [{"topic": "look", "key": "k"}]}
SUPERVISED = {"plan": ONE}
REFLECTED = {"agents": ["a"], "critic": "c"}
PANEL = {"agents": ["a", "b"]}
SOUND: Mapping[str, Any] = {"c": {"score": 0.9}}
CASES: Mapping[str, Case] = {
    "supervisor planner": Case(
        pattern="supervisor", settings={"agents": ["a"], "planner": IT}, answers={"steps": [{"id": "x", "agent": "a"}]}
    ),
    "supervisor critic": Case(
        pattern="supervisor",
        settings={**SUPERVISED, "critic": IT},
        answers={"reviews": [{"step": "one", "verdict": "accept"}]},
        results=("one",),
    ),
    "supervisor synthesiser": Case(
        pattern="supervisor", settings={**SUPERVISED, "synthesiser": IT}, answers={"text": "done"}, results=("one",)
    ),
    "plan_execute planner": Case(
        pattern="plan_execute",
        settings={"planner": IT, "executor": "a"},
        answers={"steps": [{"id": "x", "instruction": "do"}]},
    ),
    "plan_execute executor": Case(
        pattern="plan_execute", settings={"planner": {"rule": "sentences"}, "executor": IT}, answers={"n": 1}
    ),
    "plan_execute synthesiser": Case(
        pattern="plan_execute",
        settings={"planner": {"rule": "sentences"}, "executor": "a", "synthesiser": IT},
        answers={"text": "done"},
        results=("part-1",),
    ),
    "reflection critic": Case(
        pattern="reflection", settings={**REFLECTED, "critic": IT}, answers={"score": 0.9}, results=("draft",)
    ),
    "reflection goal_checker": Case(
        pattern="reflection",
        settings={**REFLECTED, "goal_checker": IT},
        answers={"reached": True},
        agents=SOUND,
        results=("draft",),
    ),
    "reflection planner": Case(
        pattern="reflection",
        settings={**REFLECTED, "goal_checker": "g", "planner": IT},
        answers={"brief": "another"},
        agents={**SOUND, "g": {"reached": False, "because": "no"}},
        results=("draft", "goal_check"),
    ),
    "concurrent reconciler": Case(
        pattern="concurrent", settings={**PANEL, "reconciler": IT}, answers={"n": 1}, results=("a", "b")
    ),
    "concurrent synthesiser": Case(
        pattern="concurrent", settings={**PANEL, "synthesiser": IT}, answers={"text": "x"}, results=("a", "b")
    ),
    "concurrent goal_checker": Case(
        pattern="concurrent", settings={**PANEL, "goal_checker": IT}, answers={"reached": True}
    ),
    "consensus judge": Case(
        pattern="consensus",
        settings={**PANEL, "judge": IT, "consensus": {"rubric": {"sound": {}}}},
        answers={"scores": {"A": {"sound": 1}, "B": {"sound": 0}}},
    ),
    "router classifier": Case(
        pattern="router", settings={**PANEL, "classifier": IT}, answers={"worker": "a", "confidence": 0.9}
    ),
    "mesh synthesiser": Case(
        pattern="mesh",
        settings={**PANEL, "mesh": {"entry": "a"}, "synthesiser": IT},
        answers={"text": "x"},
        results=("1-a",),
    ),
    "event_driven goal_checker": Case(
        pattern="event_driven",
        settings={"agents": ["a"], "goal_checker": IT, "event_driven": LOOKING},
        answers={"reached": True},
        scratchpad=("finding.k",),
    ),
    "event_driven synthesiser": Case(
        pattern="event_driven",
        settings={"agents": ["a"], "synthesiser": IT, "event_driven": LOOKING},
        answers={"text": "x"},
        scratchpad=("finding.k",),
    ),
    "supervisor worker of the rule each": Case(
        pattern="supervisor",
        settings={"tools": ["house/does"], "agents": ["a"], "planner": {"rule": "each"}},
        answers={"n": 1},
    ),
    "reflection worker": Case(
        pattern="reflection", settings={"tools": ["house/does"], "critic": "c"}, answers={"n": 1}, agents=SOUND
    ),
    "event_driven worker": Case(
        pattern="event_driven",
        settings={"tools": ["house/does"], "event_driven": {"workers": {"house/does": {"topics": ["request"]}}}},
        answers={"n": 1},
    ),
}


async def asked_of_the_tool(case: Case, data: Json = DATA) -> JsonObject:
    """What the tool was given, once everything went well."""
    workflow = WorkflowSettings.model_validate({"pattern": case.pattern, **case.settings})
    around = World(patterns=load_patterns([case.pattern]), workflows={"help": workflow})
    around.agents.answers |= {f"agent:{slug}": says(case.agents.get(slug, {"n": 1})) for slug in ("a", "b", "c", "g")}
    around.agents.answers[TOOL] = says(case.answers)
    async with around.up():
        assert "error" not in told(await around.ask("Where is it?", data=data))
    return around.agents.asked_of(TOOL)[0].input


@pytest.mark.parametrize("name", CASES)
async def test_a_tool_is_told_the_request_and_what_it_is_to_look_at(name: str) -> None:
    case = CASES[name]
    given = await asked_of_the_tool(case)
    assert (given["request"], given["data"]) == ("Where is it?", DATA)
    assert {*json_object(given.get("results"))} >= {*case.results}
    assert {*json_object(given.get("scratchpad"))} >= {*case.scratchpad}
    for each in case.results:
        assert json_object(json_object(given["results"])[each])["value"] is not None


@pytest.mark.parametrize("pattern", ["concurrent", "consensus"])
async def test_a_tool_among_several_is_given_the_data_or_else_the_words(pattern: str) -> None:
    block = {"consensus": {"consensus": {"rubric": {"all": {"rule": "fields", "fields": ["n"]}}}}}.get(pattern, {})
    case = Case(pattern=pattern, settings={"tools": ["house/does"], "agents": ["a"], **block}, answers={"n": 1})
    assert await asked_of_the_tool(case) == DATA
    assert await asked_of_the_tool(case, None) == {"request": "Where is it?"}


def test_a_tool_whose_arguments_somebody_chose_gets_those_and_a_strict_one_what_it_takes() -> None:
    spec = RunSpec(
        run_id="run", workflow="help", pattern="p", settings={}, caller=ANA, message="go", data=DATA,
        deadline_at_us=0, depth=1,
    )  # fmt: skip
    chosen = Node(target=TOOL, input={"id": 3})
    assert said_to(spec, chosen, {}, {}).given == {"id": 3}
    role = Node(target=TOOL, input={"id": 3, "request": "mine"}, tells=True)
    assert said_to(spec, role, {}, {}).given == {"id": 3, "request": "mine", "data": DATA}
    assert said_to(spec, role, {}, {}, frozenset({"id", "request"})).given == {"id": 3, "request": "mine"}
