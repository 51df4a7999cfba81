"""A long result reaches the next agent as its summary and the names of its fields; what it needs of it, it asks for."""

import json
from dataclasses import replace

import pytest

from gateway.core.content import Content, Plain
from gateway.core.errors import Denied
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.limits import Budget
from gateway.core.model import Complete, Request, ignore_event
from gateway.core.ports.journal import Journal
from gateway.orchestration.messages.fitting import Reader
from gateway.orchestration.messages.memories import Memories
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.orchestration.step.run_server import TOOLS, RunServer
from gateway.orchestration.wiring import Wiring
from gateway.patterns.mesh.pattern import Mesh
from gateway.patterns.plan_execute.pattern import PlanExecute
from gateway.patterns.sequential.pattern import Sequential
from gateway.patterns.supervisor.pattern import Supervisor
from tests.fakes_orchestration import Asked, World, no_engine, says, told

pytestmark = pytest.mark.anyio

LINES: list[Json] = ["a line of the report"] * 1000
REPORT: JsonObject = {"price": 42, "lines": LINES}
SHORT: JsonObject = {"price": 42}
AFTER = ("offer", "audit", "letter")
PLAN: list[JsonObject] = [
    {"id": "study", "agent": "study"},
    *({"id": each, "agent": each, "after": ["study"]} for each in AFTER),
]
SUPERVISED: JsonObject = {"pattern": "supervisor", "plan": [*PLAN]}
PLANNED: JsonObject = {"pattern": "plan_execute", "planner": "plan", "agents": ["study", *AFTER], "executor": "study"}
STAGED: JsonObject = {"pattern": "sequential", "stages": [{"agent": "study"}, {"agent": "offer"}]}


class Handing(World):
    """Agents that are handed a token, except those of whom `blind` says that they are not."""

    blind: frozenset[str] = frozenset()

    def wiring(self, journal: Journal) -> Wiring:
        self.journal = journal
        return replace(super().wiring(journal), reader=self.reader)

    def reader(self, tenant: str, slug: str) -> Reader:
        return Reader(fetches=slug not in self.blind)

    async def fetched(self, asked: Asked, step: str, pointer: str = "") -> JsonObject:
        """What the agent gets of a result, asked for with its token while its step is open."""
        server = RunServer(
            scratch=self.scratch,
            runs=self.runs,
            clock=self.clock,
            journal=self.journal,
            open_steps=self.open_steps,
            memories=Memories(self.memory, self.clock, no_engine),
        )
        capability = next(each for each in TOOLS if each.local == "fetch_result")
        request = Request(
            id="req",
            principal=asked.request.principal,
            capability=capability.name,
            operation="call",
            budget=Budget(deadline_s=1e9),
            body=Plain(Content(structured={"step": step, "pointer": pointer})),
            run_id=asked.request.run_id,
            step_id=asked.request.step_id,
        )
        answer = await server.call(request, capability, ignore_event)
        assert isinstance(answer, Complete)
        return json_object(answer.body.content().structured)


def world(settings: JsonObject, value: JsonObject = REPORT, *, summary: str = "It costs 42.") -> Handing:
    patterns = {"supervisor": Supervisor, "plan_execute": PlanExecute, "sequential": Sequential, "mesh": Mesh}
    around = Handing(patterns=patterns, workflows={"help": WorkflowSettings.model_validate(settings)})
    around.agents.answers = {f"agent:{each}": says({"done": each}) for each in AFTER}
    around.agents.answers["agent:study"] = says(value, summary=summary) if summary else says(value)
    around.agents.answers["agent:plan"] = says({"steps": [*PLAN]})
    return around


def handed(around: World, slug: str, name: str = "study") -> JsonObject:
    [asked] = around.agents.asked_of(f"agent:{slug}")
    return json_object(json_object(asked.member["results"])[name])


async def run(around: World) -> JsonObject:
    async with around.up():
        return told(await around.ask())


@pytest.mark.parametrize("settings", [SUPERVISED, PLANNED, STAGED])
async def test_a_long_result_is_handed_on_as_its_summary_and_the_names_of_its_fields(settings: JsonObject) -> None:
    around = world(settings)
    await run(around)
    size = len(json.dumps(REPORT).encode())
    reference = {"step": "study", "bytes": size, "fetch": "tool run/fetch_result", "fields": ["price", "lines"]}
    assert handed(around, "offer") == {"summary": "It costs 42.", "value": None, "reference": reference}


async def test_what_the_next_agent_needs_of_it_it_asks_for() -> None:
    around = world(SUPERVISED)

    async def asks(asked: Asked) -> JsonObject:
        return {"price": (await around.fetched(asked, "study", "/price"))["value"]}

    around.agents.answers["agent:offer"] = asks
    said = json_object((await run(around))["answer"])
    assert said["offer"] == {"price": 42}


@pytest.mark.parametrize(
    "settings",
    [
        {**SUPERVISED, "whole": True},
        {**SUPERVISED, "handover_bytes": 65_536},
        {**SUPERVISED, "plan": [PLAN[0], {**PLAN[1], "whole": True}]},
        {**PLANNED, "whole": True},
        {**STAGED, "stages": [{"agent": "study"}, {"agent": "offer", "whole": True}]},
    ],
)
async def test_who_is_to_have_it_whole_is_given_it_whole(settings: JsonObject) -> None:
    around = world(settings)
    await run(around)
    assert handed(around, "offer") == {"summary": "It costs 42.", "value": REPORT}


async def test_a_short_result_travels_whole() -> None:
    around = world(SUPERVISED, SHORT)
    await run(around)
    assert handed(around, "offer") == {"summary": "It costs 42.", "value": SHORT}


async def test_who_cannot_ask_is_given_it_whole_unless_the_workflow_forbids() -> None:
    free, strict = world(SUPERVISED), world({**SUPERVISED, "whole": False})
    for around in (free, strict):
        around.blind = frozenset(AFTER)
        await run(around)
    assert handed(free, "offer")["value"] == REPORT
    entry = handed(strict, "offer")
    assert (entry["summary"], entry["value"]) == ("It costs 42.", None)
    assert json_object(entry["reference"]).keys() == {"step", "bytes", "fields"}


async def test_of_a_result_nobody_summed_up_the_beginning_is_handed_on() -> None:
    around = world(SUPERVISED, summary="")
    await run(around)
    summary = str(handed(around, "offer")["summary"])
    assert summary.startswith('{"price": 42, "lines": ["a line of')
    assert len(summary) <= 400


async def test_what_its_contract_names_a_stage_is_given_in_full() -> None:
    stage: JsonObject = {"agent": "offer", "input_schema": {"required": ["lines"]}}
    around = world({**STAGED, "stages": [{"agent": "study"}, stage]})
    await run(around)
    [asked] = around.agents.asked_of("agent:offer")
    assert asked.input["lines"] == REPORT["lines"]


async def test_what_is_hidden_from_a_stage_it_cannot_ask_for_either() -> None:
    around = world({**STAGED, "stages": [{"agent": "study"}, {"agent": "offer", "hide": ["lines"]}]})
    refused: list[str] = []

    async def asks(asked: Asked) -> JsonObject:
        with pytest.raises(Denied) as denied:
            await around.fetched(asked, "study", "/lines")
        refused.append(denied.value.message)
        return {}

    around.agents.answers["agent:offer"] = asks
    await run(around)
    assert len(refused) == 1
    assert handed(around, "offer")["value"] == {"price": 42}


async def test_the_latest_of_a_mesh_is_handed_on_in_the_same_way() -> None:
    around = world({"pattern": "mesh", "agents": ["study", "offer"], "mesh": {"entry": "study"}})
    around.agents.answers["agent:study"] = says(REPORT, summary="It costs 42.", handoff={"to": "offer"})
    await run(around)
    entry = handed(around, "offer", "1-study")
    assert (entry["summary"], entry["value"]) == ("It costs 42.", None)
    assert json_object(entry["reference"])["fields"] == ["price", "lines"]


async def test_three_agents_behind_a_long_report_are_told_a_tenth_of_what_they_were() -> None:
    """The story in figures: one report of 23 kB, and three who build on it."""
    sizes: dict[bool, int] = {}
    for whole in (True, False):
        around = world({**SUPERVISED, "whole": True} if whole else SUPERVISED)
        await run(around)
        bodies = [each.input for each in around.agents.asked if each.target != "agent:study"]
        sizes[whole] = sum(len(json.dumps(body).encode()) for body in bodies)
    assert sizes[True] > 3 * len(json.dumps(REPORT))
    assert sizes[False] < sizes[True] / 10
