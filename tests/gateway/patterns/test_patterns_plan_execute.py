"""A plan carried out on tiers: where a step begins, how it goes up, what all of it cost."""

from collections.abc import Callable
from decimal import Decimal

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.labels import Labels
from gateway.core.limits import Usage
from gateway.core.model import Complete
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.plan_execute.pattern import PlanExecute
from gateway.patterns.plan_execute.tier_costs import Spent, cost_report
from gateway.patterns.plan_execute.tiers import estimated
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, Asked, World, answer, failing, says, told

pytestmark = pytest.mark.anyio

TIERS: list[JsonObject] = [{"agent": "small", "cost": 1}, {"agent": "large", "cost": 10}]
TWO: JsonObject = {
    "steps": [{"id": "find", "instruction": "find it"}, {"id": "tell", "input": {"n": 1}, "after": ["find"]}]
}


def world(**settings: object) -> World:
    said = {"pattern": "plan_execute", "planner": "chief", "plan_execute": {"tiers": [*TIERS]}, **settings}
    around = World(patterns={"plan_execute": PlanExecute}, workflows={"help": WorkflowSettings.model_validate(said)})
    around.agents.answers |= {
        "agent:chief": says(TWO),
        "agent:small": priced({"by": "small"}, tokens=100, cost_usd="0.01"),
        "agent:large": priced({"by": "large"}, tokens=100, cost_usd="0.1"),
    }
    return around


def priced(value: Json, *, tokens: int, cost_usd: str) -> Answering:
    async def answering(asked: Asked) -> Complete:
        return answer(value, usage=Usage(tokens=tokens, cost_usd=Decimal(cost_usd)))

    return answering


async def fails(asked: Asked) -> Complete:
    return failing("too hard")


def decided(around: World, what: str) -> list[JsonObject]:
    details = [json_object(event.body.get("detail")) for log in around.runs.log.values() for event in log.values()]
    return [each for each in details if each.get("event") == "decided" and each.get("what") == what]


def cost(result: object) -> JsonObject:
    assert isinstance(result, Complete)
    return json_object(json_object(told(result)["why"])["cost"])


async def test_steps_begin_on_the_cheapest_tier_and_the_saving_is_told() -> None:
    around = world(synthesiser="word")
    around.agents.answers |= {
        "agent:chief": priced(TWO, tokens=50, cost_usd="0.2"),
        "agent:word": priced("All found.", tokens=10, cost_usd="0.05"),
    }
    async with around.up():
        result = await around.ask("help me")
    assert told(result)["answer"] == {"find": {"by": "small"}, "tell": {"by": "small"}}
    [find, tell] = around.agents.asked_of("agent:small")
    assert (find.text, find.member["results"]) == ("find it", {})
    assert set(json_object(tell.member["results"])) == {"find"}
    report = cost(result)
    assert (report["cost_usd"], report["top_tier_cost_usd"], report["saved_usd"]) == ("0.27", "0.45", "0.18")
    assert report["saved_share"] == 0.4
    assert json_object(json_object(report["by"])["executor small"])["tokens"] == 200
    assert decided(around, "cost")[0]["because"] == "it cost 40% less than with everything on the top tier"
    [first, second] = decided(around, "tier")
    assert [each["chosen"] for each in (first, second)] == ["small", "small"]
    assert json_object(first["tiers"])["small"] == {"success": 0.8, "steps": 0, "cost": 1.0}


async def test_what_fails_goes_one_tier_up_at_once_as_the_same_step() -> None:
    around = world()
    around.agents.answers["agent:small"] = fails
    async with around.up():
        result = await around.ask()
    assert told(result)["answer"] == {"find": {"by": "large"}, "tell": {"by": "large"}}
    first, again = around.agents.asked_of("agent:small")[0], around.agents.asked_of("agent:large")[0]
    assert first.request.step_id == again.request.step_id
    assert "too hard" in str(again.member["note"])
    assert [each["chosen"] for each in decided(around, "escalate")] == ["large"]
    # One failure in this very run put the small tier under the bar.
    assert [each["chosen"] for each in decided(around, "tier")] == ["small", "large"]


async def test_a_tier_that_failed_in_earlier_runs_is_not_begun_on() -> None:
    around = world()
    around.agents.answers["agent:small"] = fails
    async with around.up():
        await around.ask()
        around.agents.answers["agent:small"] = priced({"by": "small"}, tokens=1, cost_usd="0")
        await around.ask()
    last = decided(around, "tier")[-1]
    assert last["chosen"] == "large"
    assert json_object(json_object(last["tiers"])["small"])["steps"] == 1


async def test_without_a_tier_that_meets_the_bar_the_likeliest_begins() -> None:
    tiers: list[JsonObject] = [{"agent": "small", "prior": 0.5}, {"agent": "large", "cost": 10, "prior": 0.7}]
    around = world(plan_execute={"tiers": tiers, "bar": 0.9})
    async with around.up():
        await around.ask()
    assert [each["chosen"] for each in decided(around, "tier")] == ["large", "large"]
    assert "none meets the bar" in str(decided(around, "tier")[0]["because"])


async def test_independent_steps_run_side_by_side_up_to_the_limit() -> None:
    under_way, most, both = [0], [0], anyio.Event()

    async def meet(asked: Asked) -> Json:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        if under_way[0] == 2:
            both.set()
        await both.wait()
        under_way[0] -= 1
        return {}

    around = world(limits={"concurrency": 2})
    around.agents.answers |= {
        "agent:chief": says({"steps": [{"id": f"s{n}"} for n in range(4)]}),
        "agent:small": meet,
    }
    async with around.up():
        assert len(json_object(told(await around.ask())["answer"])) == 4
    assert most[0] == 2


async def test_what_failed_on_every_tier_is_planned_anew_on_what_is_done() -> None:
    plans: list[Json] = [
        {"steps": [{"id": "one"}, {"id": "hard", "after": ["one"]}, {"id": "end", "after": ["hard"]}]},
        {"steps": [{"id": "easier", "agent": "helper", "after": ["one"]}, {"id": "end", "after": ["easier"]}]},
    ]

    async def chief(asked: Asked) -> Json:
        return plans.pop(0)

    async def by_name(asked: Asked) -> "Json | Complete":
        results = json_object(asked.member["results"])
        return failing("too hard") if [*results] == ["one"] else {"ok": 1}

    around = world(agents=["helper"])
    around.agents.answers |= {
        "agent:chief": chief,
        "agent:small": by_name,
        "agent:large": by_name,
        "agent:helper": says({"by": "helper"}),
    }
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"one": {"ok": 1}, "easier": {"by": "helper"}, "end": {"ok": 1}}
    assert result["gaps"] == []
    second = around.agents.asked_of("agent:chief")[1]
    assert json_object(json_list(second.input["failed"])[0])["step"] == "hard"
    assert second.input["done"] == ["one"]
    assert [each["chosen"] for each in decided(around, "replan")] == [["easier", "end"]]


async def test_the_same_work_in_a_new_plan_is_done_once_and_tried_as_the_same_step() -> None:
    plans: list[Json] = [
        {"steps": [{"id": "pay", "input": {"n": 1}}, {"id": "ship", "agent": "shop", "input": {"n": 2}}]},
        {"steps": [{"id": "pay-again", "input": {"n": 1}}, {"id": "send", "agent": "shop", "input": {"n": 2}}]},
    ]
    tries: list[Json] = []

    async def chief(asked: Asked) -> Json:
        return plans.pop(0)

    async def ships(asked: Asked) -> "Json | Complete":
        tries.append(asked.request.step_id)
        return failing("no stock") if len(tries) == 1 else {"shipped": True}

    around = world(agents=["shop"])
    around.agents.answers |= {"agent:chief": chief, "agent:shop": ships}
    async with around.up():
        result = told(await around.ask())
    paid = {"by": "small"}
    assert result["answer"] == {"pay": paid, "pay-again": paid, "send": {"shipped": True}}
    assert len(around.agents.asked_of("agent:small")) == 1
    assert len({*map(str, tries)}) == 1
    assert len(tries) == 2
    assert [each["chosen"] for each in decided(around, "same")] == ["pay-again"]


async def test_a_step_claims_what_it_names_and_shows_its_executor_no_more_than_it_may() -> None:
    held: list[object] = []
    block: JsonObject = {"tiers": [*TIERS], "task": ["account"], "claims": ["account:*"]}
    around = world(plan_execute=block)

    async def looks(asked: Asked) -> Json:
        held.extend(around.scratch.claims)
        return {}

    entry: JsonObject = {"id": "one", "instruction": "pay", "claims": ["account:$task.account"], "task": "full"}
    around.agents.answers |= {"agent:chief": says({"steps": [entry]}), "agent:small": looks}
    async with around.up():
        await around.ask("a long story", data={"account": 7, "secret": 1})
    assert held == [("default", "account:7")]
    [asked] = around.agents.asked_of("agent:small")
    assert (asked.member["task"], asked.member["data"]) == ("", {"account": 7})


async def test_there_are_no_more_plans_than_rounds_and_gaps_are_named() -> None:
    around = world(limits={"max_rounds": 1})
    around.agents.answers |= {"agent:small": fails, "agent:large": fails}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.is_error
    assert len(around.agents.asked_of("agent:chief")) == 1
    gaps = [json_object(each) for each in json_list(told(result)["gaps"])]
    assert [(each["step"], each["error"]) for each in gaps] == [("find", "failed"), ("tell", "skipped")]


async def test_a_planner_is_told_what_is_wrong_with_its_plan() -> None:
    plans: list[Json] = [{"steps": [{"id": "a", "agent": "ghost"}]}, {"steps": [{"id": "a"}]}]

    async def chief(asked: Asked) -> Json:
        return plans.pop(0)

    around = world()
    around.agents.answers["agent:chief"] = chief
    async with around.up():
        assert told(await around.ask())["answer"] == {"a": {"by": "small"}}
    assert "agent:ghost" in str(around.agents.asked_of("agent:chief")[1].member["note"])


async def test_what_the_planner_wrote_taints_its_steps() -> None:
    async def chief(asked: Asked) -> Complete:
        return answer({"steps": [{"id": "a"}]}, labels=Labels(untrusted=frozenset({"agent:chief"})))

    around = world()
    around.agents.answers["agent:chief"] = chief
    async with around.up():
        await around.ask()
    assert around.agents.asked_of("agent:small")[0].request.labels == Labels(untrusted=frozenset({"agent:chief"}))


async def test_a_rule_can_plan_and_one_executor_is_enough() -> None:
    around = world(planner={"rule": "sentences"}, executor="small", plan_execute={})
    async with around.up():
        result = told(await around.ask("Look it up. Then write to me"))
    assert result["answer"] == {"part-1": {"by": "small"}, "part-2": {"by": "small"}}
    assert [asked.text for asked in around.agents.asked] == ["Look it up", "write to me"]
    assert decided(around, "tier") == []


async def test_an_executor_is_asked_as_its_role_says() -> None:
    executor: JsonObject = {"agent": "small", "input": {"tone": "calm"}, "output_schema": {"required": ["sum"]}}
    around = world(executor=executor, plan_execute={}, limits={"max_rounds": 1})
    async with around.up():
        result = told(await around.ask())
    [asked] = around.agents.asked_of("agent:small")
    assert asked.input["tone"] == "calm"
    assert json_object(json_list(result["gaps"])[0])["error"] == "schema"


async def test_a_spent_budget_still_gives_what_there_is() -> None:
    around = world(limits={"tokens": 150, "concurrency": 1}, synthesiser="word")
    around.agents.answers |= {
        "agent:chief": says({"steps": [{"id": f"s{n}"} for n in range(3)]}),
        "agent:word": says("what there is"),
    }
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.body.content().text == "what there is"
    assert [json_object(gap)["error"] for gap in json_list(told(result)["gaps"])] == ["budget"] * 2
    assert len(around.agents.asked_of("agent:chief")) == 1


async def test_the_caller_may_have_a_failed_step_tried_again() -> None:
    tries: list[str] = []

    async def third_time(asked: Asked) -> "Json | Complete":
        tries.append(asked.target)
        return failing("not now") if len(tries) < 3 else {"ok": 1}

    scene = Scene(
        settings={
            "pattern": "plan_execute",
            "planner": "chief",
            "plan_execute": {"tiers": TIERS},
            "limits": {"on_failure": "ask", "max_rounds": 1},
        },
        agents=lambda: {"agent:chief": says(TWO), "agent:small": third_time, "agent:large": third_time},
        replies=("retry",),
    )
    around = scene.world()
    async with around.up():
        await around.ask("go", meta={"return_immediately": True, "message_id": "m"})
        [run_id] = around.runs.runs
        while around.runs.runs[run_id].state != "input_required":
            await anyio.lowlevel.checkpoint()
        result = told(await around.ask("retry", meta={"task": run_id, "message_id": "m2"}))
    assert result["answer"] == {"find": {"ok": 1}, "tell": {"ok": 1}}
    assert result["gaps"] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"executor": "e"},
        {"planner": "p"},
        {"planner": "p", "executor": "e", "plan_execute": {"tiers": [{"agent": "t"}]}},
        {"planner": "p", "plan_execute": {"tiers": [{"agent": "a", "cost": 2}, {"agent": "b", "cost": 1}]}},
        {"planner": "p", "plan_execute": {"tiers": [{"agent": "a"}, {"agent": "a", "cost": 2}]}},
        {"planner": "p", "executor": "e", "synthesiser": "s", "limits": {"calls": 2}},
        {"planner": {"rule": "magic"}, "executor": "e"},
        {
            "planner": {"agent": "p", "timeout_s": 40},
            "executor": {"agent": "e", "timeout_s": 30},
            "limits": {"deadline_s": 60},
        },
    ],
    ids=[
        "no planner",
        "no executor",
        "both",
        "wrong order",
        "twice",
        "too few calls",
        "unknown rule",
        "too short",
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: JsonObject) -> None:
    with pytest.raises(InvalidRequest):
        PlanExecute(settings)


# Pure parts


def test_attempts_that_failed_count_for_what_it_cost_and_not_for_the_top_tier() -> None:
    usage = Usage(tokens=100, cost_usd=Decimal("0.01"))
    large = Usage(tokens=100, cost_usd=Decimal("0.1"))
    report = cost_report(
        [
            Spent(by="executor small", usage=usage, cost=1, counts=False),
            Spent(by="executor large", usage=large, cost=10),
        ],
        10,
    )
    assert (report["cost_usd"], report["top_tier_cost_usd"], report["saved_share"]) == ("0.11", "0.1", -0.1)


def test_without_money_tokens_are_compared() -> None:
    report = cost_report([Spent(by="executor small", usage=Usage(tokens=100), cost=1)], 4)
    assert (report["units"], report["top_tier_units"], report["saved_share"]) == (100.0, 400.0, 0.75)
    assert "saved_share" not in cost_report([], 4)


@given(st.lists(st.booleans(), max_size=60), st.floats(0, 1), st.floats(0.1, 50))
def test_an_estimate_lies_between_the_expectation_and_the_record(
    outcomes: list[bool], prior: float, weight: float
) -> None:
    estimate = estimated(outcomes, prior=prior, weight=weight)
    measured = sum(outcomes) / len(outcomes) if outcomes else prior
    assert min(prior, measured) - 1e-9 <= estimate <= max(prior, measured) + 1e-9
    assert estimated([*outcomes, True], prior=prior, weight=weight) >= estimate - 1e-9


def climbing() -> Scene:
    """A step that goes up, one that fails for good, a second plan, and a synthesiser."""

    async def chief(asked: Asked) -> Json:
        if "failed" in asked.input:
            return {"steps": [{"id": "instead", "agent": "helper", "after": ["find"]}]}
        return {"steps": [{"id": "find"}, {"id": "hard", "after": ["find"]}, {"id": "end", "after": ["hard"]}]}

    async def small(asked: Asked) -> Complete:
        return failing("too hard")

    async def large(asked: Asked) -> "Json | Complete":
        return failing("too hard") if asked.member["results"] else {"by": "large"}

    agents: dict[str, Answering] = {
        "agent:chief": chief,
        "agent:small": small,
        "agent:large": large,
        "agent:helper": says({"by": "helper"}),
        "agent:word": says("done"),
    }
    settings = {
        "pattern": "plan_execute",
        "planner": "chief",
        "synthesiser": "word",
        "agents": ["helper"],
        "plan_execute": {"tiers": TIERS},
    }
    return Scene(settings=settings, agents=lambda: agents)


@pytest.mark.parametrize("where", INSTANTS)
@pytest.mark.parametrize("scene", [climbing])
async def test_a_plan_survives_every_crash(scene: Callable[[], Scene], where: Instant) -> None:
    await outlives_crashes(scene(), where)
