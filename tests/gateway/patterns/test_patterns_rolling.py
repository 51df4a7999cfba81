"""Whoever does the next round is told of the latest whole, and of those before it in few words."""

from typing import Any

import pytest

from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.labels import Labels
from gateway.core.model import Complete
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.event_driven.pattern import EventDriven
from gateway.patterns.mesh.pattern import Mesh
from gateway.patterns.plan_execute.pattern import PlanExecute
from gateway.patterns.reflection.pattern import Reflection
from gateway.patterns.supervisor.pattern import Supervisor
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, Asked, World, answer, failing, says

pytestmark = pytest.mark.anyio

PATTERNS = {
    "supervisor": Supervisor,
    "plan_execute": PlanExecute,
    "mesh": Mesh,
    "reflection": Reflection,
    "event_driven": EventDriven,
}
BRIEF = Labels(untrusted=frozenset({"agent:brief"}))
LONG = "found " * 200


def world(settings: dict[str, Any], **agents: Answering) -> World:
    around = World(patterns=PATTERNS, workflows={"help": WorkflowSettings.model_validate(settings)})
    around.agents.answers = {f"agent:{slug}": answers for slug, answers in agents.items()}
    return around


async def run(around: World) -> None:
    async with around.up():
        await around.ask()


def results(asked: Asked) -> JsonObject:
    return json_object(asked.member["results"])


def whole(asked: Asked) -> list[str]:
    """Names of what is handed over with its value."""
    return [name for name, entry in results(asked).items() if json_object(entry)["value"] is not None]


def in_turn(*replies: "Json | Complete") -> Answering:
    left = [*replies]

    async def reply(asked: Asked) -> "Json | Complete":
        return left.pop(0) if len(left) > 1 else left[0]

    return reply


async def brief(asked: Asked) -> Complete:
    """Says of which results it was told, and what it had said before."""
    told = {**json_object(asked.input["value"])}
    before = told.pop("so_far", "")
    return answer({"summary": " ".join([*([str(before)] if before else []), *told])}, labels=BRIEF)


async def broken(asked: Asked) -> Complete:
    return failing("no words")


MESH = {"pattern": "mesh", "agents": ["a", "b", "c", "d"], "mesh": {"entry": "a"}}


def peers() -> dict[str, Answering]:
    def hands(to: str, number: int) -> Answering:
        return says({"found": f"{number} {LONG}"}, summary=f"finding {number}", handoff={"to": to})

    return {"a": hands("b", 1), "b": hands("c", 2), "c": hands("d", 3), "d": says({"done": True})}


async def test_without_a_summariser_each_earlier_finding_is_handed_on_with_its_own_summary() -> None:
    around = world(MESH, **peers())
    await run(around)
    [last] = around.agents.asked_of("agent:d")
    summaries = {name: json_object(entry)["summary"] for name, entry in results(last).items()}
    assert summaries == {"1-a": "finding 1", "2-b": "finding 2", "3-c": "finding 3"}
    assert whole(last) == ["3-c"]


async def test_what_earlier_rounds_came_to_is_one_text_that_grows_by_a_round_at_a_time() -> None:
    around = world({**MESH, "summariser": "brief"}, **peers(), brief=brief)
    await run(around)
    first, second = around.agents.asked_of("agent:brief")
    assert json_object(first.input["value"]).keys() == {"1-a"}
    assert json_object(second.input["value"]) == {"so_far": "1-a", "2-b": {"found": f"2 {LONG}"}}
    assert second.phase == "propose"
    [last] = around.agents.asked_of("agent:d")
    assert json_object(results(last)["earlier_rounds"])["summary"] == "1-a 2-b"
    assert results(last)["1-a"] == {"summary": "", "value": None}
    assert whole(last) == ["3-c"]
    # Whoever reads the account reads what the summariser made of it.
    assert last.request.labels == BRIEF


async def test_where_nobody_can_sum_up_the_findings_own_summaries_stand() -> None:
    around = world({**MESH, "summariser": "brief"}, **peers(), brief=broken)
    await run(around)
    [last] = around.agents.asked_of("agent:d")
    assert "earlier_rounds" not in results(last)
    assert json_object(results(last)["1-a"])["summary"] == "finding 1"


REFLECTION = {
    "pattern": "reflection",
    "agents": ["writer"],
    "critic": "critic",
    "limits": {"max_rounds": 4},
}


def writers() -> dict[str, Answering]:
    drafts: list[Json] = [{"draft": number, "words": LONG} for number in range(1, 5)]
    critiques: list[Json] = [{"score": number / 10, "findings": [f"lacks {number}"]} for number in range(1, 5)]
    return {"writer": in_turn(*drafts), "critic": in_turn(*critiques)}


async def test_a_producer_is_told_in_few_words_what_it_has_tried_already() -> None:
    around = world(REFLECTION, **writers())
    await run(around)
    first, second, third, fourth = around.agents.asked_of("agent:writer")
    assert results(first) == {}
    assert results(second).keys() == {"critique", "draft"}
    assert results(third).keys() == {"1-critique", "1-draft", "critique", "draft"}
    assert whole(fourth) == ["critique", "draft"]
    assert json_object(json_object(results(fourth)["draft"])["value"])["draft"] == 3
    summary = json_object(results(fourth)["2-critique"])["summary"]
    assert "lacks 2" in str(summary)


async def test_a_summariser_puts_what_a_producer_tried_in_few_words() -> None:
    around = world({**REFLECTION, "summariser": "brief"}, **writers(), brief=brief)
    await run(around)
    fourth = around.agents.asked_of("agent:writer")[-1]
    assert json_object(results(fourth)["earlier_rounds"])["summary"] == "1-critique 1-draft 2-critique 2-draft"
    assert whole(fourth) == ["critique", "draft"]


def plan(*steps: str) -> JsonObject:
    return {"steps": [{"id": each, "agent": each[0], "input": {"n": each}} for each in steps]}


PLANNERS: list[dict[str, Any]] = [
    {
        "pattern": "supervisor",
        "planner": "planner",
        "agents": ["a", "b"],
        "critic": "critic",
        "limits": {"max_rounds": 3},
    },
    {
        "pattern": "plan_execute",
        "planner": "planner",
        "agents": ["a", "b"],
        "executor": "a",
        "limits": {"max_rounds": 3},
    },
]


async def critic(asked: Asked) -> Json:
    """Wants another plan for whatever `b` did."""
    named = [str(each) for each in json_list(asked.input["steps"])]
    return {"reviews": [{"step": each, "verdict": "replan" if each[0] == "b" else "accept"} for each in named]}


@pytest.mark.parametrize("settings", PLANNERS)
async def test_a_planner_is_told_of_the_latest_round_whole_and_of_earlier_ones_in_summary(
    settings: dict[str, Any],
) -> None:
    async def done(asked: Asked) -> Json:
        return {"found": LONG, "drawbridge": {"summary": f"did {asked.input['n']}"}}

    never = done if "critic" in settings else broken
    planner = in_turn(plan("a1", "b1"), plan("a2", "b2"), plan("a3"))
    around = world({**settings, "summariser": "brief"}, planner=planner, a=done, b=never, brief=brief, critic=critic)
    await run(around)
    first, second, third = around.agents.asked_of("agent:planner")[:3]
    assert "a1" not in results(first)
    assert "a1" in whole(second)
    assert "a1" not in whole(third)
    assert "a2" in whole(third)
    assert "a1" in str(json_object(results(third)["earlier_rounds"])["summary"])


EVENTS: dict[str, Any] = {
    "pattern": "event_driven",
    "agents": ["a"],
    "summariser": "brief",
    "scratchpad": {"finding.f2": {"readers": ["a"]}},
    "event_driven": {"workers": {"a": {"topics": ["*"]}}, "check_after": 2},
}


def finder(last: int) -> Answering:
    """Finds one thing after the other."""
    found = 0

    async def find(asked: Asked) -> Json:
        nonlocal found
        found += 1
        more: list[Json] = [{"topic": "next", "input": {"n": found}}] if found < last else []
        return {"drawbridge": {"findings": {f"f{found}": f"{found} {LONG}"}, "publish": more}}

    return find


def read(asked: Asked) -> list[str]:
    return sorted(json_object(asked.member["scratchpad"]))


async def test_of_many_findings_the_latest_are_handed_on_whole_and_the_account_of_those_before_grows() -> None:
    around = world(EVENTS, a=finder(8), brief=brief)
    await run(around)
    *_, sixth, seventh, eighth = around.agents.asked_of("agent:a")
    first, second = around.agents.asked_of("agent:brief")[:2]
    # What not everybody may read is no part of it, and stays with those who may.
    assert json_object(first.input["value"]).keys() == {"f1"}
    assert json_object(second.input["value"]).keys() == {"so_far", "f3", "f4"}
    assert json_object(results(sixth)["earlier_rounds"])["summary"] == "f1"
    assert read(sixth) == ["finding.f2", "finding.f3", "finding.f4", "finding.f5"]
    assert json_object(results(eighth)["earlier_rounds"])["summary"] == "f1 f3 f4"
    assert read(eighth) == ["finding.f2", "finding.f5", "finding.f6", "finding.f7"]
    assert read(seventh) == ["finding.f2", "finding.f5", "finding.f6"]
    assert BRIEF.untrusted <= eighth.request.labels.untrusted


async def test_findings_are_handed_on_whole_where_nobody_can_sum_them_up() -> None:
    around = world(EVENTS, a=finder(6), brief=broken)
    await run(around)
    last = around.agents.asked_of("agent:a")[-1]
    assert (results(last), len(read(last))) == ({}, 5)


def scene() -> dict[str, Answering]:
    return {f"agent:{slug}": answers for slug, answers in {**peers(), "brief": brief}.items()}


@pytest.mark.parametrize("where", INSTANTS)
async def test_the_account_is_the_same_after_a_crash(where: Instant) -> None:
    await outlives_crashes(Scene(settings={**MESH, "summariser": "brief"}, agents=scene), where)


def finders() -> dict[str, Answering]:
    async def find(asked: Asked) -> Json:
        """The same each time it is asked, as whoever crashes asks again."""
        number = int(str(json_object(asked.input["event"])["key"])) if "n" in asked.input else 1
        more: list[Json] = [{"topic": "next", "key": str(number + 1), "input": {"n": number + 1}}] if number < 6 else []
        return {"drawbridge": {"findings": {f"f{number}": number}, "publish": more}}

    return {"agent:a": find, "agent:brief": brief}


async def test_the_account_of_findings_is_the_same_after_a_crash() -> None:
    await outlives_crashes(Scene(settings=EVENTS, agents=finders), "after")
