"""A panel and a judge: independent answers, a rubric in place of a vote, and what a failure costs."""

import json

import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.labels import Labels
from gateway.core.model import Complete
from gateway.core.ports.orchestration import Gap
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.consensus.pattern import Consensus
from gateway.testing.agents import Agent, Asked, Reply, fails, hangs, in_turn, says, takes
from gateway.testing.rehearsal import Rehearsal, Stage, rehearse
from tests import fakes_orchestration as fakes
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, failing
from tests.fakes_orchestration import Asked as AskedOf
from tests.fakes_orchestration import says as says_always

pytestmark = pytest.mark.anyio

RUBRIC: dict[str, object] = {
    "evidence": {"weight": 3, "rule": "cites", "least": 2},
    "close": {"rule": "near_median", "field": "risk"},
}
PANEL: dict[str, Agent] = {
    "agent:a": says({"risk": 10, "evidence": ["p. 1"]}, text="Ten, from one page."),
    "agent:b": says({"risk": 10}),
    "agent:c": says({"risk": 14, "evidence": ["p. 1", "p. 2"]}, text="Fourteen, from two pages."),
}


def pattern(**settings: object) -> Consensus:
    block = {"rubric": RUBRIC, **json_object(settings.pop("consensus", {}))}  # pyright: ignore[reportArgumentType]
    given = {"pattern": "consensus", "agents": ["a", "b", "c"], "consensus": block, **settings}
    return Consensus(WorkflowSettings.model_validate(given).to_json())


async def ran(staff: dict[str, Agent], data: Json = None, **settings: object) -> Rehearsal:
    return await rehearse(pattern(**settings), Stage(agents=staff, data=data))


async def test_the_best_answer_by_the_rubric_wins_against_a_majority() -> None:
    seen = await ran(PANEL)
    assert seen.outcome.value == {"risk": 14, "evidence": ["p. 1", "p. 2"]}
    assert seen.outcome.text == "Fourteen, from two pages."
    assert seen.outcome.confidence == 0.8
    assert seen.outcome.why == {
        "consensus": True,
        "winner": "c",
        "because": "c has 0.8 of 1 by the rubric, a 0.625",
        "answered": ["a", "b", "c"],
        "dissent": {"a": {"risk": 10, "evidence": ["p. 1"]}, "b": {"risk": 10}},
        "judge": "rubric",
        "agreement": 0.278,
        "scores": {
            "c": {"evidence": 1.0, "close": 0.2, "total": 0.8},
            "a": {"evidence": 0.5, "close": 1.0, "total": 0.625},
            "b": {"evidence": 0.0, "close": 1.0, "total": 0.25},
        },
    }
    [verdict] = seen.decisions("verdict")
    assert (verdict["chosen"], verdict["scores"]) == ("c", seen.outcome.why["scores"])


async def test_they_answer_side_by_side_and_none_sees_anothers_answer() -> None:
    seen = await ran({name: takes(10, agent) for name, agent in PANEL.items()}, data={"order": 7})
    assert seen.took_s == 10
    assert [(each.input, each.results, each.scratchpad) for each in seen.asked] == [({"order": 7}, {}, {})] * 3


def scoring(**by_risk: float) -> Agent:
    """A judge that knows answers by what they say, and by nothing else."""

    def judge(asked: Asked) -> Reply:
        scores: JsonObject = {}
        for each in json_list(asked.fields["answers"]):
            entry = json_object(each)
            scores[str(entry["answer"])] = {"sound": by_risk[f"r{json_object(entry['value'])['risk']}"]}
        return Reply(value={"scores": scores, "because": "B follows best"})

    return judge


SOUND: dict[str, object] = {"rubric": {"sound": {"weight": 2, "about": "Does it follow?"}, "cited": {"rule": "cites"}}}


async def test_a_judge_sees_answers_without_names_and_scores_what_no_rule_decides() -> None:
    seen = await ran({**PANEL, "agent:j": scoring(r10=0.2, r14=0.9)}, judge="j", consensus=SOUND)
    [asked] = seen.asked_of("agent:j")
    said = json.dumps(asked.input)
    assert not any(name in said for name in ("agent:", '"a"', '"b"', '"c"'))
    assert asked.results == {}
    assert asked.fields["rubric"] == [{"criterion": "sound", "weight": 2, "about": "Does it follow?"}]
    assert json_object(seen.outcome.why["scores"])["c"] == {"sound": 0.9, "cited": 1.0, "total": 0.933333}
    [verdict] = seen.decisions("verdict")
    order = json_object(verdict["order"])
    shown = {
        str(json_object(each)["answer"]): json_object(each)["value"] for each in json_list(asked.fields["answers"])
    }
    assert {order[letter]: value for letter, value in shown.items()} == {
        name: PANEL[f"agent:{name}"](asked).value for name in "abc"
    }
    assert verdict["said"] == "B follows best"


async def test_what_an_answer_is_labelled_the_judges_question_is_too() -> None:
    tainted = Labels(untrusted=frozenset({"server:web"}))

    def web(asked: Asked) -> Reply:
        return Reply(value={"risk": 14}, labels=tainted)

    staff = {**PANEL, "agent:c": web, "agent:j": scoring(r10=0.2, r14=0.9)}
    seen = await ran(staff, judge="j", consensus=SOUND)
    assert next(result for name, result in seen.results if name == "j").labels == tainted


async def test_a_judge_that_breaks_the_form_is_asked_once_more_with_it() -> None:
    judge = in_turn(says({"winner": "A"}), scoring(r10=0.9, r14=0.1))
    seen = await ran({**PANEL, "agent:j": judge}, judge="j", consensus=SOUND)
    first, second = seen.asked_of("agent:j")
    assert (first.note, first.step_id) == ("", second.step_id)
    assert "'scores' is a required property" in second.note
    assert seen.outcome.why["winner"] == "a"


async def test_without_its_judge_what_rules_decide_is_weighed_and_the_confidence_halved() -> None:
    seen = await ran({**PANEL, "agent:j": fails("asleep")}, judge="j", consensus=SOUND)
    assert seen.outcome.why["winner"] == "a"
    assert seen.outcome.confidence == 0.5
    assert seen.outcome.notices == ("the judge failed (asleep): only what rules decide was weighed",)


async def test_without_any_rule_either_the_first_answer_is_taken_and_that_is_said() -> None:
    seen = await ran({**PANEL, "agent:j": fails("asleep")}, judge="j", consensus={"rubric": {"sound": {}}})
    assert seen.outcome.why["winner"] == "a"
    assert seen.outcome.confidence == 0.5
    assert seen.outcome.notices == ("the judge failed (asleep): the first answer was taken unweighed",)


async def test_who_fails_is_left_out_and_lowers_the_confidence() -> None:
    seen = await ran({**PANEL, "agent:a": fails("no"), "agent:b": hangs()}, limits={"deadline_s": 10})
    assert seen.outcome.value == {"risk": 14, "evidence": ["p. 1", "p. 2"]}
    assert seen.outcome.confidence == 0.333
    assert seen.outcome.gaps == (
        Gap(step="a", target="agent:a", error="failed", reason="no"),
        Gap(step="b", target="agent:b", error="deadline", reason="still at work when time was up"),
    )
    assert seen.outcome.notices == ("1 of 3 answered",)


async def test_too_few_answers_are_none() -> None:
    seen = await ran({**PANEL, "agent:a": fails(), "agent:b": fails()}, consensus={"quorum": 2})
    assert seen.outcome.error == "1 answered, and 2 have to"
    assert seen.outcome.value == {"c": {"risk": 14, "evidence": ["p. 1", "p. 2"]}}


async def test_nobody_left_is_an_error() -> None:
    seen = await ran({name: fails("no") for name in PANEL})
    assert seen.outcome.error == "nobody answered"


async def test_one_schema_holds_for_all_and_who_breaks_it_is_told_once_and_removed() -> None:
    schema = {"type": "object", "required": ["evidence"]}
    seen = await ran({**PANEL, "agent:a": in_turn(says({"risk": 1}), PANEL["agent:a"])}, consensus={"schema": schema})
    assert "meet this JSON Schema" in seen.asked[0].note
    assert "'evidence' is a required property" in seen.asked_of("agent:a")[1].note
    assert [(gap.step, gap.error) for gap in seen.outcome.gaps] == [("b", "schema")]
    assert len(seen.asked_of("agent:b")) == 2


# High stakes only

HIGH = {"when": ["$task.amount > 1000", "$task.urgent"], "otherwise": "b"}


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        ({"amount": 2000}, ["agent:a", "agent:b", "agent:c"]),
        ({"amount": 10, "urgent": True}, ["agent:a", "agent:b", "agent:c"]),
        ({"amount": 10}, ["agent:b"]),
        (None, ["agent:b"]),
    ],
)
async def test_they_are_all_asked_where_the_stakes_are_high(data: Json, asked: list[str]) -> None:
    seen = await ran(PANEL, data=data, consensus=HIGH)
    assert [each.target for each in seen.asked] == asked
    assert seen.outcome.why["consensus"] is (len(asked) > 1)
    assert len(seen.decisions("panel")) == 1


async def test_who_answers_alone_is_by_default_the_first() -> None:
    seen = await ran(PANEL, consensus={"when": "$task.amount > 1000"})
    assert [each.target for each in seen.asked] == ["agent:a"]
    assert seen.outcome.confidence is None


async def test_the_next_answers_where_the_one_fails() -> None:
    seen = await ran({**PANEL, "agent:b": fails()}, consensus=HIGH)
    assert seen.outcome.why["winner"] == "a"
    assert seen.outcome.notices == ("a answered, as b failed",)
    assert seen.outcome.gaps == ()


async def test_nobody_left_to_answer_alone_is_an_error() -> None:
    seen = await ran({name: fails("no") for name in PANEL}, consensus=HIGH)
    assert seen.outcome.error == "nobody answered"
    assert [gap.step for gap in seen.outcome.gaps] == ["b", "a", "c"]


@pytest.mark.parametrize(
    "settings",
    [
        {"agents": ["a"]},
        {"agents": ["a", "a"]},
        {"judge": {"rule": "guess"}},
        {"consensus": {"rubric": {}}},
        {"consensus": {"rubric": {"sound": {}}}},
        {"judge": "j"},
        {"judge": "a", "consensus": {"rubric": {"sound": {}}}},
        {"fallback": {"a": "b"}},
        {"consensus": {"when": "amount > 3"}},
        {"consensus": {"when": "$other.amount > 3"}},
        {"consensus": {"when": "$task.x", "otherwise": "z"}},
        {"consensus": {"otherwise": "b"}},
        {"consensus": {"quorum": 4}},
        {"limits": {"calls": 2}},
        {"limits": {"deadline_s": 5}, "consensus": {"gather_s": 6}},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_together_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        pattern(**settings)


# Crashes


def risk_decision() -> Scene:
    """One fails and has a stand-in, one fails for good, and the judge goes by what the answers say."""

    async def failed(asked: AskedOf) -> Complete:
        return failing("not today")

    async def judge(asked: AskedOf) -> Json:
        scores: JsonObject = {}
        for each in json_list(asked.input["answers"]):
            entry = json_object(each)
            scores[str(entry["answer"])] = {"sound": 1 if json_object(entry["value"])["risk"] == 14 else 0.5}
        return {"scores": scores}

    agents: dict[str, Answering] = {
        "agent:a": says_always({"risk": 10}),
        "agent:b": failed,
        "agent:c": says_always({"risk": 14}),
        "agent:d": failed,
        "agent:e": says_always({"risk": 12}),
        "agent:j": judge,
    }
    settings: dict[str, object] = {
        "pattern": "consensus",
        "agents": ["a", "b", "c", "d"],
        "fallback": {"b": "e"},
        "judge": "j",
        "consensus": {"rubric": {"sound": {}}, "when": "$task.amount > 3"},
        "limits": {"concurrency": 2, "deadline_s": 30},
    }
    # The letters under which the judge sees the answers are other ones in each run.
    return Scene(settings=settings, agents=lambda: agents, data={"amount": 5}, same_log=False)


@pytest.mark.parametrize("where", INSTANTS)
async def test_a_crash_changes_neither_the_verdict_nor_what_was_done(where: Instant) -> None:
    await outlives_crashes(risk_decision(), where)


async def test_an_answer_that_names_its_author_is_judged_without_the_name() -> None:
    panel: dict[str, Agent] = {
        "agent:cassandra": says(
            {"risk": 10, "note": "I, Cassandra (agent:cassandra), say so; cassandra-like is a word"}
        ),
        "agent:b": says({"risk": 14, "notes": ["agent:b knows better than cassandra", "a plan b"]}),
        "agent:j": scoring(r10=0.2, r14=0.9),
    }
    seen = await ran(panel, agents=["cassandra", "b"], judge="j", consensus=SOUND)
    shown = [json_object(each)["value"] for each in json_list(seen.asked_of("agent:j")[0].fields["answers"])]
    assert sorted(shown, key=str) == [
        {"risk": 10, "note": "I, (somebody) ((somebody)), say so; cassandra-like is a word"},
        {"risk": 14, "notes": ["(somebody) knows better than (somebody)", "a plan (somebody)"]},
    ]
    assert seen.outcome.value == {"risk": 14, "notes": ["agent:b knows better than cassandra", "a plan b"]}


async def test_a_judge_is_shown_no_name_in_titles_keys_or_short_slugs() -> None:
    settings = {
        "pattern": "consensus",
        "agents": ["tax-expert", "b"],
        "judge": "j",
        "consensus": {"rubric": {"sound": {"about": "Does it follow?"}}},
    }

    async def judge(asked: fakes.Asked) -> Json:
        return {"scores": {letter: {"sound": 1} for letter in "AB"}}

    names = "Tax Expert, TAX_EXPERT and taxexpert; agent:b; b agrees"
    agents = {
        "agent:tax-expert": fakes.says({"tax-expert": 1, "Tax Expert": 2, "by": names}),
        "agent:b": fakes.says({"signed": "B", "by": "Big"}),
        "agent:j": judge,
    }
    around = Scene(settings=settings, agents=lambda: agents).world()
    async with around.up():
        await around.ask()
    [asked] = around.agents.asked_of("agent:j")
    somebody = "(somebody)"
    told = f"{somebody}, {somebody} and {somebody}; {somebody}; {somebody} agrees"
    shown = [json_object(each)["value"] for each in json_list(asked.input["answers"])]
    assert {somebody: 1, f"{somebody} 2": 2, "by": told} in shown
    # Its card calls it B.
    assert {"signed": somebody, "by": "Big"} in shown


@pytest.mark.parametrize(("limits", "asked"), [({}, 2), ({"max_rounds": 1}, 1), ({"max_rounds": 4}, 4)])
async def test_whoever_breaks_the_contract_is_asked_as_often_as_the_rounds_allow(
    limits: dict[str, int], asked: int
) -> None:
    contract = {"type": "object", "required": ["risk"]}
    seen = await ran({**PANEL, "agent:b": says({"no": 1})}, consensus={"schema": contract}, limits=limits)
    assert len(seen.asked_of("agent:b")) == asked
    assert len(seen.decisions("retry")) == asked - 1


@pytest.mark.parametrize(
    ("limits", "waited_s"), [({}, 300), ({"ask_timeout_s": 7}, 7), ({"ask_timeout_s": 0}, 0), ({"deadline_s": 100}, 90)]
)
async def test_the_caller_has_as_long_to_say_what_to_do_as_the_limits_allow(
    limits: dict[str, int], waited_s: float
) -> None:
    seen = await ran({**PANEL, "agent:b": fails()}, limits={"on_failure": "ask", **limits})
    assert len(seen.questions) == 1
    assert seen.took_s == waited_s
