"""One request, four patterns: what each did, what it cost, and what it lost - and everything that happened, once."""

from collections.abc import Callable, Mapping
from decimal import Decimal

import pytest

from examples.stories.customer.comparison import Line, compared, line_of
from examples.stories.customer.story import PATTERNS, STORY
from examples.stories.kit import Told, World


@pytest.fixture(scope="module")
def world(tell: Callable[[str], World]) -> World:
    return tell("customer")


@pytest.fixture(scope="module")
def answers(world: World) -> Mapping[str, Told]:
    return {ask.workflow: world.ask(ask) for ask in STORY.asks}


@pytest.fixture(scope="module")
def lines(world: World, answers: Mapping[str, Told]) -> Mapping[str, Line]:
    return {workflow: line_of(world, told, PATTERNS[workflow]) for workflow, told in answers.items()}


def test_the_table_says_what_each_pattern_did_and_lost(
    world: World, answers: Mapping[str, Told], lines: Mapping[str, Line]
) -> None:
    assert {name: (line.done, line.refunded, line.too_much, line.not_done) for name, line in lines.items()} == {
        "supervised": (3, 69.90, 0.0, ()),
        "routed": (1, 89.90, 0.0, ("replacements not done", "scheduling not done")),
        "in-line": (3, 89.90, 20.0, ()),
        "planned": (3, 69.90, 0.0, ()),
    }
    table = compared(world, answers, PATTERNS).splitlines()
    assert [row.split()[0] for row in table[1:]] == ["PATTERN", "supervisor", "router", "sequential", "plan_execute"]
    assert "20.00 refunded too much" in table[4]


def test_what_each_cost_is_what_its_agents_reported(lines: Mapping[str, Line]) -> None:
    assert lines["supervised"].cost_usd == Decimal("0.019")
    assert lines["routed"].cost_usd == Decimal("0.002")
    assert lines["in-line"].cost_usd == Decimal("0.006")
    # Two of the planner's, two of the cheap executor's, one of the dear one's; whoever failed reported nothing.
    assert lines["planned"].cost_usd == Decimal("0.0204")


def made_by_token(world: World, run: str) -> list[str]:
    """Tools called by whoever was at work on the run, as the audit log has it; what was denied was no call."""
    records = [each for each in world.audit(run=run, limit="500") if each["phase"] != "intent"]
    made = [each for each in records if each["operation"] == "call" and each["outcome"] != "denied"]
    return [each["capability"] for each in made if each["capability"].startswith("tool:") and each["step_id"]]


def test_calls_are_those_of_agents_and_what_they_called_by_their_tokens(
    world: World, answers: Mapping[str, Told], lines: Mapping[str, Line]
) -> None:
    """Supervised: the plan, three proposals, two of them again because they were overtaken, and three carried out."""
    agents = {"supervised": 9, "routed": 1, "in-line": 3, "planned": 6}
    tools = {name: len(made_by_token(world, told.run)) for name, told in answers.items()}
    assert min(tools.values()) > 0
    assert {name: line.calls for name, line in lines.items()} == {name: agents[name] + tools[name] for name in agents}


def test_the_supervisor_works_the_refund_out_again_before_anything_is_paid(
    world: World, answers: Mapping[str, Told]
) -> None:
    steps = world.explained(answers["supervised"].run)["steps"]
    refunds = [(each.get("phase"), each["answered"]) for each in steps if each["target"] == "agent:refunds"]
    proposed = [answer["amount"] for phase, answer in refunds if phase == "propose"]
    assert proposed == [89.90, 69.90]
    assert [phase for phase, _ in refunds] == ["propose", "propose", "commit"]


def test_the_router_names_what_it_left_and_why_it_went_where(world: World, answers: Mapping[str, Told]) -> None:
    told = answers["routed"]
    assert [(gap["step"], gap["error"]) for gap in told.gaps] == [
        ("replacements", "skipped"),
        ("scheduling", "skipped"),
    ]
    decisions = {each["what"]: each for each in world.explained(told.run)["decisions"]}
    assert decisions["route"]["chosen"] == "refunds"
    assert decisions["drop"]["chosen"] == ["replacements", "scheduling"]


def test_what_the_cheap_executor_could_not_do_the_dear_one_did(world: World, answers: Mapping[str, Told]) -> None:
    told = answers["planned"]
    shown = world.explained(told.run)
    executors = [each["target"] for each in shown["steps"] if each["target"] != "agent:chief"]
    assert executors == ["agent:junior", "agent:senior", "agent:junior", "agent:junior"]
    escalated = next(each for each in shown["decisions"] if each["what"] == "escalate")
    assert "discontinued" in escalated["because"]
    assert 0.2 < told.why["cost"]["saved_share"] < 0.4


def test_whoever_oversteps_is_refused_in_every_pattern(world: World, answers: Mapping[str, Told]) -> None:
    denied = [(each["capability"], each["actors"][-1]) for each in world.audit(outcome="denied")]
    assert denied
    assert {capability for capability, _ in denied} == {"tool:orders/refund"}
    assert {actor for _, actor in denied} == {"agent:scheduling", "agent:junior"}
    assert len(answers) == len(PATTERNS)


def test_every_effect_happened_once(world: World, lines: Mapping[str, Line]) -> None:
    shop, calendar = world.effects["orders"], world.effects["calendar"]
    assert sorted(each["order_id"] for each in shop.done("refund")) == sorted(PATTERNS.values())
    assert sorted(each["order_id"] for each in shop.done("ship")) == ["A-1007", "A-1009", "A-1010"]
    assert len(calendar.done("book")) == sum(line.done == 3 for line in lines.values())
