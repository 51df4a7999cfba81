"""A router at work: who is given a request, who decided that, and what becomes of it when they fail."""

from collections.abc import Callable

import anyio
import pytest

from gateway.core.errors import InvalidRequest, Unavailable
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.labels import Labels
from gateway.core.model import Complete, principal
from gateway.core.ports.approvals import ApprovalState
from gateway.core.task import TaskState
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.router.pattern import Router
from gateway.patterns.sequential.pattern import Sequential
from gateway.patterns.supervisor.pattern import Supervisor
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes import FakeClock
from tests.fakes_orchestration import Answering, Asked, World, answer, failing, says, told

pytestmark = pytest.mark.anyio

RULES: list[JsonObject] = [
    {"agent": "refunds", "keywords": ["refund"]},
    {"agent": "billing", "keywords": ["invoice"]},
]


def world(*, router: "JsonObject | None" = None, **settings: object) -> World:
    said = {"pattern": "router", "router": {"rules": [*RULES]} if router is None else router, **settings}
    around = World(patterns={"router": Router}, workflows={"help": WorkflowSettings.model_validate(said)})
    around.agents.answers |= {
        "agent:refunds": says({"by": "refunds"}, summary="refunded"),
        "agent:billing": says({"by": "billing"}, summary="billed"),
        "agent:desk": says({"by": "desk"}, summary="looked at"),
    }
    return around


def decided(around: World, what: str) -> list[JsonObject]:
    """Everything that was decided, newest run last."""
    details = [json_object(event.body.get("detail")) for log in around.runs.log.values() for event in log.values()]
    return [each for each in details if each.get("event") == "decided" and each.get("what") == what]


def route(result: object) -> JsonObject:
    assert isinstance(result, Complete)
    return json_object(json_object(told(result)["why"])["route"])


def classifying(worker: Json, confidence: float, **more: Json) -> Answering:
    return says({"worker": worker, "confidence": confidence, **more})


async def down(asked: Asked) -> Json:
    raise Unavailable("switched off")


async def test_a_rule_decides_and_says_what_drove_it() -> None:
    around = world(classifier="triage")
    async with around.up():
        result = await around.ask("a refund please", data={"order": "A-1"})
    [asked] = around.agents.asked
    assert (asked.target, asked.input["order"]) == ("agent:refunds", "A-1")
    assert told(result)["answer"] == {"by": "refunds"}
    assert told(result)["confidence"] == 1.0
    [decision] = decided(around, "route")
    assert decision["chosen"] == "refunds"
    assert decision["because"] == "keyword refund (rule 0)"
    assert (decision["by"], decision["scores"]) == ("rules", {"refunds": 1.0})


async def test_what_no_rule_decides_the_classifier_does_and_once_for_the_same_request() -> None:
    around = world(classifier="triage")
    around.agents.answers["agent:triage"] = classifying("billing", 0.9)
    async with around.up():
        first = await around.ask("I was charged twice")
        again = await around.ask("  i was CHARGED twice ")
        other = await around.ask("I was charged thrice")
    assert [route(each)["by"] for each in (first, again, other)] == ["classifier", "cache", "classifier"]
    assert [route(each)["worker"] for each in (first, again)] == ["billing", "billing"]
    asked = around.agents.asked_of("agent:triage")
    assert len(asked) == 2
    assert [json_object(each)["worker"] for each in json_list_of(asked[0].input["workers"])] == ["refunds", "billing"]


def json_list_of(value: Json) -> list[Json]:
    assert isinstance(value, list)
    return value


async def test_a_decision_is_forgotten_after_its_time_and_is_not_anothers() -> None:
    clock = FakeClock()
    around = world(classifier="triage", router={"rules": [*RULES], "cache_ttl_s": 3600})
    around.clock = clock
    around.agents.answers["agent:triage"] = classifying("billing", 0.9)
    async with around.up():
        await around.ask("charged twice")
        elsewhere = await around.ask("charged twice", who=principal("eve", tenant="other"))
        clock.advance(3601)
        later = await around.ask("charged twice")
    assert [route(each)["by"] for each in (elsewhere, later)] == ["classifier", "classifier"]


async def test_changed_rules_make_no_use_of_earlier_decisions() -> None:
    around = world(classifier="triage")
    around.agents.answers["agent:triage"] = classifying("billing", 0.9)
    async with around.up():
        await around.ask("charged twice")
    changed = world(classifier="triage", router={"rules": [*RULES, {"agent": "desk", "keywords": ["hello"]}]})
    around.workflows = changed.workflows
    async with around.up():
        assert route(await around.ask("charged twice"))["by"] == "classifier"


async def test_without_a_cache_the_classifier_is_asked_each_time() -> None:
    around = world(classifier="triage", router={"rules": [*RULES], "cache_ttl_s": 0})
    around.agents.answers["agent:triage"] = classifying("billing", 0.9)
    async with around.up():
        assert [route(await around.ask("charged twice"))["by"] for _ in range(2)] == ["classifier"] * 2


@pytest.mark.parametrize("said", [classifying("billing", 0.3), classifying("none", 1.0), down])
async def test_what_nobody_is_sure_about_goes_to_whoever_takes_the_rest(said: Answering) -> None:
    around = world(classifier="triage", router={"rules": [*RULES], "otherwise": "desk"}, limits={"retries": 0})
    around.agents.answers["agent:triage"] = said
    async with around.up():
        result = await around.ask("what a day")
    assert (route(result)["worker"], route(result)["by"]) == ("desk", "otherwise")
    assert told(result)["answer"] == {"by": "desk"}


async def test_a_classifier_that_breaks_its_contract_is_told_and_asked_once_more() -> None:
    answers: list[Json] = [{"worker": "ghost", "confidence": 1}, {"worker": "billing", "confidence": 0.8}]

    async def triage(asked: Asked) -> Json:
        return answers.pop(0)

    around = world(classifier="triage")
    around.agents.answers["agent:triage"] = triage
    async with around.up():
        assert route(await around.ask("hm"))["worker"] == "billing"
    first, second = around.agents.asked_of("agent:triage")
    assert "ghost" in str(second.member["note"])
    assert first.request.step_id == second.request.step_id


async def test_a_classifier_that_is_wrong_twice_leaves_the_request_to_nobody() -> None:
    around = world(classifier="triage")
    around.agents.answers["agent:triage"] = says("no idea")
    async with around.up():
        result = await around.ask("hm")
    assert isinstance(result, Complete)
    assert result.is_error
    assert "nobody is known for this request" in str(told(result)["error"])


async def test_a_rule_can_be_the_classifier() -> None:
    around = world(agents=["refunds", "billing"], classifier={"rule": "words"}, router={})
    around.agents.skills = {"refunds": ("money", "return"), "billing": ("invoice", "charge")}
    async with around.up():
        assert route(await around.ask("why did you charge me"))["worker"] == "billing"
        assert route(await around.ask("give my money back"))["worker"] == "refunds"


async def test_declared_skills_are_rules_where_that_is_said() -> None:
    around = world(agents=["refunds", "billing"], router={"by_skill": True})
    around.agents.skills = {"refunds": ("money", "return"), "billing": ("invoice", "charge")}
    async with around.up():
        named = await around.ask("x", data={"skill": "return"})
        tagged = await around.ask("an invoice is missing")
    assert [route(each)["worker"] for each in (named, tagged)] == ["refunds", "billing"]


@pytest.mark.parametrize(("reply", "worker"), [("billing", "billing"), ("ghost", ""), ("none", "")])
async def test_a_person_decides_what_nothing_else_does(reply: str, worker: str) -> None:
    around = world(router={"rules": [*RULES], "person": "caller"})
    async with around.up():
        await around.ask("hm", meta={"return_immediately": True, "message_id": "m"})
        [run_id] = around.runs.runs
        while around.runs.runs[run_id].state != TaskState.INPUT_REQUIRED.value:
            await anyio.lowlevel.checkpoint()
        result = await around.ask(reply, meta={"task": run_id, "message_id": "m2"})
    assert route(result)["worker"] == worker
    assert isinstance(result, Complete)
    assert result.is_error is (worker == "")


@pytest.mark.parametrize(("choice", "worker"), [("approved", "billing"), ("denied", "")])
async def test_somebody_with_a_role_decides(choice: ApprovalState, worker: str) -> None:
    around = world(router={"rules": [*RULES], "person": "leads"})
    lead = principal("lea", roles=frozenset({"leads"}))
    async with around.up() as (orchestrator, _):
        await around.ask("hm", meta={"return_immediately": True, "message_id": "m"})
        while not around.approvals.kept:
            await anyio.lowlevel.checkpoint()
        [approval] = around.approvals.kept.values()
        value: Json = {"worker": "billing"} if choice == "approved" else None
        await orchestrator.approving.answer(lead, approval.id, choice, value=value)
        result = await around.ask("hm", meta={"message_id": "m"})
    assert route(result)["worker"] == worker


async def test_a_person_who_does_not_answer_leaves_the_request_to_nobody() -> None:
    around = world(router={"rules": [*RULES], "person": "leads", "ask_timeout_s": 0.01})
    async with around.up():
        result = await around.ask("hm")
    assert "nobody answered in time" in str(told(result)["error"])


# Several wishes


async def test_several_wishes_go_to_the_workflow_that_does_them_all() -> None:
    around = world(router={"rules": [*RULES], "several": "all"}, limits={"max_depth": 3})
    around.patterns = {"router": Router, "supervisor": Supervisor}
    plan: list[Json] = [{"id": "one", "agent": "refunds"}, {"id": "two", "agent": "gone"}]
    around.workflows["all"] = WorkflowSettings.model_validate({"pattern": "supervisor", "plan": plan})
    async with around.up():
        result = await around.ask("Refund A-1, and send the invoice", data={"order": "A-1"})
    assert told(result)["answer"] == {"one": {"by": "refunds"}}
    assert [json_object(gap)["step"] for gap in json_list_of(told(result)["gaps"])] == ["two"]
    assert route(result)["workers"] == ["refunds", "billing"]
    [outer] = [step for step in around.runs.kept_steps.values() if step.target == "workflow:all"]
    data = json_object(json_object(outer.input).get("data"))
    assert data["intents"] == [
        {"worker": "refunds", "text": "Refund A-1"},
        {"worker": "billing", "text": "send the invoice"},
    ]
    assert data["order"] == "A-1"


async def test_without_such_a_workflow_each_worker_gets_its_own_and_sees_no_other() -> None:
    together, both = [0], anyio.Event()

    async def meet(asked: Asked) -> Json:
        together[0] += 1
        if together[0] == 2:
            both.set()
        await both.wait()
        return {"said": asked.text}

    around = world()
    around.agents.answers |= {"agent:refunds": meet, "agent:billing": meet}
    async with around.up():
        result = told(await around.ask("Refund A-1. The invoice, too"))
    assert result["answer"] == {"refunds": {"said": "Refund A-1"}, "billing": {"said": "The invoice too"}}
    assert all(asked.member["results"] == {} for asked in around.agents.asked)


async def test_of_several_wishes_what_fails_is_done_again_and_then_a_gap() -> None:
    tries: list[str] = []

    async def fails_once(asked: Asked) -> "Json | Complete":
        tries.append(asked.target)
        return failing("not now") if len(tries) == 1 else {"by": "refunds"}

    async def fails(asked: Asked) -> Complete:
        return failing("broken")

    around = world()
    around.agents.answers |= {"agent:refunds": fails_once, "agent:billing": fails}
    async with around.up():
        result = told(await around.ask("Refund A-1. The invoice"))
    assert result["answer"] == {"refunds": {"by": "refunds"}}
    [gap] = json_list_of(result["gaps"])
    assert json_object(gap) == {"step": "billing", "target": "agent:billing", "error": "failed", "reason": "broken"}
    assert len(around.agents.asked_of("agent:billing")) == 2


async def test_of_several_wishes_whoever_does_the_same_or_takes_the_rest_answers_for_those_that_fail() -> None:
    router: JsonObject = {"rules": [*RULES], "replicas": {"refunds": ["refunds-b"]}, "otherwise": "desk"}
    around = world(router=router, limits={"retries": 0, "max_rounds": 1})
    around.agents.answers |= {"agent:refunds": down, "agent:refunds-b": says({"by": "b"}), "agent:billing": down}
    async with around.up():
        result = told(await around.ask("Refund A-1. The invoice"))
    assert result["answer"] == {"refunds": {"by": "b"}, "billing": {"by": "desk"}}
    assert (result["notices"], result["gaps"]) == (["desk answers, because billing failed"], [])
    assert [each["chosen"] for each in decided(around, "retry")] == ["refunds-b"]
    assert [each["chosen"] for each in decided(around, "fallback")] == ["desk"]


async def test_of_several_wishes_none_is_lost_though_one_worker_takes_them_all() -> None:
    around = world(router={"rules": [*RULES], "otherwise": "desk"}, limits={"retries": 0, "max_rounds": 1})
    around.agents.answers |= {"agent:refunds": down, "agent:billing": down}
    async with around.up():
        result = told(await around.ask("Refund A-1. The invoice"))
    assert result["answer"] == {"refunds": {"by": "desk"}, "billing": {"by": "desk"}}


async def test_without_looking_for_several_the_strongest_is_served_and_the_rest_is_named() -> None:
    around = world(router={"rules": [*RULES, {"agent": "refunds", "keywords": ["a-1"]}], "multi_intent": False})
    async with around.up():
        result = told(await around.ask("The invoice, and refund A-1"))
    assert result["answer"] == {"by": "refunds"}
    assert [json_object(gap)["step"] for gap in json_list_of(result["gaps"])] == ["billing"]
    assert [each["chosen"] for each in decided(around, "drop")] == [["billing"]]


async def test_a_classifier_may_find_several_and_its_words_taint_what_they_reach() -> None:
    async def triage(asked: Asked) -> Complete:
        intents: list[Json] = [{"worker": "refunds", "text": "pay"}, {"worker": "billing", "text": "bill"}]
        said: JsonObject = {"worker": "refunds", "confidence": 0.9, "intents": intents}
        return answer(said, labels=Labels(untrusted=frozenset({"agent:triage"})))

    around = world(classifier="triage")
    around.agents.answers["agent:triage"] = triage
    async with around.up():
        assert set(json_object(told(await around.ask("hm"))["answer"])) == {"refunds", "billing"}
    [paid] = around.agents.asked_of("agent:refunds")
    assert paid.text == "pay"
    assert paid.request.labels == Labels(untrusted=frozenset({"agent:triage"}))


async def test_several_wishes_are_remembered_by_where_they_stand_in_the_request() -> None:
    intents: list[Json] = [{"worker": "refunds", "text": "Pay me back"}, {"worker": "billing", "text": "send a bill"}]
    around = world(classifier="triage")
    around.agents.answers["agent:triage"] = classifying("refunds", 0.9, intents=intents)
    async with around.up():
        first = await around.ask("Pay me back, and send a bill.")
        again = await around.ask("  pay me BACK, and   send a bill. ")
    assert [route(each)["by"] for each in (first, again)] == ["classifier", "cache"]
    assert [route(each)["workers"] for each in (first, again)] == [["refunds", "billing"]] * 2
    assert [each.text for each in around.agents.asked_of("agent:billing")] == ["send a bill", "send a bill."]
    assert len(around.agents.asked_of("agent:triage")) == 1


async def test_the_answer_of_the_one_worker_is_shown_before_the_end() -> None:
    around = world()
    async with around.up():
        await around.ask("a refund please")
        around.agents.answers["agent:refunds"] = down
        await around.ask("another refund please")
    logs = [[each.body["name"] for each in log.values() if each.body["kind"] == "artifact"]
            for log in around.runs.log.values()]  # fmt: skip
    assert logs == [["part-refunds", "answer"], ["answer"]]


async def test_which_worker_a_classifier_names_taints_nothing() -> None:
    async def triage(asked: Asked) -> Complete:
        said: JsonObject = {"worker": "refunds", "confidence": 0.9}
        return answer(said, labels=Labels(untrusted=frozenset({"agent:triage"})))

    around = world(classifier="triage")
    around.agents.answers["agent:triage"] = triage
    async with around.up():
        await around.ask("hm")
    assert around.agents.asked_of("agent:refunds")[0].request.labels == Labels()


# Replicas, and workers that fail


async def test_replicas_take_turns() -> None:
    around = world(router={"rules": [*RULES], "replicas": {"refunds": ["desk"]}, "balance": "round_robin"})
    async with around.up():
        targets = [json_object(told(await around.ask("refund"))["why"])["answered_by"] for _ in range(4)]
    assert targets == ["refunds", "desk", "refunds", "desk"]


async def test_the_least_busy_replica_is_given_the_request() -> None:
    reached, may_pass = anyio.Event(), anyio.Event()

    async def hold(asked: Asked) -> Json:
        reached.set()
        await may_pass.wait()
        return {"by": "refunds"}

    around = world(router={"rules": [*RULES], "replicas": {"refunds": ["desk"]}})
    around.agents.answers["agent:refunds"] = hold
    async with around.up(), anyio.create_task_group() as group:
        group.start_soon(around.ask, "refund")
        await reached.wait()
        assert [told(await around.ask("refund"))["answer"] for _ in range(2)] == [{"by": "desk"}] * 2
        may_pass.set()
    busy = [json_object(each["busy"]) for each in decided(around, "replica")]
    assert busy[1:] == [{"refunds": 1, "desk": 0}] * 2


async def test_a_replica_that_fails_is_replaced_by_the_next_without_a_notice() -> None:
    around = world(router={"rules": [*RULES], "replicas": {"refunds": ["desk"]}}, limits={"retries": 0})
    around.agents.answers["agent:refunds"] = down
    async with around.up():
        result = told(await around.ask("refund"))
    assert result["answer"] == {"by": "desk"}
    assert "notices" not in result


async def test_whoever_takes_the_rest_answers_for_a_worker_that_failed_and_says_so() -> None:
    around = world(router={"rules": [*RULES], "otherwise": "desk"}, limits={"retries": 0, "max_rounds": 1})
    around.agents.answers["agent:refunds"] = down
    async with around.up():
        result = told(await around.ask("refund"))
    assert result["answer"] == {"by": "desk"}
    assert result["notices"] == ["desk answers, because refunds failed"]


async def test_a_fallback_goes_before_whoever_takes_the_rest() -> None:
    around = world(
        router={"rules": [*RULES], "otherwise": "desk"},
        fallback={"refunds": {"agent": "billing", "notice": "by the smaller one"}},
        limits={"retries": 0, "max_rounds": 1},
    )
    around.agents.answers["agent:refunds"] = down
    async with around.up():
        result = told(await around.ask("refund"))
    assert (result["answer"], result["notices"]) == ({"by": "billing"}, ["by the smaller one"])


async def test_where_nobody_answers_the_run_fails_and_names_the_gap() -> None:
    around = world(limits={"retries": 0, "max_rounds": 2})
    around.agents.answers["agent:refunds"] = down
    async with around.up():
        result = await around.ask("refund")
    assert isinstance(result, Complete)
    assert result.is_error
    assert json_object(json_list_of(told(result)["gaps"])[0])["error"] == "unavailable"
    assert len(around.agents.asked_of("agent:refunds")) == 2


# Conversations


async def test_the_specialist_owns_the_conversation_until_it_is_done() -> None:
    said: list[Json] = [{"n": 1}, {"n": 2, "drawbridge": {"handoff": "done"}}]

    async def refunds(asked: Asked) -> Json:
        return said.pop(0)

    around = world(router={"rules": [*RULES], "hand_off": True})
    around.agents.answers["agent:refunds"] = refunds
    async with around.up():
        first = await around.ask("refund", meta={"context_id": "c"})
        second = await around.ask("the invoice says so", meta={"context_id": "c"})
        third = await around.ask("the invoice again", meta={"context_id": "c"})
    assert [route(each)["by"] for each in (first, second, third)] == ["rules", "conversation", "rules"]
    assert [route(each)["worker"] for each in (first, second, third)] == ["refunds", "refunds", "billing"]
    assert all(asked.input["conversation"] == "c" for asked in around.agents.asked)


async def test_a_conversation_is_its_owners_within_another_workflow_too() -> None:
    around = world(router={"rules": [*RULES], "hand_off": True})
    outer = {"pattern": "sequential", "stages": [{"workflow": "help"}]}
    around.patterns = {**around.patterns, "sequential": Sequential}
    around.workflows = {**around.workflows, "outer": WorkflowSettings.model_validate(outer)}
    async with around.up():
        for words, context in (("refund", "c"), ("the invoice says so", "c"), ("the invoice", "d")):
            await around.ask(words, workflow="outer", meta={"context_id": context})
        other = await around.ask("invoice", workflow="outer", who=principal("eve"), meta={"context_id": "c"})
    assert isinstance(other, Complete)
    assert [each.target for each in around.agents.asked] == [
        "agent:refunds",
        "agent:refunds",
        "agent:billing",
        "agent:billing",
    ]
    mine, again, another, eves = (json_text(asked.input["conversation"]) for asked in around.agents.asked)
    assert mine == again == eves != another


async def test_a_conversation_is_its_callers_and_no_other_context_is_touched() -> None:
    around = world(router={"rules": [*RULES], "hand_off": True})
    async with around.up():
        await around.ask("refund", meta={"context_id": "c"})
        other_context = await around.ask("invoice", meta={"context_id": "d"})
        other_caller = await around.ask("invoice", who=principal("eve"), meta={"context_id": "c"})
    assert [route(each)["worker"] for each in (other_context, other_caller)] == ["billing", "billing"]


async def test_a_worker_hands_back_and_the_request_is_routed_without_it() -> None:
    around = world(router={"rules": [*RULES], "otherwise": "desk", "hand_off": True})
    around.agents.answers["agent:refunds"] = says({}, handoff="back")
    async with around.up():
        result = await around.ask("refund", meta={"context_id": "c"})
        later = await around.ask("hello", meta={"context_id": "c"})
    assert told(result)["answer"] == {"by": "desk"}
    assert "refunds handed it back" in str(route(result)["because"])
    assert (route(later)["worker"], route(later)["by"]) == ("desk", "conversation")


async def test_a_worker_hands_on_to_another_and_circles_end() -> None:
    around = world(router={"rules": [*RULES], "hand_off": True})
    around.agents.answers |= {
        "agent:refunds": says({}, handoff={"to": "billing"}),
        "agent:billing": says({"by": "billing"}, handoff={"to": "refunds"}),
    }
    async with around.up():
        result = await around.ask("refund", meta={"context_id": "c"})
    assert told(result)["answer"] == {"by": "billing"}
    assert route(result)["by"] == "hand_off"
    assert [asked.target for asked in around.agents.asked] == ["agent:refunds", "agent:billing"]
    assert "circles" in str(decided(around, "hand_off")[-1]["because"])


async def test_a_hand_off_to_nobody_is_told_and_ends_nothing() -> None:
    around = world(router={"rules": [*RULES], "hand_off": True})
    around.agents.answers["agent:refunds"] = says({"n": 1}, handoff={"to": "ghost"})
    async with around.up():
        assert told(await around.ask("refund"))["answer"] == {"n": 1}
    assert "ghost" in str(decided(around, "hand_off")[0]["because"])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"agents": ["a"]},
        {"agents": ["a"], "classifier": {"rule": "magic"}},
        {"agents": ["a"], "classifier": "c", "router": {"replicas": {"b": [{"agent": "c"}]}}},
        {"agents": ["a"], "router": {"rules": [{"agent": "a"}]}},
        {"agents": ["a"], "classifier": "c", "router": {"several": {"workflow": "w"}}},
    ],
    ids=[
        "nothing",
        "no rule",
        "unknown rule",
        "replicas of nobody",
        "a rule that says nothing",
        "too shallow",
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: JsonObject) -> None:
    with pytest.raises(InvalidRequest):
        Router(settings)


def rich() -> Scene:
    """Rules that leave it open, a classifier, replicas of which one fails, a hand-off, and a conversation to note."""
    router = {
        "rules": RULES,
        "replicas": {"billing": ["billing-b"]},
        "otherwise": "desk",
        "hand_off": True,
        "balance": "round_robin",
    }
    agents: dict[str, Answering] = {
        "agent:triage": classifying("billing", 0.9),
        "agent:billing": down,
        "agent:billing-b": says({}, handoff={"to": "refunds"}),
        "agent:refunds": says({"by": "refunds"}),
        "agent:desk": says({}),
    }
    settings = {"pattern": "router", "classifier": "triage", "router": router, "limits": {"retries": 0}}
    return Scene(settings=settings, agents=lambda: agents)


def wishes() -> Scene:
    """Two wishes side by side, of which one fails and is done again."""
    agents: dict[str, Answering] = {
        "agent:refunds": says({"by": "refunds"}),
        "agent:billing": down,
        "agent:desk": says({"by": "desk"}),
    }
    settings = {
        "pattern": "router",
        "router": {"rules": RULES},
        "fallback": {"billing": "desk"},
        "limits": {"retries": 0},
    }
    return Scene(settings=settings, agents=lambda: agents, message="Refund it. The invoice, too")


def asking() -> Scene:
    """A person decides."""
    return Scene(
        settings={"pattern": "router", "router": {"rules": RULES, "person": "caller"}},
        agents=lambda: {"agent:refunds": says({"by": "refunds"}), "agent:billing": says({})},
        replies=("refunds",),
    )


def nested() -> Scene:
    """Several wishes, handed to a workflow that does them all."""
    return Scene(
        settings={
            "pattern": "router",
            "router": {"rules": RULES, "several": "all"},
            "limits": {"max_depth": 3},
        },
        others={"all": {"pattern": "supervisor", "plan": [{"id": "one", "agent": "refunds"}]}},
        agents=lambda: {"agent:refunds": says({"by": "refunds"}), "agent:billing": says({})},
        message="Refund it. The invoice, too",
    )


@pytest.mark.parametrize("where", INSTANTS)
@pytest.mark.parametrize("scene", [rich, wishes, asking, nested])
async def test_routing_survives_every_crash(scene: Callable[[], Scene], where: Instant) -> None:
    await outlives_crashes(scene(), where)
