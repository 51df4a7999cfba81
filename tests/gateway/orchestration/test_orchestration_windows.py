"""Budgets and windows as a run meets them."""

from dataclasses import replace

import pytest

from gateway.core.content import plain
from gateway.core.errors import Exhausted
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.labels import Labels
from gateway.core.limits import Usage
from gateway.core.model import Complete
from gateway.core.ports.costs import WARNINGS
from gateway.core.ports.journal import Journal
from gateway.core.ports.orchestration import Node, Outcome, Steps
from gateway.core.task import Task
from gateway.orchestration.messages.fitting import Reader
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.orchestration.wiring import Wiring
from tests.fakes_costs import WordCounter
from tests.fakes_orchestration import Asked, World, answer, says

pytestmark = pytest.mark.anyio


class Relay:
    """Asks `agent:long`, and hands what it says to `agent:small`."""

    def __init__(self, settings: Json) -> None:
        """Takes none."""

    async def run(self, task: Task, steps: Steps) -> Outcome:
        first = await steps.call(Node(target="agent:long", input={}))
        second = await steps.call(Node(target="agent:small", input={"instruction": "judge it"}, given={"long": first}))
        return Outcome(text=second.text or second.reason, value=[first.error, second.error])


class Windowed(World):
    def wiring(self, journal: Journal) -> Wiring:
        readers = {"small": Reader(context_tokens=60)}
        wiring = super().wiring(journal)

        def reader(tenant: str, slug: str) -> Reader:
            return readers.get(slug, Reader())

        return replace(wiring, counter=WordCounter(), reader=reader)


def world(**settings: object) -> Windowed:
    workflow = WorkflowSettings.model_validate({"pattern": "relay", **settings})
    around = Windowed(patterns={"relay": Relay}, workflows={"help": workflow})
    around.agents.answers["agent:long"] = says("few words")
    around.agents.answers["agent:small"] = says("fine")
    return around


def events_of(around: World) -> list[str]:
    [log] = around.runs.log.values()
    return [str(event.body.get("text")) for event in log.values() if event.body.get("kind") == "log"]


async def test_what_exceeds_an_agents_window_is_left_out_and_the_run_says_so() -> None:
    around = world()
    around.agents.answers["agent:long"] = says({"text": "word " * 200}, summary="many words")
    async with around.up():
        await around.ask()
    [asked] = around.agents.asked_of("agent:small")
    handed = json_object(json_object(asked.member["results"])["long"])
    assert handed == {"summary": "many words", "value": None, "leftOut": True}
    assert asked.member["left_out"] == ["all of long but its summary"]
    [said] = events_of(around)
    assert said.startswith("small: what it is told is ")
    assert said.endswith("left out: all of long but its summary")


async def test_a_summariser_says_in_few_words_what_exceeds_and_its_usage_is_the_steps() -> None:
    around = world(summariser="brief", agents=["long", "small"])

    async def brief(asked: Asked) -> Complete:
        assert asked.request.step_id.endswith("/2")
        return answer("in brief", usage=Usage(tokens=9), labels=Labels(untrusted=frozenset({"agent:brief"})))

    around.agents.answers["agent:brief"] = brief
    around.agents.answers["agent:long"] = says({"text": "word " * 200}, summary="many words")
    async with around.up():
        result = await around.ask()
    [asked] = around.agents.asked_of("agent:small")
    assert json_object(json_object(asked.member["results"])["long"])["summary"] == "in brief"
    assert isinstance(result, Complete)
    assert (result.usage.calls, result.usage.tokens) == (3, 9)
    # Whoever reads the summary reads what the summariser made of it.
    assert asked.request.labels.untrusted == {"agent:brief"}


@pytest.mark.parametrize(
    ("role", "target", "given", "summary"),
    [
        ({"tool": "house/cut", "input": {"words": 9}}, "tool:house/cut", {"words": 9}, "in brief"),
        ({"agent": "brief", "input": {"words": 9}}, "agent:brief", {"words": 9}, "in brief"),
        ({"agent": "brief", "output_schema": {"required": ["summary"]}}, "agent:brief", {}, "in brief"),
        ({"agent": "brief", "output_schema": {"required": ["gist"]}}, "agent:brief", {}, "many words"),
        ({"agent": "brief", "input_schema": {"required": ["gist"]}}, "", {}, "many words"),
    ],
)
async def test_a_summarisers_input_and_contracts_count(
    role: JsonObject, target: str, given: JsonObject, summary: str
) -> None:
    around = world(summariser=role, agents=["long", "small"])
    around.agents.answers |= {"agent:brief": says({"summary": "in brief"}), "tool:house/cut": says("in brief")}
    around.agents.answers["agent:long"] = says({"text": "word " * 200}, summary="many words")
    async with around.up():
        await around.ask()
    [asked] = around.agents.asked_of("agent:small")
    assert json_object(json_object(asked.member["results"])["long"])["summary"] == summary
    found = [each.input for each in around.agents.asked if each.target in ("agent:brief", "tool:house/cut")]
    assert len(found) == bool(target)
    if target.startswith("tool:"):
        assert str(found[0].pop("instruction")).startswith("Say in at most 80 words")
    if given:
        assert found == [{**given, "value": {"text": "word " * 200}}]


async def test_a_budget_without_room_ends_the_step_and_the_run_goes_on_with_what_it_has() -> None:
    around = world()

    async def refused(asked: Asked) -> Complete:
        raise Exhausted("the budget of agent small has no room", detail={"limit": "budget"})

    around.agents.answers["agent:small"] = refused
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert json_object(result.body.content().structured)["answer"] == ["", "budget"]
    assert not result.is_error


async def test_a_warning_of_a_budget_is_an_event_of_the_run() -> None:
    around = world()

    async def warned(asked: Asked) -> Complete:
        return Complete(body=plain("fine"), meta={WARNINGS: {"budget:x": "71 % of the budget of agent small are used"}})

    around.agents.answers["agent:small"] = warned
    async with around.up():
        await around.ask()
    assert events_of(around)[-1] == "71 % of the budget of agent small are used"
