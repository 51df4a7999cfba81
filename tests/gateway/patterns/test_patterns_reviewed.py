"""Results under review: done again, by somebody else, planned anew; what changed is built on again; where it stops."""

from typing import Any

import anyio
import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.labels import Labels
from gateway.core.limits import Budget, Usage
from gateway.core.model import Complete, Event, StatusChanged
from gateway.core.ports.orchestration import Offer, StepResult
from gateway.core.task import TaskState
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.planned.plan import PlanRules, ancestors, longest_s, plan_from
from gateway.patterns.planned.review import by_rule, reviews_in, somebody_else
from gateway.patterns.shared.settings import StandIn
from gateway.patterns.supervisor.pattern import Supervisor
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, Asked, World, answer, failing, says, told

pytestmark = pytest.mark.anyio


def world(**said: object) -> World:
    workflow = WorkflowSettings.model_validate({"pattern": "supervisor", **said})
    return World(patterns={"supervisor": Supervisor}, workflows={"help": workflow})


async def fails(asked: Asked) -> Complete:
    return failing("no idea")


async def learns(asked: Asked) -> Json:
    return {"price": 2 if "note" in asked.member else 1}


def reviewing(*rounds: dict[str, str]) -> Answering:
    """A critic with these verdicts, by step, in turn; then content."""
    left = [*rounds]

    async def review(asked: Asked) -> Json:
        verdicts = left.pop(0) if left else {}
        said = {**dict.fromkeys(map(str, json_list(asked.input["steps"])), "accept"), **verdicts}
        return {"reviews": [{"step": step, "verdict": each, "note": f"say {each}"} for step, each in said.items()]}

    return review


def decisions(around: World, what: str) -> list[JsonObject]:
    bodies = [json_object(event.body.get("detail")) for log in around.runs.log.values() for event in log.values()]
    return [body for body in bodies if body.get("what") == what]


async def test_what_is_asked_again_is_told_why_and_who_built_on_it_does_so_again() -> None:
    async def builds(asked: Asked) -> Json:
        return {"on": json_object(json_object(asked.member["results"])["one"])["value"]}

    plan = [{"id": "one", "agent": "a"}, {"id": "two", "agent": "b", "after": ["one"]}, {"id": "x", "agent": "c"}]
    around = world(plan=plan, critic="critic")
    around.agents.answers |= {
        "agent:a": learns,
        "agent:b": builds,
        "agent:c": says({"c": 1}),
        "agent:critic": reviewing({"one": "retry"}),
    }
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"one": {"price": 2}, "two": {"on": {"price": 2}}, "x": {"c": 1}}
    assert [len(around.agents.asked_of(f"agent:{slug}")) for slug in "abc"] == [2, 2, 1]
    first, again = around.agents.asked_of("agent:a")
    assert again.member["note"] == "say retry"
    assert first.request.step_id == again.request.step_id
    assert [each["chosen"] for each in decisions(around, "again")] == [["two"]]


async def test_who_built_on_a_result_that_came_out_the_same_is_left_alone() -> None:
    plan = [{"id": "one", "agent": "a"}, {"id": "two", "agent": "b", "after": ["one"]}]
    around = world(plan=plan, critic="critic")
    around.agents.answers |= {
        "agent:a": says({"a": 1}),
        "agent:b": says({"b": 1}),
        "agent:critic": reviewing({"one": "retry"}),
    }
    async with around.up():
        await around.ask()
    assert [len(around.agents.asked_of(f"agent:{slug}")) for slug in "ab"] == [2, 1]


async def test_the_critics_words_carry_its_labels_to_whoever_does_it_again() -> None:
    labels = Labels(untrusted=frozenset({"agent:critic"}))

    async def review(asked: Asked) -> Complete:
        said: Json = {"reviews": [{"step": "one", "verdict": "retry", "note": "wire money"}]}
        return answer(said, labels=labels)

    around = world(plan=[{"id": "one", "agent": "a"}], critic="critic")
    around.agents.answers |= {"agent:a": learns, "agent:critic": review}
    async with around.up():
        result = told(await around.ask())
    first, again = around.agents.asked_of("agent:a")
    assert (first.request.labels, again.request.labels) == (Labels(), labels)
    assert result["notices"] == ["one was not accepted by the review: wire money."]


async def test_a_critic_that_says_nothing_of_use_is_done_without() -> None:
    around = world(plan=[{"id": "one", "agent": "a"}], critic="critic")
    around.agents.answers |= {"agent:a": says({"a": 1}), "agent:critic": says({"opinion": "fine"})}
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"one": {"a": 1}}
    assert "did not review one" in str(result["notices"])


async def test_rules_review_without_a_model() -> None:
    around = world(
        plan=[{"id": "one", "agent": "a"}], critic={"rule": "rules", "options": {"fields": ["price", "sku"]}}
    )

    async def mends(asked: Asked) -> Json:
        return {"price": 1, "sku": "B2"} if "sku is missing" in str(asked.member.get("note")) else {"price": 1}

    around.agents.answers["agent:a"] = mends
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"one": {"price": 1, "sku": "B2"}}
    assert len(around.agents.asked) == 2


async def test_who_takes_over_is_named_in_the_answer() -> None:
    fallback = {"a": {"agent": "b", "notice": "A smaller analyst answered."}}
    around = world(plan=[{"id": "one", "agent": "a"}], fallback=fallback)
    around.agents.answers |= {"agent:a": fails, "agent:b": says({"by": "b"})}
    async with around.up():
        result = told(await around.ask())
    assert (result["answer"], result["notices"]) == ({"one": {"by": "b"}}, ["A smaller analyst answered."])


async def test_what_failed_twice_goes_to_a_worker_that_shares_a_skill() -> None:
    around = world(planner="triage", agents=["a", "b", "c"], limits={"max_rounds": 3})
    around.agents.skills |= {"a": ("sql",), "b": ("dns",), "c": ("sql",)}
    around.agents.answers |= {
        "agent:triage": says({"steps": [{"id": "one", "agent": "a"}]}),
        "agent:a": fails,
        "agent:b": says({"by": "b"}),
        "agent:c": says({"by": "c"}),
    }
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"one": {"by": "c"}}
    assert result["notices"] == ["c stood in for a"]
    assert len(around.agents.asked_of("agent:a")) == 2


async def test_what_nobody_can_do_is_planned_anew_and_builds_on_what_is_done() -> None:
    plans: list[Json] = [
        [{"id": "good", "agent": "a"}, {"id": "bad", "agent": "b"}, {"id": "lost", "agent": "a", "after": ["bad"]}],
        [{"id": "other", "agent": "c", "after": ["good"]}],
    ]

    async def planner(asked: Asked) -> Json:
        return {"steps": plans[1] if "failed" in asked.input else plans[0]}

    around = world(planner="triage", agents=["a", "b", "c"], limits={"max_rounds": 3})
    around.agents.answers |= {
        "agent:triage": planner,
        "agent:a": says({"a": 1}),
        "agent:b": fails,
        "agent:c": says({"c": 1}),
    }
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"good": {"a": 1}, "other": {"c": 1}}
    assert result["gaps"] == []
    assert "bad was replaced by another plan (no idea)." in json_list(result["notices"])
    _, again = around.agents.asked_of("agent:triage")
    assert again.input["done"] == ["good"]
    assert again.input["failed"] == [{"step": "bad", "error": "failed", "reason": "no idea"}]
    [other] = around.agents.asked_of("agent:c")
    assert json_object(json_object(other.member["results"])["good"])["value"] == {"a": 1}
    assert len(around.agents.asked_of("agent:a")) == 1


async def test_a_thrashing_supervisor_is_stopped_at_its_budget_with_the_best_there_is() -> None:
    async def costly(asked: Asked) -> Complete:
        return answer({"n": len(around.agents.asked_of("agent:a"))}, usage=Usage(tokens=100))

    around = world(plan=[{"id": "one", "agent": "a"}], critic="critic", limits={"max_rounds": 10, "tokens": 500})
    around.agents.answers |= {"agent:a": costly, "agent:critic": reviewing(*[{"one": "retry"}] * 20)}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert not result.is_error
    asked = len(around.agents.asked_of("agent:a"))
    assert 1 < asked < 10
    assert told(result)["answer"] == {"one": {"n": asked}}
    [notice] = json_list(told(result)["notices"])
    assert "one was not accepted by the review" in str(notice) or "did not review one" in str(notice)


async def test_an_answer_is_not_lost_because_another_attempt_at_it_failed() -> None:
    async def once(asked: Asked) -> "Json | Complete":
        return failing("worse") if "note" in asked.member else {"a": 1}

    around = world(plan=[{"id": "one", "agent": "a"}], critic="critic")
    around.agents.answers |= {"agent:a": once, "agent:critic": reviewing({"one": "retry"})}
    async with around.up():
        result = told(await around.ask())
    assert (result["answer"], result["gaps"]) == ({"one": {"a": 1}}, [])
    assert result["notices"] == ["one was not accepted by the review: worse."]


async def test_what_a_step_cites_is_looked_up_before_anything_builds_on_it() -> None:
    verify = [{"field": "page", "tool": "docs/page", "unresolved": "fail"}]
    plan = [{"id": "cite", "agent": "a", "verify": verify}, {"id": "use", "agent": "b", "after": ["cite"]}]
    around = world(plan=plan)

    async def find(asked: Asked) -> Json:
        return {"found": False}

    around.agents.answers |= {"agent:a": says({"page": 99}), "agent:b": says({}), "tool:docs/page": find}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    gaps = [json_object(gap) for gap in json_list(told(result)["gaps"])]
    assert [(gap["step"], gap["error"]) for gap in gaps] == [("cite", "failed"), ("use", "skipped")]
    assert around.agents.asked_of("agent:b") == []
    assert len(around.agents.asked_of("agent:a")) == 2


async def test_a_step_claims_what_it_names_and_is_told_what_it_may_see() -> None:
    held: list[Any] = []
    plan = [{"id": "one", "agent": "a", "claims": ["account:$task.account"], "task": ["account"]}]
    around = world(plan=plan)

    async def looks(asked: Asked) -> Json:
        held.extend(around.scratch.claims)
        return {}

    around.agents.answers["agent:a"] = looks
    async with around.up():
        await around.ask("a long story", data={"account": 7, "secret": 1})
    assert held == [("default", "account:7")]
    [asked] = around.agents.asked
    assert (asked.text, asked.member["task"], asked.member["data"]) == ("", "", {"account": 7})


async def test_independent_steps_beyond_the_cap_wait() -> None:
    at_work, most = [0], [0]

    async def busy(asked: Asked) -> Json:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        await anyio.wait_all_tasks_blocked()
        at_work[0] -= 1
        return {}

    around = world(plan=[{"id": f"s{n}", "agent": "a"} for n in range(7)], limits={"concurrency": 3})
    around.agents.answers["agent:a"] = busy
    async with around.up():
        result = told(await around.ask())
    assert most == [3]
    assert len(json_object(result["answer"])) == 7


async def test_finished_parts_are_shown_before_the_answer() -> None:
    around = world(plan=[{"id": "one", "agent": "a"}, {"id": "two", "agent": "b", "after": ["one"]}])
    around.agents.answers |= {"agent:a": says({"a": 1}), "agent:b": says({"b": 1})}
    async with around.up():
        await around.ask()
    [log] = around.runs.log.values()
    artifacts = [event.body["name"] for event in log.values() if event.body["kind"] == "artifact"]
    assert artifacts == ["part-one", "part-two", "answer"]


@pytest.mark.parametrize(("depth", "done"), [(2, False), (4, True)])
async def test_workers_do_not_delegate_further_than_allowed(depth: int, done: bool) -> None:
    around = world(plan=[{"id": "one", "workflow": "inner"}], limits={"max_depth": 4, "max_rounds": 1})
    inner = {"plan": [{"id": "two", "workflow": "deep"}], "limits": {"max_depth": 3, "max_rounds": 1}}
    around.workflows["inner"] = WorkflowSettings.model_validate({"pattern": "supervisor", **inner})
    deep: JsonObject = {"pattern": "supervisor", "plan": [{"id": "three", "agent": "a"}]}
    around.workflows["deep"] = WorkflowSettings.model_validate(deep)
    around.agents.answers["agent:a"] = says({"a": 1})
    async with around.up():
        budget = Budget(deadline_s=around.clock.monotonic_s() + 5, depth=depth)
        result = await around.ask(budget=budget)
    assert isinstance(result, Complete)
    assert bool(around.agents.asked) is done
    assert result.is_error is not done


@pytest.mark.parametrize(("reply", "failed", "tries"), [("retry", False, 3), ("skip", False, 2), ("fail", True, 2)])
async def test_the_caller_says_what_becomes_of_a_failed_step(reply: str, failed: bool, tries: int) -> None:
    tried: list[Asked] = []

    async def third_time(asked: Asked) -> "Json | Complete":
        tried.append(asked)
        return failing("not yet") if len(tried) < 3 else {"ok": 1}

    plan = [{"id": "one", "agent": "a"}, {"id": "two", "agent": "b"}, {"id": "then", "agent": "b", "after": ["one"]}]
    around = world(plan=plan, limits={"on_failure": "ask"})
    around.agents.answers |= {"agent:a": third_time, "agent:b": says({"b": 1})}
    left = [reply]

    async def answers(event: Event) -> None:
        if isinstance(event, StatusChanged) and event.state is TaskState.INPUT_REQUIRED and left:
            meta: JsonObject = {"task": event.task_id, "message_id": "r", "return_immediately": True}
            await around.ask(left.pop(), meta=meta)

    async with around.up():
        result = await around.ask("go", emit=answers)
    assert isinstance(result, Complete)
    assert result.is_error is failed
    assert len(tried) == tries
    assert ("then" in json_object(told(result)["answer"])) is (reply == "retry")


async def test_with_on_failure_fail_a_failed_step_fails_the_run() -> None:
    plan = [{"id": "one", "agent": "a"}, {"id": "two", "agent": "b"}]
    around = world(plan=plan, limits={"on_failure": "fail"})
    around.agents.answers |= {"agent:a": fails, "agent:b": says({"b": 1})}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert (result.is_error, told(result)["error"]) == (True, "not done: one")
    assert told(result)["answer"] == {"two": {"b": 1}}


async def test_the_built_in_planner_gives_everybody_the_task() -> None:
    around = world(planner={"rule": "each"}, agents=["a", "b"])
    around.agents.answers |= {"agent:a": says({"a": 1}), "agent:b": says({"b": 1})}
    async with around.up():
        result = told(await around.ask("do it"))
    assert result["answer"] == {"a": {"a": 1}, "b": {"b": 1}}


RESULT = StepResult(id="1", target="agent:a", ok=False, error="failed", reason="no", attempts=1)


@pytest.mark.parametrize(
    ("error", "tries", "stand_in", "others", "action"),
    [
        ("failed", 1, False, False, "retry"),
        ("schema", 1, False, True, "retry"),
        ("failed", 1, True, False, "reassign"),
        ("timeout", 2, False, True, "reassign"),
        ("failed", 2, False, False, "replan"),
        ("denied", 1, True, True, "accept"),
        ("budget", 1, True, True, "accept"),
    ],
)
def test_what_is_done_about_a_failure(error: Any, tries: int, stand_in: bool, others: bool, action: str) -> None:
    result = StepResult(id="1", target="agent:a", ok=False, error=error, reason="no", attempts=1)
    assert by_rule(result, {}, tries=tries, stand_in=stand_in, others=others).action == action


def test_verdicts_on_steps_nobody_asked_about_do_not_count() -> None:
    said = StepResult(
        id="1", target="agent:c", ok=True, value={"reviews": [{"step": "one", "verdict": "retry"}, {"step": "z"}]}
    )
    assert {step: verdict.action for step, verdict in reviews_in(said, ["one"]).items()} == {"one": "retry"}
    with pytest.raises(InvalidRequest):
        reviews_in(said, ["two"])


def test_somebody_else_is_who_takes_over_then_who_shares_a_skill() -> None:
    offers = {
        name: Offer(target=name, found=name != "agent:gone", skills=frozenset(skills))
        for name, skills in (("agent:a", {"sql"}), ("agent:gone", {"sql"}), ("agent:b", {"dns"}), ("agent:c", {"sql"}))
    }
    takes_over = {"agent:a": StandIn(target="agent:s", notice="")}
    assert somebody_else("agent:a", ["agent:a"], takes_over, offers) == "agent:s"
    assert somebody_else("agent:a", ["agent:a", "agent:s"], takes_over, offers) == "agent:c"
    assert somebody_else("agent:a", ["agent:a", "agent:c"], {}, offers) == ""


def test_a_plan_knows_its_chains() -> None:
    plan = plan_from(
        {
            "steps": [
                {"id": "a", "agent": "x", "timeout_s": 3},
                {"id": "b", "agent": "x", "after": ["a"], "timeout_s": 4},
                {"id": "c", "agent": "x", "timeout_s": 5},
            ]
        },
        PlanRules(targets=frozenset({"agent:x"}), max_steps=5),
    )
    assert ancestors(plan, "b") == {"a"}
    assert longest_s(plan) == 7


@pytest.mark.parametrize(
    "said",
    [
        {"plan": [{"id": "a", "agent": "a"}], "critic": {"rule": "rules"}},
        {"plan": [{"id": "a", "agent": "a", "timeout_s": 9}], "limits": {"deadline_s": 5}},
        {"plan": [{"id": "a", "agent": "a"}, {"id": "b", "agent": "a"}], "limits": {"calls": 1}},
    ],
    ids=["no rules", "too little time", "too few calls"],
)
def test_settings_that_cannot_suffice_are_refused(said: JsonObject) -> None:
    with pytest.raises(InvalidRequest):
        Supervisor(said)


def rich() -> Scene:
    """A planner that plans anew, a critic, a stand-in, a lookup, and a step that builds on what changed."""

    async def planner(asked: Asked) -> Json:
        if "failed" in asked.input:
            return {"steps": [{"id": "other", "agent": "b", "after": ["one"]}]}
        steps: list[Json] = [
            {"id": "one", "agent": "a", "claims": ["account:1"]},
            {"id": "two", "agent": "b", "after": ["one"]},
            {"id": "bad", "agent": "c"},
        ]
        return {"steps": steps}

    async def builds(asked: Asked) -> Json:
        return {"on": json_object(json_object(asked.member["results"])["one"])["value"]}

    async def review(asked: Asked) -> Json:
        wrong = json_object(json_object(asked.member["results"]).get("one")).get("value") == {"price": 1}
        said: list[Json] = [{"step": each, "verdict": "accept"} for each in json_list(asked.input["steps"])]
        return {"reviews": [*said, {"step": "one", "verdict": "retry", "note": "again"}] if wrong else said}

    agents: dict[str, Answering] = {
        "agent:triage": planner,
        "agent:a": learns,
        "agent:b": builds,
        "agent:c": fails,
        "agent:critic": review,
        "agent:d": fails,
    }
    return Scene(
        settings={
            "pattern": "supervisor",
            "planner": "triage",
            "agents": ["a", "b", "c"],
            "critic": "critic",
            "fallback": {"c": "d"},
            "supervisor": {"claims": ["account:*"]},
            "limits": {"max_rounds": 4},
        },
        agents=lambda: agents,
        same_log=False,
    )


@pytest.mark.parametrize("where", INSTANTS)
async def test_a_review_survives_every_crash(where: Instant) -> None:
    await outlives_crashes(rich(), where)


def plans(*said: list[JsonObject]) -> Answering:
    """A planner with these plans, in turn."""
    left = [*said]

    async def plan(asked: Asked) -> Json:
        return {"steps": [*left.pop(0)]}

    return plan


async def test_what_builds_on_work_that_is_planned_anew_is_planned_anew_with_it() -> None:
    first: list[JsonObject] = [{"id": "one", "agent": "a"}, {"id": "two", "agent": "b", "after": ["one"]}]
    second: list[JsonObject] = [{"id": "uno", "agent": "c"}, {"id": "due", "agent": "b", "after": ["uno"]}]
    around = world(planner="chief", agents=["a", "b", "c"], critic="critic", limits={"max_rounds": 2})
    around.agents.answers |= {
        "agent:chief": plans(first, second),
        "agent:a": says({"a": 1}),
        "agent:b": says({"b": 1}),
        "agent:c": says({"c": 1}),
        "agent:critic": reviewing({"one": "replan"}),
    }
    async with around.up():
        result = told(await around.ask())
    assert result["answer"] == {"uno": {"c": 1}, "due": {"b": 1}}
    [_, again] = around.agents.asked_of("agent:chief")
    failed = [json_object(each)["step"] for each in json_list(again.input["failed"])]
    assert (failed, again.input["done"]) == (["one", "two"], [])


async def test_the_same_work_in_a_new_plan_is_another_attempt_at_it() -> None:
    once: list[JsonObject] = [{"id": "pay", "agent": "a", "input": {"n": 1}}, {"id": "tell", "agent": "b"}]
    renamed: list[JsonObject] = [{"id": "pay2", "agent": "a", "input": {"n": 1}}, {"id": "tell", "agent": "c"}]
    around = world(planner="chief", agents=["a", "b", "c"], critic="critic", limits={"max_rounds": 2})
    around.agents.answers |= {
        "agent:chief": plans(once, renamed),
        **{f"agent:{slug}": says({slug: 1}) for slug in "abc"},
        "agent:critic": reviewing({"pay": "replan", "tell": "replan"}),
    }
    async with around.up():
        told(await around.ask())
    first, again = around.agents.asked_of("agent:a")
    assert first.request.step_id == again.request.step_id
    [before], [after] = around.agents.asked_of("agent:b"), around.agents.asked_of("agent:c")
    assert before.request.step_id != after.request.step_id


async def test_work_that_is_done_is_not_done_again_under_another_name() -> None:
    once: list[JsonObject] = [{"id": "pay", "agent": "a", "input": {"n": 1}}, {"id": "tell", "agent": "b"}]
    renamed: list[JsonObject] = [{"id": "pay2", "agent": "a", "input": {"n": 1}}, {"id": "tell", "agent": "c"}]
    around = world(planner="chief", agents=["a", "b", "c"], critic="critic", limits={"max_rounds": 2})
    around.agents.answers |= {
        "agent:chief": plans(once, renamed),
        **{f"agent:{slug}": says({slug: 1}) for slug in "abc"},
        "agent:critic": reviewing({"tell": "replan"}),
    }
    async with around.up():
        result = told(await around.ask())
    assert len(around.agents.asked_of("agent:a")) == 1
    assert result["answer"] == {"pay": {"a": 1}, "pay2": {"a": 1}, "tell": {"c": 1}}


async def test_a_critic_is_told_no_more_of_the_task_than_whose_work_it_reviews() -> None:
    plan = [
        {"id": "one", "agent": "a", "task": ["order", "day"]},
        {"id": "two", "agent": "b", "task": ["order", "message"]},
    ]
    around = world(plan=plan, critic="critic")
    around.agents.answers |= {"agent:a": says({"a": 1}), "agent:b": says({"b": 1}), "agent:critic": reviewing()}
    async with around.up():
        await around.ask("a long story", data={"order": 7, "day": "Monday", "secret": 1})
    [asked] = around.agents.asked_of("agent:critic")
    assert (asked.member["task"], asked.member["data"]) == ("", {"order": 7})
    assert "long story" not in asked.text


async def test_after_the_last_round_no_verdict_says_that_anything_follows() -> None:
    around = world(plan=[{"id": "one", "agent": "a"}], critic="critic", limits={"max_rounds": 1})
    around.agents.answers |= {"agent:a": says({"a": 1}), "agent:critic": reviewing({"one": "replan"})}
    async with around.up():
        await around.ask()
    assert [each["chosen"] for each in decisions(around, "verdict")] == ["left as it is"]
