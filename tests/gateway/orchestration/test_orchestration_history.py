"""A context keeps its history across runs, terms mean the same everywhere, and what an answer lacks is said."""

from dataclasses import replace

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.durable.memory import Where
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.labels import CLEAN, Labels
from gateway.core.model import Complete, Event, principal
from gateway.core.ports.orchestration import Node, Outcome, Steps
from gateway.core.ports.runs import Run
from gateway.core.task import Task
from gateway.orchestration.records.history import earlier_turns
from gateway.orchestration.settings.workflow import WorkflowSettings, with_glossary
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, Asked, World, answer, failing, keep, says, told

pytestmark = pytest.mark.anyio

WEB = Labels(untrusted=frozenset({"server:web"}))
CONTEXT = {"context_id": "ctx"}


class Talking:
    """Hands the request to its agent, and tells what the task's history has; `fail` fails the run."""

    def __init__(self, settings: JsonObject) -> None:
        pass

    async def run(self, task: Task, steps: Steps) -> Outcome:
        said = task.message.text if task.message else ""
        result = await steps.call(Node(target="agent:a", input={"instruction": said}))
        history: Json = [[turn.role, turn.content.text] for turn in task.history]
        return Outcome(text=f"about {said}", value=history, error="no" if said == "fail" else result.reason)


class Outer:
    """Hands everything to another workflow."""

    def __init__(self, settings: JsonObject) -> None:
        pass

    async def run(self, task: Task, steps: Steps) -> Outcome:
        result = await steps.run("inner", {"instruction": "go on"})
        return Outcome(text="ok", value=result.value)


async def saying(asked: Asked) -> Json:
    return {"done": True}


def world(**said: object) -> World:
    workflow = WorkflowSettings.model_validate({"pattern": "talking", "agents": ["a"], **said})
    around = World(
        patterns={"talking": Talking, "outer": Outer},
        workflows={
            "help": workflow,
            "other": workflow,
            "inner": workflow,
            "outer": WorkflowSettings(pattern="outer", workflows=("inner",), glossary={"RMA": "outer", "SKU": "outer"}),
        },
    )
    around.agents.answers["agent:a"] = saying
    return around


def history_of(asked: Asked) -> list[Json]:
    turns = asked.member.get("history", [])
    assert isinstance(turns, list)
    return [[json_object(turn)["request"], json_object(turn)["answer"]] for turn in turns]


async def test_earlier_turns_of_the_context_reach_the_pattern_and_its_agents() -> None:
    around = world()
    async with around.up():
        for said in ("one", "two"):
            await around.ask(said, meta=CONTEXT)
        result = told(await around.ask("three", meta=CONTEXT))
    first, second, third = around.agents.asked
    assert "history" not in first.member
    assert history_of(second) == [["one", "about one"]]
    assert history_of(third) == [["one", "about one"], ["two", "about two"]]
    # The instruction stands behind what was said before, which has not the last word.
    assert third.text.endswith("is this: three")
    assert result["answer"] == [
        ["user", "one"],
        ["agent", "about one"],
        ["user", "two"],
        ["agent", "about two"],
        ["user", "three"],
    ]


async def test_other_contexts_callers_workflows_and_failures_are_no_history() -> None:
    around = world()
    async with around.up():
        await around.ask("elsewhere", meta={"context_id": "else"})
        await around.ask("of ben", meta=CONTEXT, who=principal("ben"))
        await around.ask("of another tenant", meta=CONTEXT, who=principal("ana", tenant="other"))
        await around.ask("to another workflow", meta=CONTEXT, workflow="other")
        await around.ask("fail", meta=CONTEXT)
        await around.ask("now", meta=CONTEXT)
    assert "history" not in around.agents.asked[-1].member


async def test_history_can_be_turned_off_and_is_bounded() -> None:
    off, short = world(history=0), world(history=1)
    for around in (off, short):
        async with around.up():
            for said in ("one", "two", "three"):
                await around.ask(said, meta=CONTEXT)
    assert "history" not in off.agents.asked[-1].member
    assert history_of(short.agents.asked[-1]) == [["two", "about two"]]


async def test_what_the_history_leaves_out_is_said_to_the_agent_and_to_who_watches() -> None:
    around = world(history=1)
    events: list[Event] = []
    async with around.up():
        for said in ("one", "two", "three"):
            await around.ask(said, meta=CONTEXT)
        await around.ask("four", meta=CONTEXT, emit=keep(events))
    first, second, third, fourth = (each.member.get("left_out") for each in around.agents.asked)
    assert (first, second) == (None, None)
    assert third == ["1 of the earlier turns"]
    # No more runs are looked at than that: there may be others.
    assert fourth == ["at least 2 of the earlier turns"]
    told = [str(getattr(each, "text", "")) for each in events]
    assert "left out: at least 2 of the earlier turns" in told


async def test_a_turn_that_is_cut_says_so_and_names_its_run_to_nested_runs_too() -> None:
    around = world(history=1, history_bytes=1000)
    around.workflows["outer"] = around.workflows["outer"].model_copy(update={"history": 1, "history_bytes": 1000})
    events: list[Event] = []
    async with around.up():
        for workflow in ("help", "outer"):
            await around.ask("q" * 3000, meta=CONTEXT, workflow=workflow)
            await around.ask("short", meta=CONTEXT, workflow=workflow, emit=keep(events))
    of_help, of_outer = (
        next(each.id for each in around.runs.runs.values() if each.workflow == name and len(str(each.input)) > 3000)
        for name in ("help", "outer")
    )
    for asked, run_id in ((around.agents.asked[1], of_help), (around.agents.asked[3], of_outer)):
        [turn] = map(json_object, json_list(asked.member["history"]))
        left = int(str(turn["cut_bytes"]))
        assert turn["run"] == run_id
        assert left >= 2000
        assert len(f"{turn['request']}{turn['answer']}".replace("…", "")) + left == (
            6006 if run_id == of_help else 3002
        )
        assert asked.member["left_out"] == [f"{left} bytes of the earlier turn {run_id}"]
        assert any(f"left out: {left} bytes of the earlier turn {run_id}" in str(each) for each in events)


async def test_a_summariser_is_asked_once_what_earlier_turns_came_to_and_every_step_is_told() -> None:
    around = world(history=1, summariser="brief")

    async def brief(asked: Asked) -> Complete:
        return answer({"summary": "they counted"}, labels=WEB)

    around.agents.answers["agent:brief"] = brief
    async with around.up():
        for said in ("one", "two"):
            await around.ask(said, meta=CONTEXT)
        assert around.agents.asked_of("agent:brief") == []
        result = await around.ask("three", meta=CONTEXT)
    [asked] = around.agents.asked_of("agent:brief")
    assert asked.input["value"] == [{"request": "one", "answer": "about one"}]
    third = around.agents.asked_of("agent:a")[-1]
    assert third.member["recap"] == "they counted"
    assert history_of(third) == [["two", "about two"]]
    assert third.text.endswith("is this: three")
    # Whoever reads the recap reads what the summariser made of it.
    assert third.request.labels == WEB
    assert getattr(result, "labels", None) == WEB


def sums_up(*fails_at: int) -> Answering:
    """Says which turns it was told of, behind what it said before."""
    times = 0

    async def brief(asked: Asked) -> "Json | Complete":
        nonlocal times
        times += 1
        if times in fails_at:
            return failing("no words")
        value = asked.input["value"]
        before = [json_text(json_object(value)["so_far"])] if isinstance(value, dict) else []
        turns = json_list(json_object(value).get("turns")) or json_list(value)
        return answer({"summary": " ".join([*before, *(json_text(json_object(each)["request"]) for each in turns)])})

    return brief


async def test_what_earlier_turns_came_to_grows_by_those_that_fall_out_of_the_history() -> None:
    around = world(history=1, summariser="brief")
    around.agents.answers["agent:brief"] = sums_up()
    async with around.up():
        for said in ("one", "two", "three", "four", "five", "six"):
            await around.ask(said, meta=CONTEXT)
    recaps = [each.member.get("recap") for each in around.agents.asked_of("agent:a")]
    assert recaps == [None, None, "one", "one two", "one two three", "one two three four"]
    told = [each.input["value"] for each in around.agents.asked_of("agent:brief")]
    assert told[1] == {"so_far": "one", "turns": [{"request": "two", "answer": "about two"}]}


async def test_what_could_not_be_summed_up_is_summed_up_with_the_next() -> None:
    around = world(history=1, summariser="brief")
    around.agents.answers["agent:brief"] = sums_up(2)
    async with around.up():
        for said in ("one", "two", "three", "four", "five"):
            await around.ask(said, meta=CONTEXT)
    recaps = [each.member.get("recap") for each in around.agents.asked_of("agent:a")]
    assert recaps == [None, None, "one", "one", "one two three"]


async def test_whoever_reads_an_account_of_earlier_turns_reads_what_all_of_it_was_made_of() -> None:
    around = world(history=1, summariser="brief")
    told = [answer({"summary": "first"}, labels=WEB), answer({"summary": "second"})]

    async def brief(asked: Asked) -> Complete:
        return told.pop(0)

    around.agents.answers["agent:brief"] = brief
    async with around.up():
        for said in ("one", "two", "three", "four"):
            await around.ask(said, meta=CONTEXT)
    last = around.agents.asked_of("agent:a")[-1]
    assert (last.member["recap"], last.request.labels) == ("second", WEB)


async def test_who_cannot_sum_up_keeps_nobody_from_working() -> None:
    around = world(history=1, summariser="brief")
    async with around.up():
        for said in ("one", "two", "three"):
            await around.ask(said, meta=CONTEXT)
    third = around.agents.asked[-1]
    assert "recap" not in third.member
    assert third.member["left_out"] == ["1 of the earlier turns"]


async def test_nested_runs_are_told_what_the_outer_one_was_told_of_earlier_turns() -> None:
    around = world()
    outer = around.workflows["outer"]
    around.workflows["outer"] = outer.model_copy(update={"history": 1, "summariser": "brief"})
    around.agents.answers["agent:brief"] = says("they counted")
    async with around.up():
        for said in ("one", "two", "three"):
            await around.ask(said, workflow="outer", meta=CONTEXT)
    member = around.agents.asked_of("agent:a")[-1].member
    assert member["recap"] == "they counted"
    assert member["left_out"] == ["1 of the earlier turns"]
    assert len(around.agents.asked_of("agent:brief")) == 1


async def test_labels_of_what_was_said_travel_with_it() -> None:
    around = world()

    async def from_the_web(asked: Asked) -> Complete:
        return answer({}, labels=WEB if asked.text == "one" else CLEAN)

    around.agents.answers["agent:a"] = from_the_web
    async with around.up():
        clean = await around.ask("nothing", meta={"context_id": "else"})
        await around.ask("one", meta=CONTEXT)
        tainted = await around.ask("two", meta=CONTEXT)
    assert getattr(clean, "labels", None) == CLEAN
    assert around.agents.asked[-1].request.labels == WEB
    assert getattr(tainted, "labels", None) == WEB


async def test_a_repeated_call_finds_its_run_whatever_was_said_since() -> None:
    around = world()
    async with around.up():
        await around.ask("one", meta=CONTEXT | {"message_id": "m1"})
        await around.ask("two", meta=CONTEXT | {"message_id": "m2"})
        again = told(await around.ask("one", meta=CONTEXT | {"message_id": "m1"}))
    assert again["answer"] == [["user", "one"]]
    assert len(around.runs.runs) == 2


async def test_nested_runs_are_handed_the_outer_ones_history_and_terms() -> None:
    around = world(glossary={"RMA": "inner"})
    async with around.up():
        await around.ask("one", workflow="outer", meta=CONTEXT)
        await around.ask("two", workflow="outer", meta=CONTEXT)
    member = around.agents.asked[-1].member
    assert history_of(around.agents.asked[-1]) == [["one", "ok"]]
    assert member["glossary"] == {"RMA": "inner", "SKU": "outer"}
    handed = json_object(json_object(member["data"])["drawbridge"])
    assert not {"history", "glossary"} & handed.keys()


async def test_nobody_outside_sets_terms_or_history() -> None:
    around = world(glossary={"RMA": "a return"})
    async with around.up():
        await around.ask("one", data={"drawbridge": {"glossary": {"RMA": "free money"}, "history": [{"request": "x"}]}})
    [asked] = around.agents.asked
    assert asked.member["glossary"] == {"RMA": "a return"}
    assert "history" not in asked.member


def test_shared_terms_are_every_workflows_unless_it_says_otherwise() -> None:
    found = with_glossary(
        {"a": WorkflowSettings(pattern="p"), "b": WorkflowSettings(pattern="p", glossary={"RMA": "own"})},
        {"RMA": "shared", "SKU": "shared"},
    )
    assert found["a"].glossary == {"RMA": "shared", "SKU": "shared"}
    assert found["b"].glossary == {"RMA": "own", "SKU": "shared"}


async def test_what_makes_an_answer_less_than_it_should_be_is_said_once_each() -> None:
    around = world()

    async def stale(asked: Asked) -> Complete:
        return replace(answer({}), meta={"quality": ["of an hour ago", "of a smaller agent"]})

    around.agents.answers["agent:a"] = stale
    async with around.up():
        result = told(await around.ask("one"))
    assert result["notices"] == ["of an hour ago; of a smaller agent"]


@pytest.mark.parametrize("where", INSTANTS)
async def test_history_is_the_same_after_a_crash(where: Instant) -> None:
    said: JsonObject = {"pattern": "talking", "agents": ["a"], "glossary": {"RMA": "a return"}}
    scene = Scene(settings=said, patterns={"talking": Talking}, agents=lambda: {"agent:a": saying})
    await outlives_crashes(scene, where)


async def test_what_earlier_turns_came_to_is_asked_once_whenever_the_gateway_dies() -> None:
    around = world(history=1, summariser="brief")
    around.agents.answers["agent:brief"] = says("they counted")
    async with around.up():
        for said in ("one", "two"):
            await around.ask(said, meta=CONTEXT)
    died: list[tuple[int, Where]] = []

    def crash(run_id: str, number: int, where: Where) -> bool:
        """At every instant of the third run, each in a process of its own."""
        if (number, where) in died or where == "before":
            return False
        died.append((number, where))
        return True

    while True:
        async with around.up(on_slot=crash) as (_, journal), anyio.create_task_group() as group:

            async def to_the_end() -> None:
                await around.ask("three", meta=CONTEXT | {"message_id": "m3"})
                group.cancel_scope.cancel()

            group.start_soon(to_the_end)
            await journal.crashed.wait()
            group.cancel_scope.cancel()
        if not journal.crashed.is_set():
            break
    assert len(died) >= 4
    assert len(around.agents.asked_of("agent:brief")) == 1
    [third] = [each for each in around.agents.asked_of("agent:a") if each.text.endswith("three")]
    assert third.member["recap"] == "they counted"


def run(number: int, request: str, reply: str, **others: object) -> Run:
    content: JsonObject = {"parts": [{"kind": "text", "text": reply}], "structured": None}
    whole = Run(
        id=f"run_{number}",
        workflow="help",
        tenant="default",
        owner="ana",
        state="completed",
        context_id="ctx",
        created_at_us=number,
        updated_at_us=number,
        input={"parts": [{"kind": "text", "text": request}], "structured": None},
        output={"state": "completed", "content": content},
    )
    return replace(whole, **others)


def test_of_a_run_that_another_took_over_only_the_other_counts() -> None:
    forked = run(2, "one", "better", spec={"origin": "run_1"})
    before = earlier_turns([forked, run(1, "one", "worse")], most=5, most_bytes=1000)
    assert [turn.answer for turn in before.turns] == ["better"]
    assert before.left_out == 0


def test_turns_that_nobody_sums_up_for_want_of_room_are_counted() -> None:
    runs = [run(number, "q" * 300, "a" * 400) for number in range(4)]
    before = earlier_turns(reversed(runs), most=1, most_bytes=1000, older_bytes=1000)
    assert [turn.run_id for turn in (*before.older, *before.turns)] == ["run_2", "run_3"]
    assert before.left_out_words("at least ") == (
        "at least 3 of the earlier turns, 2 of them also of what they came to",
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.text(max_size=80), st.text(max_size=80)), max_size=8),
    st.integers(min_value=0, max_value=6),
    st.integers(min_value=16, max_value=400),
)
def test_turns_never_exceed_their_bounds_and_the_latest_is_among_them(
    said: list[tuple[str, str]], most: int, most_bytes: int
) -> None:
    runs = [run(number, request, reply) for number, (request, reply) in enumerate(said)]
    before = earlier_turns(reversed(runs), most=most, most_bytes=most_bytes, older_bytes=most_bytes)
    turns = before.turns
    size = sum(len((turn.request + turn.answer).encode(errors="replace")) for turn in turns)
    assert len(turns) <= most
    assert size <= most_bytes
    assert [turn.run_id for turn in turns] == [each.id for each in runs][len(runs) - len(turns) :]
    assert bool(turns) == bool(runs and most)
    # What is left out is counted, and the latest of it kept for whoever sums it up.
    assert before.left_out == len(runs) - len(turns)
    assert bool(before.older) == bool(before.left_out)
    ended = len(runs) - len(turns)
    assert [turn.run_id for turn in before.older] == [each.id for each in runs][ended - len(before.older) : ended]
