"""A plan worked off by agents: side by side, reviewed, proposed before it is committed."""

import anyio
import pytest

from gateway.core.errors import InvalidRequest, Unavailable
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.labels import Labels
from gateway.core.limits import Usage
from gateway.core.model import Complete
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.supervisor.pattern import Supervisor
from tests.fakes_orchestration import Answering, Asked, World, answer, failing, says, told

pytestmark = pytest.mark.anyio


def world(**settings: object) -> World:
    workflow = WorkflowSettings.model_validate({"pattern": "supervisor", **settings})
    return World(patterns={"supervisor": Supervisor}, workflows={"help": workflow})


def planned(*steps: JsonObject) -> Answering:
    return says({"steps": [*steps]})


def decisions_in(around: World) -> list[JsonObject]:
    [run_id] = around.runs.runs
    details = [json_object(each.body.get("detail")) for each in around.runs.log[run_id].values()]
    return [each for each in details if each.get("event") == "decided"]


def decided(around: World, what: str) -> list[tuple[Json, Json]]:
    """What was chosen, and why."""
    return [(each["chosen"], each["because"]) for each in decisions_in(around) if each["what"] == what]


def first_fails(value: Json) -> Answering:
    tried = [False]

    async def answering(asked: Asked) -> "Json | Complete":
        if not tried[0]:
            tried[0] = True
            return failing("not today")
        return value

    return answering


async def test_independent_steps_run_side_by_side_and_dependent_ones_get_their_results() -> None:
    arrived, both = [0], anyio.Event()

    async def meet(asked: Asked) -> Json:
        arrived[0] += 1
        if arrived[0] == 2:
            both.set()
        await both.wait()
        return {"from": asked.target, "drawbridge": {"summary": f"{asked.target} met"}}

    around = world(planner="triage", agents=["a", "b", "c"])
    around.agents.answers |= {
        "agent:triage": planned(
            {"id": "one", "agent": "a", "input": {"x": 1}},
            {"id": "two", "agent": "b"},
            {"id": "three", "agent": "c", "after": ["one", "two"]},
        ),
        "agent:a": meet,
        "agent:b": meet,
        "agent:c": says({"done": True}, summary="joined"),
    }
    async with around.up():
        result = await around.ask("help me")
    [triage] = around.agents.asked_of("agent:triage")
    assert triage.input["workers"] == ["agent:a", "agent:b", "agent:c"]
    assert triage.member["task"] == "help me"
    [joined] = around.agents.asked_of("agent:c")
    assert joined.member["results"] == {
        "one": {"summary": "agent:a met", "value": {"from": "agent:a"}},
        "two": {"summary": "agent:b met", "value": {"from": "agent:b"}},
    }
    assert told(result)["answer"] == {"one": {"from": "agent:a"}, "two": {"from": "agent:b"}, "three": {"done": True}}
    assert isinstance(result, Complete)
    assert result.body.content().text == "one: agent:a met\ntwo: agent:b met\nthree: joined"


async def test_what_the_planner_wrote_taints_the_steps_it_wrote_it_for() -> None:
    async def tainted(asked: Asked) -> Complete:
        return answer({"steps": [{"id": "s", "agent": "a"}]}, labels=Labels(untrusted=frozenset({"agent:triage"})))

    around = world(planner="triage", agents=["a"])
    around.agents.answers |= {"agent:triage": tainted, "agent:a": says({})}
    async with around.up():
        await around.ask()
    assert around.agents.asked_of("agent:a")[0].request.labels == Labels(untrusted=frozenset({"agent:triage"}))


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": []},
        {"steps": [{"id": "s", "agent": "ghost"}]},
        {"steps": [{"id": "a b", "agent": "a"}]},
        {"steps": [{"id": "s", "agent": "a", "after": ["t"]}]},
        {"steps": [{"id": "s", "agent": "a", "after": ["t"]}, {"id": "t", "agent": "a", "after": ["s"]}]},
        {"steps": [{"id": f"s{n}", "agent": "a"} for n in range(4)]},
        {"steps": [{"id": "s", "agent": "a"}, {"id": "s", "agent": "a"}]},
        {"nothing": 1},
    ],
    ids=["empty", "unknown agent", "bad id", "unknown step", "circle", "too many", "twice", "no plan"],
)
async def test_a_planner_is_told_once_why_its_plan_cannot_be_run(bad: JsonObject) -> None:
    plans: list[Json] = [bad, {"steps": [{"id": "s", "agent": "a"}]}]

    async def planner(asked: Asked) -> Json:
        return plans.pop(0)

    around = world(planner="triage", agents=["a"], limits={"max_steps": 3})
    around.agents.answers |= {"agent:triage": planner, "agent:a": says({"ok": 1})}
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"s": {"ok": 1}}
    second = around.agents.asked_of("agent:triage")[1]
    assert isinstance(second.input["error"], str)
    assert second.input["plan"] == bad


async def test_a_planner_that_is_wrong_twice_ends_the_run_clearly() -> None:
    around = world(planner="triage", agents=["a"])
    around.agents.answers |= {"agent:triage": planned({"id": "s", "agent": "ghost"}), "agent:a": says({})}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.is_error
    assert "agent:ghost" in str(told(result)["error"])
    assert around.agents.asked_of("agent:a") == []


async def test_a_plan_in_words_is_understood() -> None:
    around = world(planner="triage", agents=["a"])
    text = 'Here it is:\n```json\n{"steps": [{"id": "s", "agent": "a", "input": "do it"}]}\n```'
    around.agents.answers |= {"agent:triage": says(text), "agent:a": says({"ok": 1})}
    async with around.up():
        assert told(await around.ask())["answer"] == {"s": {"ok": 1}}
    assert around.agents.asked_of("agent:a")[0].text == "do it"


async def test_partial_success_is_an_answer_that_names_its_gaps() -> None:
    async def down(asked: Asked) -> Json:
        raise Unavailable("switched off")

    around = world(
        plan=[
            {"id": "good", "agent": "a"},
            {"id": "bad", "agent": "b"},
            {"id": "lost", "agent": "a", "after": ["bad"]},
        ],
        limits={"retries": 0},
    )
    around.agents.answers |= {"agent:a": says({"ok": 1}, summary="fine"), "agent:b": down}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert not result.is_error
    assert told(result)["gaps"] == [
        {"step": "bad", "target": "agent:b", "error": "unavailable", "reason": "switched off"},
        {"step": "lost", "target": "agent:a", "error": "skipped", "reason": "it needed bad"},
    ]
    assert result.body.content().text == "good: fine\nbad: not done (switched off)\nlost: not done (it needed bad)"


async def test_a_failed_step_is_done_again_once_and_what_waited_for_it_gets_its_turn() -> None:
    around = world(plan=[{"id": "one", "agent": "a"}, {"id": "two", "agent": "b", "after": ["one"]}])
    around.agents.answers |= {"agent:a": first_fails({"a": 1}), "agent:b": says({"b": 1})}
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"one": {"a": 1}, "two": {"b": 1}}
    assert result["gaps"] == []
    first, again = around.agents.asked_of("agent:a")
    assert first.request.step_id == again.request.step_id
    assert again.request.meta["message_id"] == f"{first.request.meta['message_id']}.2"
    assert json_object(around.agents.asked_of("agent:b")[0].member["results"])["one"] == {
        "summary": "",
        "value": {"a": 1},
    }


async def test_a_failed_step_goes_to_whoever_takes_over() -> None:
    async def fails(asked: Asked) -> Complete:
        return failing("broken")

    around = world(plan=[{"id": "one", "agent": "a"}], fallback={"a": "b"})
    around.agents.answers |= {"agent:a": fails, "agent:b": says({"by": "b"})}
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"one": {"by": "b"}}
    [shown] = [step for step in around.runs.kept_steps.values() if step.attempt == 2]
    assert (shown.target, shown.state) == ("agent:b", "ok")


@pytest.mark.parametrize(("rounds", "tries"), [(1, 1), (2, 2), (3, 3)])
async def test_there_are_no_more_rounds_than_allowed(rounds: int, tries: int) -> None:
    async def fails(asked: Asked) -> Complete:
        return failing("broken")

    around = world(plan=[{"id": "one", "agent": "a"}], limits={"max_rounds": rounds})
    around.agents.answers["agent:a"] = fails
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.is_error
    assert len(around.agents.asked) == tries


async def test_a_spent_budget_still_gives_the_best_partial_answer() -> None:
    async def costly(asked: Asked) -> Complete:
        return answer({"n": len(around.agents.asked)}, usage=Usage(tokens=60))

    around = world(
        plan=[{"id": f"s{n}", "agent": "a"} for n in range(3)],
        synthesiser="word",
        limits={"tokens": 100, "concurrency": 1},
    )
    around.agents.answers |= {"agent:a": costly, "agent:word": says("what there is")}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.body.content().text == "what there is"
    assert [json_object(gap)["error"] for gap in json_list(told(result)["gaps"])] == ["budget", "budget"]
    [word] = around.agents.asked_of("agent:word")
    assert [json_object(gap)["step"] for gap in json_list(word.input["gaps"])] == ["s1", "s2"]


async def test_a_synthesiser_that_fails_is_replaced_by_the_rule() -> None:
    async def fails(asked: Asked) -> Complete:
        return failing("no words")

    around = world(plan=[{"id": "one", "agent": "a"}], synthesiser="word")
    around.agents.answers |= {"agent:a": says({"a": 1}, summary="one is done"), "agent:word": fails}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.body.content().text == "one: one is done"


PASSING_SHIPS: list[JsonObject] = [
    {"id": "refund", "agent": "refunds", "reads": ["substitute"]},
    {"id": "replace", "agent": "replacements"},
    {"id": "call", "agent": "scheduling", "reads": ["substitute", "refund"]},
]


def passing_ships(around: World) -> None:
    """The ordered item is discontinued, and what replaces it costs more: the others learn of it too late."""

    async def refunds(asked: Asked) -> Json:
        pad = json_object(asked.member["scratchpad"])
        price = json_object(json_object(pad.get("substitute")).get("value")).get("price", 30)
        assert isinstance(price, int)
        amount = 50 - price
        return {"amount": amount, "drawbridge": {"writes": {"refund": {"amount": amount}}, "summary": f"{amount} back"}}

    async def replacements(asked: Asked) -> Json:
        return {"sku": "B2", "drawbridge": {"writes": {"substitute": {"sku": "B2", "price": 40}}, "summary": "B2"}}

    async def scheduling(asked: Asked) -> Json:
        pad = json_object(asked.member["scratchpad"])
        refund = json_object(json_object(pad.get("refund")).get("value")).get("amount")
        return {"topic": f"refund of {refund}", "drawbridge": {"summary": "call"}}

    around.agents.answers |= {
        "agent:refunds": refunds,
        "agent:replacements": replacements,
        "agent:scheduling": scheduling,
    }


def asked_in(around: World, phase: str) -> dict[str, int]:
    counted: dict[str, int] = {}
    for asked in around.agents.asked:
        if asked.phase == phase:
            counted[asked.target] = counted.get(asked.target, 0) + 1
    return counted


async def test_passing_ships_are_found_while_agents_only_propose() -> None:
    around = world(plan=PASSING_SHIPS, propose=True)
    passing_ships(around)
    async with around.up():
        result = told(await around.ask())
    assert asked_in(around, "propose") == {"agent:refunds": 2, "agent:replacements": 1, "agent:scheduling": 2}
    assert asked_in(around, "commit") == {"agent:refunds": 1, "agent:replacements": 1, "agent:scheduling": 1}
    commits = {asked.target: asked for asked in around.agents.asked if asked.phase == "commit"}
    assert commits["agent:refunds"].input["proposal"] == {"amount": 10}
    assert commits["agent:scheduling"].input["proposal"] == {"topic": "refund of 10"}
    assert result["answer"] == {"refund": {"amount": 10}, "replace": {"sku": "B2"}, "call": {"topic": "refund of 10"}}
    phases = [(step.phase, step.attempt) for step in around.runs.kept_steps.values() if step.target == "agent:refunds"]
    assert phases == [("propose", 1), ("propose", 2), ("commit", 1)]


async def test_nothing_is_committed_while_agents_contradict_each_other() -> None:
    async def stubborn(asked: Asked) -> Json:
        return {"n": len(around.agents.asked), "drawbridge": {"writes": {"price": len(around.agents.asked)}}}

    plan = [{"id": "one", "agent": "a", "reads": ["price"]}, {"id": "two", "agent": "b", "reads": ["price"]}]
    around = world(plan=plan, propose=True)
    around.agents.answers |= {"agent:a": stubborn, "agent:b": stubborn}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.is_error
    assert "no agreement" in str(told(result)["error"])
    assert asked_in(around, "commit") == {}
    assert len(around.agents.asked) <= 2 + 2 * 3


async def test_of_two_writers_the_one_that_was_overtaken_sees_what_stands_there_and_decides() -> None:
    async def writer(asked: Asked) -> Json:
        seen = json_object(json_object(asked.member["scratchpad"]).get("price"))
        return {"saw": seen.get("version", 0), "drawbridge": {"writes": {"price": asked.target}}}

    around = world(plan=[{"id": "one", "agent": "a"}, {"id": "two", "agent": "b"}], propose=True)
    around.agents.answers |= {"agent:a": writer, "agent:b": writer}
    async with around.up():
        await around.ask()
    assert asked_in(around, "propose") == {"agent:a": 1, "agent:b": 2}
    assert decided(around, "again") == [(["two"], "two was overtaken: another has written price")]
    [committed] = [asked for asked in around.agents.asked_of("agent:b") if asked.phase == "commit"]
    assert committed.input["proposal"] == {"saw": 1}


async def test_who_builds_on_a_result_that_changed_proposes_again() -> None:
    async def reader(asked: Asked) -> Json:
        pad = json_object(asked.member["scratchpad"])
        return {"saw": json_object(pad.get("price")).get("version", 0)}

    async def builder(asked: Asked) -> Json:
        return {"on": json_object(json_object(asked.member["results"])["read"])["value"]}

    around = world(
        plan=[
            {"id": "read", "agent": "reader", "reads": ["price"]},
            {"id": "build", "agent": "builder", "after": ["read"]},
            {"id": "write", "agent": "writer"},
        ],
        propose=True,
    )
    around.agents.answers |= {
        "agent:reader": reader,
        "agent:builder": builder,
        "agent:writer": says({}, writes={"price": 3}),
    }
    async with around.up():
        result = told(await around.ask())
    assert json_object(result["answer"])["build"] == {"on": {"saw": 1}}
    assert asked_in(around, "propose") == {"agent:reader": 2, "agent:builder": 2, "agent:writer": 1}
    assert decided(around, "again") == [
        (["read"], "read was overtaken: price has changed since"),
        (["build"], "build was overtaken: what read answers has changed since"),
    ]
    assert decided(around, "plan") == [(["read", "build", "write"], "read, build, write, the workflow's own")]


async def test_why_a_proposal_was_asked_for_once_more_and_of_whom_is_kept() -> None:
    around = world(plan=[{"id": "one", "agent": "a"}], propose=True, fallback={"a": "b"})
    around.agents.answers |= {"agent:a": first_fails({}), "agent:b": says({"n": 1})}
    async with around.up():
        await around.ask()
    assert decided(around, "retry") == [(["one"], "not done: one (not today)")]
    [told_of] = [each for each in decisions_in(around) if each["what"] == "retry"]
    assert (told_of["round"], told_of["stand_ins"]) == (2, {"one": "b"})


async def test_who_says_that_nothing_is_to_be_committed_is_not_asked_to() -> None:
    around = world(plan=[{"id": "look", "agent": "a"}, {"id": "act", "agent": "b", "after": ["look"]}], propose=True)
    around.agents.answers |= {"agent:a": says({"found": 1}, commits=False), "agent:b": says({"acted": 1})}
    async with around.up():
        result = told(await around.ask())
    assert asked_in(around, "commit") == {"agent:b": 1}
    acted = around.agents.asked[-1]
    assert json_object(acted.member["results"])["look"] == {"summary": "", "value": {"found": 1}}
    assert result["answer"] == {"look": {"found": 1}, "act": {"acted": 1}}


async def test_a_step_that_fails_while_proposing_is_a_gap_and_the_rest_is_committed() -> None:
    async def fails(asked: Asked) -> Complete:
        return failing("off")

    around = world(plan=PASSING_SHIPS, propose=True)
    passing_ships(around)
    around.agents.answers["agent:scheduling"] = fails
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert not result.is_error
    assert [json_object(gap)["step"] for gap in json_list(told(result)["gaps"])] == ["call"]
    assert asked_in(around, "commit") == {"agent:refunds": 1, "agent:replacements": 1}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"planner": "p", "plan": [{"id": "a", "agent": "a"}], "agents": ["a"]},
        {"planner": "p"},
        {"plan": [{"id": "a", "agent": "a", "after": ["b"]}]},
    ],
    ids=["nothing", "both", "no agents", "unknown step"],
)
def test_settings_that_make_no_sense_are_refused(settings: JsonObject) -> None:
    with pytest.raises(InvalidRequest):
        Supervisor(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"critic": "c"},
        {"critic": {"rule": "rules", "options": {"fields": ["done"]}}},
        {"limits": {"on_failure": "ask"}},
        {"plan": [{"id": "one", "agent": "a", "verify": [{"field": "id", "tool": "orders/find"}]}]},
    ],
)
def test_what_is_only_proposed_is_neither_reviewed_nor_looked_up_nor_asked_about(settings: dict[str, Json]) -> None:
    given: dict[str, Json] = {"pattern": "supervisor", "plan": [{"id": "one", "agent": "a"}], **settings}
    Supervisor(WorkflowSettings.model_validate(given).to_json())
    with pytest.raises(InvalidRequest):
        Supervisor(WorkflowSettings.model_validate({**given, "propose": True}).to_json())


async def test_a_step_of_a_fixed_plan_is_given_what_it_refers_to_of_the_task() -> None:
    settings = {
        "pattern": "supervisor",
        "plan": [
            {"id": "one", "tool": "orders/find", "input": {"order": "$task.order", "note": "$task.nothing", "n": 1}}
        ],
    }
    around = World(patterns={"supervisor": Supervisor}, workflows={"help": WorkflowSettings.model_validate(settings)})
    around.agents.answers["tool:orders/find"] = says({"found": True})
    async with around.up():
        await around.ask("look it up", data={"order": "A-7"})
    assert [asked.input for asked in around.agents.asked] == [{"order": "A-7", "n": 1}]
