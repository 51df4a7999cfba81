"""Workers take tasks as they come, publish more, and write down what they find out, until the goal is reached."""

from typing import Any

import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, json_object
from gateway.core.labels import Labels
from gateway.core.limits import Budget
from gateway.core.model import Complete
from gateway.core.ports.orchestration import Gap
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.event_driven.pattern import EventDriven
from gateway.testing.agents import Agent, Asked, Reply, fails, hangs, in_turn, says, takes
from gateway.testing.rehearsal import Rehearsal, Stage, rehearse
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, World, answer
from tests.fakes_orchestration import says as answers

pytestmark = pytest.mark.anyio


def settings_of(agents: list[str], **settings: Any) -> WorkflowSettings:
    return WorkflowSettings.model_validate({"pattern": "event_driven", "agents": agents, **settings})


async def run(agents: dict[str, Agent], /, *, stage: dict[str, Any] | None = None, **settings: Any) -> Rehearsal:
    pattern = EventDriven(settings_of([*agents], **settings).to_json())
    around: dict[str, Any] = {"agents": {f"agent:{slug}": agent for slug, agent in agents.items()}, **(stage or {})}
    return await rehearse(pattern, Stage(**around))


def listens(**topics: Any) -> dict[str, Any]:
    """Settings in which each worker takes its topics."""
    return {slug: {"topics": said if isinstance(said, list) else [said]} for slug, said in topics.items()}


def finds(name: str, value: Json, *publish: Json) -> Agent:
    return says({}, findings={name: value}, publish=[*publish])


def task(topic: str, key: str = "", **given: Json) -> Json:
    return {"topic": topic, "key": key, "input": given}


async def test_a_worker_publishes_tasks_that_others_take_and_finds_things_out_that_others_see() -> None:
    def owner(asked: Asked) -> Reply:
        return Reply(value={}, said={"findings": {"owner": f"of {asked.scratchpad['finding.host'].value}"}})

    done = await run(
        {"find": finds("host", "db-1", task("own", "o1", host="db-1")), "own": owner},
        event_driven={"workers": listens(find="request", own="own")},
        stage={"data": {"service": "orders"}},
    )
    first, second = done.asked
    assert first.fields == {"event": {"topic": "request", "key": first_key(first), "delivery": 1, "published_by": ""}}
    assert second.fields == {
        "host": "db-1",
        "event": {"topic": "own", "key": "o1", "delivery": 1, "published_by": first.step_id},
    }
    outcome = done.outcome
    assert outcome.value == {"findings": {"host": "db-1", "owner": "of db-1"}}
    assert (outcome.error, outcome.gaps, outcome.text) == ("", (), "host: db-1\nowner: of db-1")
    assert {name: outcome.why[name] for name in ("ended", "tasks", "delivered", "dead")} == {
        "ended": "empty", "tasks": 2, "delivered": 2, "dead": 0,
    }  # fmt: skip
    assert done.parts.keys() >= {"finding-host", "finding-owner"}


async def test_what_was_found_is_worded_as_json() -> None:
    found: Json = {"up": True, "of": None}
    done = await run({"find": finds("host", found)}, event_driven={"workers": listens(find="request")})
    assert done.outcome.text == 'host: {"up": true, "of": null}'


def first_key(asked: Asked) -> Json:
    return json_object(asked.fields["event"])["key"]


async def test_workers_are_at_work_side_by_side_without_waiting_for_a_round() -> None:
    fast = in_turn(finds("f1", 1, task("fast", n=2)), finds("f2", 2, task("fast", n=3)), finds("f3", 3))
    done = await run(
        {
            "fast": takes(1, fast),
            "slow": takes(3, finds("s", 1)),
        },
        event_driven={"workers": listens(fast="fast", slow="slow"), "first": [{"topic": "fast"}, {"topic": "slow"}]},
    )
    assert done.took_s == 3
    assert done.outcome.value == {"findings": {"f1": 1, "f2": 2, "f3": 3, "s": 1}}


@pytest.mark.parametrize(("concurrency", "seconds"), [(1, 6.0), (2, 3.0), (3, 2.0)])
async def test_the_limits_say_how_many_are_at_work(concurrency: int, seconds: float) -> None:
    first = [{"topic": "t", "input": {"n": number}} for number in range(6)]
    workers = {slug: {"topics": ["t"]} for slug in "abc"}
    agents = {slug: takes(1, says("found")) for slug in "abc"}
    done = await run(agents, event_driven={"workers": workers, "first": first}, limits={"concurrency": concurrency})
    assert done.took_s == seconds
    assert len(done.asked) == 6


async def test_one_of_those_who_subscribe_gets_a_task_and_of_some_topics_each() -> None:
    workers = listens(a=["find.*"], b=["find.*"])
    first = [{"topic": "find.one"}, {"topic": "find.each"}]
    done = await run(
        {"a": says("from a"), "b": says("from b")},
        event_driven={"workers": workers, "first": first, "to_each": ["*.each"]},
    )
    topics = sorted((asked.target, str(json_object(asked.fields["event"])["topic"])) for asked in done.asked)
    assert topics == [("agent:a", "find.each"), ("agent:a", "find.one"), ("agent:b", "find.each")]


async def test_a_worker_added_to_the_agents_takes_what_its_card_says_it_can() -> None:
    done = await run(
        {"a": says("a", publish=[task("sql")]), "new": finds("rows", 3)},
        event_driven={"workers": listens(a="request")},
        stage={"skills": {"agent:new": frozenset({"sql"})}},
    )
    assert json_object(json_object(done.outcome.value)["findings"])["rows"] == 3


async def test_a_task_is_done_once_whatever_key_it_comes_under() -> None:
    publish = [
        task("t", "k", n=1),
        task("t", "k", n=2),
        task("t", "other", n=1),
        task("t", "", n=1),
        task("t", "", n=3),
    ]
    done = await run(
        {"a": says({}, publish=publish), "t": says({"x": 1})},
        event_driven={"workers": listens(a="request", t="t")},
    )
    assert [asked.fields["n"] for asked in done.asked_of("agent:t")] == [1, 3]


async def test_a_lease_that_runs_out_goes_back_and_another_worker_gets_it() -> None:
    done = await run(
        {"stuck": hangs(), "sound": finds("x", 1)},
        event_driven={"workers": listens(stuck="request", sound="request"), "lease_s": 5},
    )
    assert done.took_s == 5
    first, second = done.asked
    assert (first.target, second.target) == ("agent:stuck", "agent:sound")
    assert first.step_id == second.step_id
    assert json_object(second.fields["event"])["delivery"] == 2
    assert second.note.startswith("The last attempt did not succeed")
    assert done.outcome.value == {"findings": {"x": 1}}
    assert done.outcome.gaps == ()


async def test_a_task_nobody_is_done_with_is_given_up_after_some_deliveries() -> None:
    done = await run(
        {"bad": fails("no"), "good": finds("x", 1)},
        event_driven={
            "workers": listens(bad="b", good="g"),
            "first": [{"topic": "b", "key": "k"}, {"topic": "g"}],
            "deliveries": 2,
        },
    )
    assert len(done.asked_of("agent:bad")) == 2
    assert done.outcome.gaps == (Gap(step="b/k", target="agent:bad", error="failed", reason="no"),)
    assert done.outcome.error == ""
    assert [each["chosen"] for each in done.decisions("dead")] == ["k"]


async def test_what_would_only_fail_again_is_given_up_at_once() -> None:
    done = await run({"bad": fails("forbidden", error="denied")}, event_driven={"workers": listens(bad="request")})
    assert len(done.asked) == 1
    assert done.outcome.error == "nothing was found out"
    assert [gap.error for gap in done.outcome.gaps] == ["denied"]


async def test_a_task_nobody_subscribes_to_is_named() -> None:
    done = await run({"a": says("x", publish=[task("tea", "k")])}, event_driven={"workers": listens(a="request")})
    assert done.outcome.gaps == (Gap(step="tea/k", target="", error="skipped", reason="nobody subscribes to tea"),)


async def test_a_full_queue_refuses_and_the_answer_says_so() -> None:
    publish = [task("t", "", n=number) for number in range(5)]
    done = await run(
        {"a": says("x", publish=publish), "t": says("y")},
        event_driven={"workers": listens(a="request", t="t"), "queue": 3},
    )
    assert len(done.asked_of("agent:t")) == 3
    assert [gap.reason for gap in done.outcome.gaps] == ["the queue is full"] * 2


async def test_a_run_that_only_ever_publishes_more_ends() -> None:
    numbers = iter(range(10_000))
    endless: Agent = lambda asked: Reply(  # noqa: E731 - an agent is any callable
        value={}, said={"publish": [task("request", "", n=next(numbers))], "findings": {"last": 1}}
    )
    done = await run({"a": endless}, event_driven={"workers": listens(a="request"), "tasks": 7})
    assert len(done.asked) == 7
    assert done.outcome.gaps[0].reason == "the queue is full"


@pytest.mark.parametrize(
    "said",
    [
        {"publish": "x"},
        {"findings": [1]},
        {"publish": [{"topic": "NO SPACES"}]},
        {"publish": [{"topic": "t", "input": 3}]},
        {"publish": [{"topic": "t", "key": "k" * 101}]},
        {"publish": [{"topic": "t", "key": str(number)} for number in range(21)]},
        {"findings": {str(number): 1 for number in range(51)}},
        {"findings": {"": 1}},
    ],
)
async def test_a_worker_that_publishes_wrongly_is_told_how_and_asked_again(said: dict[str, Any]) -> None:
    done = await run({"a": in_turn(says({}, **said), finds("x", 1))}, event_driven={"workers": listens(a="request")})
    assert done.outcome.value == {"findings": {"x": 1}}
    assert done.asked[1].note.startswith("The last answer could not be used: ")


GOALS: list[tuple[dict[str, Any], int]] = [
    ({"rule": "count", "options": {"findings": 2}}, 2),
    ({"rule": "named", "options": {"findings": ["n1"]}}, 1),
    ({"rule": "condition", "options": {"when": "$n3.n >= 3"}}, 3),
]


@pytest.mark.parametrize(("goal", "asked"), GOALS)
async def test_a_rule_ends_the_run_as_soon_as_the_goal_is_reached(goal: dict[str, Any], asked: int) -> None:
    def count(asked: Asked) -> Reply:
        number = int(str(asked.fields.get("n", 1)))
        said: dict[str, Json] = {
            "findings": {f"n{number}": {"n": number}},
            "publish": [task("request", "", n=number + 1)],
        }
        return Reply(value={}, takes_s=1, said=said)

    done = await run(
        {"a": count, "slow": hangs()},
        goal_checker=goal,
        event_driven={"workers": listens(a="request", slow="slow"), "first": [{"topic": "request"}, {"topic": "slow"}]},
    )
    assert len(done.asked_of("agent:a")) == asked
    assert done.took_s == asked
    assert done.outcome.why["ended"] == "goal"
    assert done.outcome.gaps == ()
    assert dict(done.results)["2-slow"].reason == "the goal is reached"


async def test_a_goal_that_is_not_reached_is_named_in_the_answer() -> None:
    goal = {"rule": "named", "options": {"findings": ["host", "owner"]}}
    done = await run({"a": finds("host", 1)}, goal_checker=goal, event_driven={"workers": listens(a="request")})
    assert done.outcome.value == {"findings": {"host": 1}}
    assert done.outcome.gaps == (Gap(step="goal", target="rule:named", error="skipped", reason="lacking: owner"),)


async def test_whoever_checks_the_goal_may_name_gaps_that_become_tasks() -> None:
    checker = in_turn(
        says({"reached": False, "because": "no owner", "gaps": [{"topic": "own", "input": {"of": "db"}}]}),
        says({"reached": True}),
    )
    done = await run(
        {"a": finds("host", "db"), "own": finds("owner", "Eve"), "checker": checker},
        goal_checker="checker",
        event_driven={"workers": listens(a="request", own="own", checker="none")},
    )
    assert done.outcome.value == {"findings": {"host": "db", "owner": "Eve"}}
    assert done.outcome.gaps == ()
    [reflection] = done.decisions("reflection")
    assert (reflection["chosen"], reflection["because"]) == (["own"], "no owner")
    assert done.asked_of("agent:own")[0].fields["of"] == "db"
    assert {key: entry.value for key, entry in done.asked_of("agent:checker")[0].scratchpad.items()} == {
        "finding.host": "db"
    }


@pytest.mark.parametrize("rounds", [1, 2, 3])
async def test_reflection_ends_with_the_rounds(rounds: int) -> None:
    numbers = iter(range(100))
    checker: Agent = lambda asked: Reply(  # noqa: E731 - an agent is any callable
        value={"reached": False, "because": "more", "gaps": [{"topic": "request", "input": {"n": next(numbers)}}]}
    )
    done = await run(
        {"a": says("x"), "checker": checker},
        goal_checker="checker",
        limits={"max_rounds": rounds},
        event_driven={"workers": listens(a="request", checker="none")},
    )
    assert len(done.asked_of("agent:a")) == rounds
    assert done.outcome.gaps[-1] == Gap(step="goal", target="agent:checker", error="skipped", reason="more")


async def test_an_agent_checks_the_goal_now_and_then_too() -> None:
    first = [{"topic": "request", "input": {"n": number}} for number in range(9)]
    done = await run(
        {"a": lambda asked: Reply(value=f"found {asked.fields['n']}"), "checker": says({"reached": True})},
        goal_checker="checker",
        event_driven={"workers": listens(a="request", checker="none"), "first": first, "check_after": 3},
    )
    assert len(done.asked_of("agent:a")) <= 4
    assert len(json_object(json_object(done.outcome.value)["findings"])) == 3


@pytest.mark.parametrize("checker", [fails(), says({"reached": "maybe"})])
async def test_a_goal_that_cannot_be_checked_leaves_the_answer_as_it_is(checker: Agent) -> None:
    done = await run(
        {"a": finds("x", 1), "checker": checker},
        goal_checker="checker",
        event_driven={"workers": listens(a="request", checker="none")},
    )
    assert done.outcome.value == {"findings": {"x": 1}}
    assert done.outcome.gaps[0].reason.startswith("the goal could not be checked")


async def test_at_the_deadline_what_was_found_out_is_the_answer() -> None:
    first = [{"topic": "q", "key": "q"}, {"topic": "h", "key": "h"}, {"topic": "h", "key": "i", "input": {"n": 1}}]
    done = await run(
        {"quick": finds("x", 1), "hung": hangs()},
        event_driven={"workers": listens(quick="q", hung="h"), "first": first},
        stage={"budget": Budget(deadline_s=9.0), "timeout_s": 60.0},
    )
    assert done.took_s == 9
    assert done.outcome.value == {"findings": {"x": 1}}
    assert [(gap.step, gap.error) for gap in done.outcome.gaps] == [("h/h", "deadline"), ("h/i", "skipped")]
    assert done.outcome.why["ended"] == "deadline"


async def test_when_the_budget_is_used_up_who_is_at_work_may_be_done() -> None:
    first = [{"topic": "t", "input": {"n": number}} for number in range(4)]
    done = await run(
        {"a": takes(1, says("x"))},
        event_driven={"workers": {"a": {"topics": ["t"], "concurrency": 4}}, "first": first},
        limits={"concurrency": 2},
        stage={"budget": Budget(deadline_s=60.0, calls=3)},
    )
    assert done.outcome.why["ended"] == "budget"
    assert len(json_object(json_object(done.outcome.value)["findings"])) == 3
    assert {gap.error for gap in done.outcome.gaps} == {"budget"}


async def test_who_finds_out_otherwise_replaces_what_stands_there_and_that_is_told() -> None:
    done = await run(
        {"a": finds("price", 10, task("check")), "b": finds("price", 12)},
        event_driven={"workers": listens(a="request", b="check")},
    )
    assert done.outcome.value == {"findings": {"price": 12}}
    assert done.outcome.why["replaced"] == ["price"]
    assert done.decisions("replaced")[0]["because"] == "b found out otherwise"


async def test_the_rules_of_the_scratchpad_hold_for_findings() -> None:
    rules = {
        "finding.price": {"schema": {"type": "number"}},
        "finding.secret": {"writers": ["b"], "readers": ["b"]},
    }
    said: Any = {"price": "much", "secret": 1, "open": 2}
    done = await run(
        {"a": says({}, findings=said, publish=[task("b")]), "b": finds("secret", 3, task("c")), "c": says("c")},
        scratchpad=rules,
        event_driven={"workers": listens(a="request", b="b", c="c")},
    )
    assert sorted(str(each["chosen"]) for each in done.decisions("refused")) == ["price", "secret"]
    assert done.asked_of("agent:c")[0].scratchpad.keys() == {"finding.open"}


@pytest.mark.parametrize(("said", "ok"), [("retry", True), ("skip", False), ("fail", False)])
async def test_the_caller_may_be_asked_what_to_do(said: str, ok: bool) -> None:
    done = await run(
        {"a": in_turn(fails("no"), finds("x", 1))},
        event_driven={"workers": listens(a="request"), "deliveries": 1},
        limits={"on_failure": "ask"},
        stage={"answers": [said]},
    )
    assert (done.outcome.error == "") is ok
    assert (done.outcome.value == {"findings": {"x": 1}}) is ok


async def test_a_failure_fails_the_run_where_the_limits_say_so() -> None:
    first = [{"topic": "ok"}, {"topic": "bad"}]
    done = await run(
        {"ok": finds("x", 1), "bad": takes(1, fails("no"))},
        event_driven={"workers": listens(ok="ok", bad="bad"), "first": first, "deliveries": 1},
        limits={"on_failure": "fail"},
    )
    assert done.outcome.error == "bad failed: no"
    assert done.outcome.value == {"findings": {"x": 1}}


async def test_a_stand_in_takes_over_and_the_answer_says_so() -> None:
    done = await run(
        {"a": fails(), "b": finds("x", 1)},
        event_driven={"workers": listens(a="request", b="none")},
        fallback={"a": {"agent": "b", "notice": "b is smaller"}},
    )
    assert done.outcome.value == {"findings": {"x": 1}}
    assert done.outcome.notices == ("b is smaller",)


async def test_a_synthesiser_words_what_was_found_out() -> None:
    def writer(asked: Asked) -> Reply:
        return Reply(text=f"In short: {asked.scratchpad['finding.x'].value}")

    done = await run(
        {"a": finds("x", 1), "w": writer}, synthesiser="w", event_driven={"workers": listens(a="request", w="none")}
    )
    assert done.outcome.text == "In short: 1"


async def test_first_tasks_may_refer_to_the_request() -> None:
    first = [{"topic": "t", "input": {"order": "$task.order", "none": "$task.none"}}]
    done = await run(
        {"a": says("x")}, event_driven={"workers": listens(a="t"), "first": first}, stage={"data": {"order": 7}}
    )
    assert done.asked[0].fields["order"] == 7
    assert "none" not in done.asked[0].fields


async def test_tasks_and_findings_are_labelled_as_who_wrote_them() -> None:
    labels = Labels(untrusted=frozenset({"agent:a"}))

    async def tainted(asked: Any) -> Complete:
        return answer({"drawbridge": {"publish": [task("b", "k")], "findings": {"x": 1}}}, labels=labels)

    workflow = settings_of(["a", "b"], event_driven={"workers": listens(a="request", b="b")})
    around = World(patterns={"event_driven": EventDriven}, workflows={"help": workflow})
    around.agents.answers |= {"agent:a": tainted, "agent:b": answers({})}
    async with around.up():
        await around.ask()
    [asked] = around.agents.asked_of("agent:b")
    assert asked.request.labels == labels
    assert {entry.labels for entry in around.scratch.entries.values()} == {labels}


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"agents": []}, "agents"),
        ({"event_driven": {"workers": {"ghost": {"topics": ["x"]}}}}, "event_driven"),
        ({"event_driven": {"workers": {"a": {"topics": ["x"]}}}}, "event_driven"),
        ({"event_driven": {"first": [{"topic": "x", "input": {"y": "$stage.z"}}]}}, "event_driven"),
        ({"goal_checker": {"rule": "count"}}, "goal_checker"),
        ({"goal_checker": {"rule": "named", "options": {"findings": []}}}, "goal_checker"),
        ({"goal_checker": {"rule": "ghost"}}, "goal_checker"),
        ({"event_driven": {"first": [{"topic": "x"}, {"topic": "y"}]}, "limits": {"calls": 1}}, "limits"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], setting: str) -> None:
    said: dict[str, Any] = {"pattern": "event_driven", "agents": ["a"], **settings}
    with pytest.raises(InvalidRequest) as caught:
        EventDriven(WorkflowSettings.model_validate(said).to_json())
    assert caught.value.detail["setting"] == setting


def _works(said: dict[str, Json]) -> Answering:
    async def agent(asked: Any) -> Json:
        return {"drawbridge": {**said}}

    return agent


async def _failing_first(asked: Any) -> "Complete | Json":
    if json_object(asked.input["event"])["delivery"] == 1:
        return Complete(body=answer("not now").body, is_error=True)
    return {"drawbridge": {"findings": {"second": "try"}}}


async def _checks(asked: Any) -> Json:
    lacking = "extra" not in {name.removeprefix("finding.") for name in json_object(asked.member["scratchpad"])}
    return {"reached": not lacking, "gaps": [{"topic": "more"}] if lacking else []}


SCENE = Scene(
    settings={
        "pattern": "event_driven",
        "agents": ["wiki", "tickets", "flaky"],
        "goal_checker": "checker",
        "event_driven": {
            "workers": listens(wiki=["request", "more"], tickets="search", flaky="retry"),
            "check_after": 0,
        },
        "limits": {"concurrency": 1},
    },
    agents=lambda: {
        "agent:wiki": _wiki,
        "agent:tickets": _works({"findings": {"ticket": 7}}),
        "agent:flaky": _failing_first,
        "agent:checker": _checks,
    },
)


async def _wiki(asked: Any) -> Json:
    if json_object(asked.input["event"])["topic"] == "more":
        return {"drawbridge": {"findings": {"extra": True}}}
    return {"drawbridge": {"findings": {"page": 1}, "publish": [task("search", "s"), task("retry", "r")]}}


@pytest.mark.parametrize("where", INSTANTS)
async def test_an_event_driven_run_survives_every_crash(where: Instant) -> None:
    await outlives_crashes(SCENE, where)


@pytest.mark.parametrize("where", INSTANTS)
async def test_workers_side_by_side_survive_every_crash(where: Instant) -> None:
    several = Scene(settings={**SCENE.settings, "limits": {"concurrency": 3}}, agents=SCENE.agents)
    await outlives_crashes(several, where)
