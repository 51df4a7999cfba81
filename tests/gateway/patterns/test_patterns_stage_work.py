"""What is done about a stage that fails, what it may spend, who approves it, and what it is not shown."""

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.content import Content, data_part, text_part
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.limits import Usage
from gateway.core.model import Complete, Event, StatusChanged, principal
from gateway.core.ports.approvals import ApprovalState
from gateway.core.ports.orchestration import StepResult
from gateway.core.task import Task, TaskState
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.sequential.pattern import Sequential
from gateway.patterns.sequential.shares import StageShare
from gateway.patterns.shared.failures import choice_in, is_approved
from gateway.patterns.shared.views import Sight, result_seen, sight_in, task_view
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, Asked, World, answer, failing, says, told

pytestmark = pytest.mark.anyio


def world(*stages: JsonObject, **settings: object) -> World:
    workflow = WorkflowSettings.model_validate({"pattern": "sequential", "stages": stages, **settings})
    return World(patterns={"sequential": Sequential}, workflows={"help": workflow})


async def fails(asked: Asked) -> Complete:
    return failing("out of order")


async def hangs(asked: Asked) -> Json:
    await anyio.sleep_forever()


async def ask(around: World, *replies: str, data: Json = None) -> Complete:
    """Ask, and answer when asked back; with no reply left nothing is said."""
    left = [*replies]

    async def reply(event: Event) -> None:
        if isinstance(event, StatusChanged) and event.state is TaskState.INPUT_REQUIRED and left:
            meta: JsonObject = {"task": event.task_id, "message_id": f"r{len(left)}", "return_immediately": True}
            await around.ask(left.pop(0), meta=meta)

    result = await around.ask("go", data=data, emit=reply)
    assert isinstance(result, Complete)
    return result


CONTRACT: JsonObject = {"type": "object", "required": ["amount"]}


async def test_who_breaks_a_contract_is_asked_again_with_it() -> None:
    async def learns(asked: Asked) -> Json:
        return {"amount": 1} if "note" in asked.member else {"total": 1}

    around = world({"agent": "a", "output_schema": CONTRACT})
    around.agents.answers["agent:a"] = learns
    async with around.up():
        result = await ask(around)
    assert told(result)["answer"] == {"amount": 1}
    first, second = around.agents.asked
    assert "'amount' is a required property" in str(second.member["note"])
    assert first.request.step_id == second.request.step_id


@pytest.mark.parametrize(("rounds", "tries"), [(1, 1), (2, 2), (4, 4)])
async def test_nobody_is_asked_more_often_than_there_are_rounds(rounds: int, tries: int) -> None:
    around = world({"agent": "a", "output_schema": CONTRACT}, limits={"max_rounds": rounds})
    around.agents.answers["agent:a"] = says({"total": 1})
    async with around.up():
        result = await ask(around)
    assert result.is_error
    assert len(around.agents.asked) == tries


async def test_a_tool_that_breaks_its_contract_is_not_called_again() -> None:
    around = world({"tool": "orders/find", "output_schema": CONTRACT})
    around.agents.answers["tool:orders/find"] = says({"total": 1})
    async with around.up():
        result = await ask(around)
    assert result.is_error
    assert len(around.agents.asked) == 1


async def test_who_takes_over_a_stage_is_named_in_the_answer() -> None:
    around = world({"agent": "a"}, fallback={"a": {"agent": "b", "notice": "A smaller analyst answered."}})
    around.agents.answers |= {"agent:a": fails, "agent:b": says({"by": "b"})}
    async with around.up():
        result = told(await ask(around))
    assert result["answer"] == {"by": "b"}
    assert result["notices"] == ["A smaller analyst answered."]
    assert result["gaps"] == []


async def test_a_tool_takes_over_from_a_tool_and_is_named_too() -> None:
    stage: JsonObject = {"tool": "orders/find", "input": {"id": 7}}
    around = world(stage, fallback={"orders/find": "archive/find"}, limits={"max_rounds": 1})
    around.agents.answers |= {"tool:orders/find": fails, "tool:archive/find": says({"by": "archive"})}
    async with around.up():
        result = told(await ask(around))
    assert result["answer"] == {"by": "archive"}
    assert result["notices"] == ["archive/find stood in for orders/find"]
    assert [each.input for each in around.agents.asked] == [{"id": 7}, {"id": 7}]


@pytest.mark.parametrize("first", ["failed", "never answered"])
async def test_a_tool_that_takes_over_acts_for_itself_unless_nobody_knows_what_the_first_has_done(first: str) -> None:
    """Under one key an effect happens once, whoever has it: of the first tool's answer the second would be told."""
    stage: JsonObject = {"tool": "orders/refund", "input": {"id": 7}, "timeout_s": 2}
    around = world(stage, fallback={"orders/refund": "bank/refund"}, limits={"max_rounds": 1})
    around.agents.answers |= {
        "tool:orders/refund": fails if first == "failed" else hangs,
        "tool:bank/refund": says({"by": "bank"}),
    }
    async with around.up():
        await ask(around)
    keys = [each.request.idempotency_key for each in around.agents.asked]
    assert keys[0] == around.agents.asked[0].request.step_id
    assert (keys[1] == keys[0]) is (first != "failed")


@pytest.mark.parametrize(
    ("reply", "failed", "tries"), [("retry", False, 2), ("skip", False, 1), ("fail", True, 1), ("perhaps", True, 1)]
)
async def test_the_caller_says_what_becomes_of_a_failed_stage(reply: str, failed: bool, tries: int) -> None:
    tried: list[Asked] = []

    async def second_time(asked: Asked) -> "Json | Complete":
        tried.append(asked)
        return failing("not yet") if len(tried) == 1 else {"ok": 1}

    around = world({"agent": "a"}, {"agent": "b"}, limits={"on_failure": "ask"})
    around.agents.answers |= {"agent:a": second_time, "agent:b": says("the end")}
    async with around.up():
        result = await ask(around, reply)
    assert result.is_error is failed
    assert len(tried) == tries
    assert len(around.agents.asked_of("agent:b")) == (0 if failed else 1)
    assert [json_object(gap)["step"] for gap in json_list(told(result)["gaps"])] == ([] if reply == "retry" else ["a"])


async def test_with_on_failure_fail_an_optional_stage_fails_the_run_too() -> None:
    around = world({"agent": "a", "optional": True}, {"agent": "b"}, limits={"on_failure": "fail"})
    around.agents.answers |= {"agent:a": fails, "agent:b": says({})}
    async with around.up():
        result = await ask(around)
    assert result.is_error
    assert around.agents.asked_of("agent:b") == []


async def test_a_stage_that_spends_more_than_its_share_is_stopped_and_named() -> None:
    async def costly(asked: Asked) -> Complete:
        return answer({"n": 1}, usage=Usage(tokens=150))

    around = world({"agent": "cheap", "tokens": 100}, {"agent": "costly", "tokens": 100}, {"agent": "last"})
    around.agents.answers |= {"agent:cheap": says({"n": 0}), "agent:costly": costly, "agent:last": says({})}
    async with around.up():
        result = await ask(around)
    assert result.is_error
    assert json_list(told(result)["gaps"]) == [
        {
            "step": "costly",
            "target": "agent:costly",
            "error": "budget",
            "reason": "it used 150 tokens, and 100 are its share",
        }
    ]
    assert json_object(told(result)["why"])["stages"] == {
        "cheap": {"attempts": 1, "tokens": 0, "cost_usd": "0"},
        "costly": {"attempts": 1, "tokens": 150, "cost_usd": "0"},
    }
    assert around.agents.asked_of("agent:last") == []


async def test_a_stage_is_not_tried_again_where_that_would_exceed_its_share() -> None:
    async def costly(asked: Asked) -> Complete:
        return answer({"total": 1}, usage=Usage(tokens=60))

    around = world({"agent": "a", "tokens": 100, "output_schema": CONTRACT, "optional": True}, {"agent": "b"})
    around.agents.answers |= {"agent:a": costly, "agent:b": says("the end")}
    async with around.up():
        result = told(await ask(around))
    assert len(around.agents.asked_of("agent:a")) == 1
    assert [json_object(gap)["error"] for gap in json_list(result["gaps"])] == ["budget"]


async def test_a_nested_run_gets_the_share_of_its_stage_as_its_budget() -> None:
    around = world({"workflow": "inner", "tokens": 100}, {"agent": "b"}, limits={"max_depth": 3})
    inner = {"pattern": "sequential", "stages": [{"agent": "x", "name": f"s{n}", "optional": True} for n in range(4)]}
    around.workflows["inner"] = WorkflowSettings.model_validate(inner)

    async def costly(asked: Asked) -> Complete:
        return answer({}, usage=Usage(tokens=40))

    around.agents.answers |= {"agent:x": costly, "agent:b": says({})}
    async with around.up():
        await ask(around)
    assert len(around.agents.asked_of("agent:x")) == 2


@settings(deadline=None)
@given(used=st.lists(st.integers(0, 50), max_size=8), tokens=st.integers(1, 100))
def test_a_share_only_shrinks_and_is_never_handed_out_twice(used: list[int], tokens: int) -> None:
    share = StageShare(tokens=tokens)
    left = [tokens]
    for each in used:
        share = share.after(Usage(tokens=each))
        left.append(share.tokens_left or 0)
    assert left == sorted(left, reverse=True)
    assert bool(share.exceeded) is (sum(used) > tokens)
    assert share.exhausted or not share.exceeded


@pytest.mark.parametrize(("reply", "runs"), [("yes", True), ("no", False), ("I would rather not", False)])
async def test_a_stage_begins_once_a_person_approves(reply: str, runs: bool) -> None:
    approve: JsonObject = {"question": "Pay it?", "timeout_s": 60}
    around = world({"agent": "assess"}, {"tool": "bank/pay", "input": {"amount": "$assess.amount"}, "approve": approve})
    around.agents.answers |= {"agent:assess": says({"amount": 30}), "tool:bank/pay": says({"paid": True})}
    async with around.up():
        result = await ask(around, reply)
    assert len(around.agents.asked_of("tool:bank/pay")) == int(runs)
    assert result.is_error is not runs
    [run] = around.runs.log
    said = [json_object(event.body) for event in around.runs.log[run].values()]
    assert any('Pay it? (pay would be given {"amount": 30})' in str(body) for body in said)


@pytest.mark.parametrize("verdict", ["approved", "denied"])
async def test_a_stage_is_approved_by_somebody_with_the_role_it_names(verdict: ApprovalState) -> None:
    around = world({"agent": "a", "approve": {"question": "Pay it?", "role": "chief", "timeout_s": 60}})
    around.agents.answers["agent:a"] = says({})
    async with around.up() as (orchestrator, _):
        await around.ask(meta={"return_immediately": True, "message_id": "m"})
        while not around.approvals.kept:
            await anyio.lowlevel.checkpoint()
        [approval] = around.approvals.kept
        chief = principal("carl", roles=frozenset({"chief"}))
        await orchestrator.approving.answer(chief, approval, verdict)
        await around.ask(meta={"message_id": "m"})
    assert len(around.agents.asked) == (1 if verdict == "approved" else 0)


async def test_what_nobody_approves_in_time_is_not_done() -> None:
    around = world({"agent": "a", "approve": {"question": "Sure?", "timeout_s": 0.01}})
    around.agents.answers["agent:a"] = says({})
    async with around.up():
        result = await ask(around)
    assert result.is_error
    assert json_object(json_list(told(result)["gaps"])[0])["error"] == "denied"
    assert around.agents.asked == []


async def test_a_stage_claims_what_it_names_until_the_run_ends() -> None:
    held: list[object] = []
    around = world({"agent": "a", "claims": ["account:$task.account"]})

    async def looks(asked: Asked) -> Json:
        held.extend(around.scratch.claims)
        return {}

    around.agents.answers["agent:a"] = looks
    async with around.up():
        await ask(around, data={"account": 4711})
    assert held == [("default", "account:4711")]
    assert around.scratch.claims == {}


def everything_said_to(around: World, target: str) -> str:
    return " ".join(f"{asked.text} {asked.input}" for asked in around.agents.asked_of(target))


@pytest.mark.parametrize(
    "limits",
    [{"hide": ["diagnosis"]}, {"pass": ["amount", "customer"]}, {"pass": ["triage.amount", "task.customer"]}],
    ids=["hidden", "passed", "passed by stage"],
)
async def test_billing_never_sees_the_diagnosis(limits: JsonObject) -> None:
    around = world({"agent": "triage"}, {"agent": "note"}, {"agent": "billing", **limits})
    around.agents.answers |= {
        "agent:triage": says({"diagnosis": "gout", "amount": 30, "codes": [{"diagnosis": "gout"}]}, summary="gout: 30"),
        "agent:note": says("the patient has gout"),
        "agent:billing": says({"billed": True}),
    }
    async with around.up():
        await around.ask("I have gout", data={"customer": "C1", "diagnosis": "gout", "more": {"diagnosis": "gout"}})
    assert "gout" not in everything_said_to(around, "agent:billing")
    [billing] = around.agents.asked_of("agent:billing")
    assert json_object(billing.member["data"])["customer"] == "C1"
    assert "gout" in everything_said_to(around, "agent:note")


async def test_a_field_that_is_passed_comes_from_wherever_it_is() -> None:
    around = world({"agent": "a"}, {"agent": "b"}, {"agent": "c", "pass": ["amount"]})
    around.agents.answers |= {
        "agent:a": says({"amount": 30, "name": "x"}), "agent:b": says({"b": 1}), "agent:c": says({}),
    }  # fmt: skip
    async with around.up():
        await ask(around)
    [asked] = around.agents.asked_of("agent:c")
    assert json_object(asked.member["results"])["a"] == {"summary": "", "value": {"amount": 30}}


@pytest.mark.parametrize(
    ("task", "words", "data"),
    [
        ("full", "long story", {"day": "mon", "secret": 1}),
        ("summary", "long story", None),
        ("none", "", None),
        (["day"], "", {"day": "mon"}),
        (["message", "day"], "long story", {"day": "mon"}),
    ],
)
async def test_a_stage_is_told_as_much_of_the_task_as_its_settings_say(task: Json, words: str, data: Json) -> None:
    around = world({"agent": "a", "task": task})
    around.agents.answers["agent:a"] = says({})
    async with around.up():
        await around.ask("long story", data={"day": "mon", "secret": 1})
    [asked] = around.agents.asked
    assert (asked.text, asked.member["task"], asked.member.get("data")) == (words, words, data)


FIELDS = st.dictionaries(
    st.sampled_from(["a", "b", "secret"]),
    st.recursive(
        st.integers() | st.text(alphabet="xy", max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "secret"]), inner),
        max_leaves=6,
    ),
)


@settings(deadline=None)
@given(value=FIELDS, words=st.text(alphabet="xy", max_size=5))
def test_what_is_hidden_is_nowhere_in_what_is_shown(value: JsonObject, words: str) -> None:
    sight = Sight(hidden=("secret",))
    shown = result_seen(
        StepResult(id="1", target="agent:a", ok=True, value=value, text=words, summary=words), "a", sight
    )
    content = Content(parts=(text_part(words), data_part(value)), structured=value)
    view = task_view(sight, Task(id="1", context_id="", state=TaskState.WORKING, updated_at_us=0, message=content))
    assert view is not None
    assert "secret" not in f"{shown.value} {view.data}"
    assert (shown.text, shown.summary, view.message) == ("", "", "")
    if isinstance(value.get("a"), int):
        assert json_object(shown.value)["a"] == value["a"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *(("retry", "retry"), ("  Skip ", "skip"), ({"message": "fail"}, "fail"), ({"choice": "retry"}, "retry")),
        *((None, ""), (3, ""), ("retry it", ""), ({}, "")),
    ],
)
def test_a_choice_is_read_from_an_answer_or_none(value: Json, expected: str) -> None:
    assert choice_in(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((True, True), ("yes", True), ({"approved": True}, True), ({"message": "Approve"}, True)),
        *((False, False), ("no", False), ({"approved": False}, False), (1, False), (None, False), ("oh yes", False)),
    ],
)
def test_only_a_yes_approves(value: Json, expected: bool) -> None:
    assert is_approved(value) is expected


@pytest.mark.parametrize(
    "settings",
    [
        {"stages": [{"agent": "a", "pass": ["x"], "hide": ["x"]}]},
        {"stages": [{"agent": "a"}, {"agent": "b", "hide": ["x"], "input": {"y": "$a.x"}}]},
        {"stages": [{"agent": "a", "claims": ["account:$b.x"]}]},
        {"stages": [{"agent": "a"}, {"agent": "b"}], "limits": {"calls": 1}},
        {"stages": [{"agent": "a", "timeout_s": 5}, {"agent": "b", "timeout_s": 6}], "limits": {"deadline_s": 10}},
    ],
    ids=["both", "given and hidden", "an unknown claim", "too few calls", "too little time"],
)
def test_settings_that_make_no_sense_are_refused(settings: JsonObject) -> None:
    with pytest.raises(InvalidRequest):
        Sequential(settings)


def test_sight_is_read_from_settings() -> None:
    assert sight_in({"task": ["a"], "hide": ["b"]}) == Sight(task=("a",), hidden=("b",))


def rich() -> Scene:
    """A retry with a note, a stand-in, an approval, a lookup that drops, a claim, and a stage that is undone."""

    async def learns(asked: Asked) -> Json:
        return {"amount": 1} if "note" in asked.member else {"total": 1}

    async def find(asked: Asked) -> Json:
        return {"found": asked.input["id"] == "P1"}

    agents: dict[str, Answering] = {
        "agent:a": learns,
        "agent:b": fails,
        "agent:stand-in": says({"pages": ["P1", "P9"]}),
        "tool:docs/find": find,
        "tool:undo/a": says({}),
        "agent:last": fails,
    }
    return Scene(
        settings={
            "pattern": "sequential",
            "fallback": {"b": "stand-in"},
            "stages": [
                {"agent": "a", "output_schema": CONTRACT, "claims": ["account:$task.id"], "undo": {"tool": "undo/a"}},
                {
                    "agent": "b",
                    "approve": {"question": "Go on?", "timeout_s": 60},
                    "verify": [{"field": "pages[]", "tool": "docs/find", "unresolved": "drop"}],
                },
                {"agent": "last"},
            ],
        },
        data={"id": 7},
        agents=lambda: agents,
        replies=("yes",),
        fails=True,
    )


@pytest.mark.parametrize("where", INSTANTS)
async def test_stages_survive_every_crash(where: Instant) -> None:
    await outlives_crashes(rich(), where)
