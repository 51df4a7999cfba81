"""What the steps of a plan have done is undone: all of it with a run that fails, else what does not stand."""

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.model import Accepted, Complete
from gateway.core.ports.orchestration import StepResult
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.plan_execute.pattern import PlanExecute
from gateway.patterns.planned.plan import PlanStep
from gateway.patterns.planned.undoing import in_order_of_ending
from gateway.patterns.supervisor.pattern import Supervisor
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, Asked, World, failing, says, told

pytestmark = pytest.mark.anyio

FAILS: JsonObject = {"on_failure": "fail", "max_rounds": 1}
ONCE: JsonObject = {"max_rounds": 1}


def step(name: str, **more: Json) -> JsonObject:
    """One that the agent of the same name does, and a tool undoes."""
    return {"id": name, "agent": name, "undo": {"tool": "rooms/free", "input": {"id": f"${name}.id"}}, **more}


A, B = step("a"), step("b", after=["a"])
SHIP: JsonObject = {"id": "ship", "agent": "ship", "after": ["b"]}


def world(*plan: JsonObject, **settings: object) -> World:
    said = {"pattern": "supervisor", "plan": plan, **settings}
    around = World(
        patterns={"supervisor": Supervisor, "plan_execute": PlanExecute},
        workflows={"help": WorkflowSettings.model_validate(said)},
    )
    around.agents.answers |= answers()
    return around


def planned(*plan: JsonObject, **settings: object) -> World:
    """The same by somebody who plans it."""
    workers = {"agents": ["a", "b", "c", "ship"], "tools": ["rooms/free"]}
    around = world(planner="chief", **workers, **settings)
    around.agents.answers["agent:chief"] = says({"steps": [*plan]})
    return around


def answers() -> dict[str, Answering]:
    return {
        "agent:a": says({"id": "A"}),
        "agent:b": says({"id": "B"}),
        "agent:c": says({"id": "C"}),
        "agent:ship": fails,
        "tool:rooms/free": says({"freed": True}),
    }


async def fails(asked: Asked) -> Complete:
    return failing("no")


async def never(asked: Asked) -> Json:
    await anyio.sleep_forever()


def freed(around: World) -> list[Json]:
    return [asked.input["id"] for asked in around.agents.asked_of("tool:rooms/free")]


def order(around: World) -> list[str]:
    return [each.target for each in around.agents.asked]


def undo_decisions(around: World) -> list[str]:
    details = [json_object(each.body.get("detail")) for log in around.runs.log.values() for each in log.values()]
    return [str(each["because"]) for each in details if each.get("what") == "undo"]


async def asked(around: World, *, fails: bool) -> JsonObject:
    async with around.up():
        result = await around.ask(data={"trip": 7})
    assert isinstance(result, Complete)
    assert result.is_error is fails, told(result)
    return told(result)


async def test_a_step_that_fails_the_run_has_those_undone_that_stood_the_last_first() -> None:
    around = world(A, B, SHIP, limits=FAILS)
    result = await asked(around, fails=True)
    assert freed(around) == ["B", "A"]
    assert [json_object(each)["ok"] for each in json_list(result["undone"])] == [True, True]
    assert undo_decisions(around) == ["the run failed: not done: ship"] * 2


async def test_what_the_run_goes_on_without_is_undone_and_the_rest_stands() -> None:
    undo: JsonObject = {"tool": "rooms/free", "input": {"id": "$task.trip"}}
    around = world(A, step("slow", timeout_s=1.0, undo=undo), limits=ONCE)
    around.agents.answers["agent:slow"] = never
    result = await asked(around, fails=False)
    assert freed(around) == [7], "nobody knows what it has done, and the answer does without it"
    assert [json_object(each)["step"] for each in json_list(result["gaps"])] == ["slow"]
    assert "undone" not in result
    assert ["goes on without it" in each for each in undo_decisions(around)] == [True]


async def test_what_cannot_be_undone_without_an_answer_is_named() -> None:
    around = world(A, step("slow", timeout_s=1.0), limits=ONCE)
    around.agents.answers["agent:slow"] = never
    result = await asked(around, fails=False)
    assert freed(around) == []
    assert result["notices"] == ["slow may have been done (timeout), and cannot be undone without its answer"]


async def test_a_commit_that_fails_has_the_other_commits_undone_and_no_proposal() -> None:
    async def commits_nothing(asked: Asked) -> "Json | Complete":
        return failing("no") if asked.phase == "commit" else {"id": "ship"}

    async def books(asked: Asked) -> Json:
        return {"id": f"A {asked.phase}"}

    around = world(step("a"), {**SHIP, "after": ["a"]}, propose=True, limits=FAILS)
    around.agents.answers |= {"agent:a": books, "agent:ship": commits_nothing}
    await asked(around, fails=True)
    assert freed(around) == ["A commit"]


async def test_what_one_has_done_is_undone_before_another_takes_over() -> None:
    schema: JsonObject = {"required": ["nights"]}
    around = world(A, step("b", output_schema=schema, after=["a"]), fallback={"b": "c"})
    around.agents.answers["agent:c"] = says({"id": "C", "nights": 2})
    await asked(around, fails=False)
    assert order(around) == ["agent:a", "agent:b", "tool:rooms/free", "agent:c"]
    assert freed(around) == ["B"]
    first, second = (around.agents.asked_of(each)[-1].request.step_id for each in ("agent:b", "agent:c"))
    assert first != second, "what was undone is done over as something new"


async def test_an_answer_that_another_replaced_is_undone_once_that_one_stands() -> None:
    around = world(A, agents=["a", "c"], critic="judge", fallback={"a": "c"})
    verdicts = ["reassign", "accept"]

    async def judge(asked: Asked) -> Json:
        return {"reviews": [{"step": "a", "verdict": verdicts.pop(0), "note": "dear"}]}

    around.agents.answers["agent:judge"] = judge
    result = await asked(around, fails=False)
    assert result["answer"] == {"a": {"id": "C"}}
    assert order(around) == ["agent:a", "agent:judge", "agent:c", "agent:judge", "tool:rooms/free"]
    assert freed(around) == ["A"]


async def test_what_could_not_be_undone_is_a_gap_of_the_answer() -> None:
    around = world(step("a"), step("b", output_schema={"required": ["nights"]}), limits=ONCE)
    around.agents.answers["tool:rooms/free"] = fails
    result = await asked(around, fails=False)
    assert [json_object(each)["step"] for each in json_list(result["gaps"])] == ["b", "undo b"]
    assert freed(around) == ["B"] * 3


PATTERNS = ["supervisor", "plan_execute"]
TIERS: JsonObject = {"tiers": [{"agent": "a"}]}


def by(pattern: str) -> dict[str, object]:
    return {"pattern": pattern, "plan_execute": TIERS} if pattern == "plan_execute" else {"pattern": pattern}


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_a_planner_says_what_undoes_its_steps(pattern: str) -> None:
    around = planned(A, B, SHIP, limits=FAILS, **by(pattern))
    await asked(around, fails=True)
    assert freed(around) == ["B", "A"]


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_what_another_plan_replaces_is_undone_before_that_one_begins(pattern: str) -> None:
    around = planned(limits={"max_rounds": 3}, **by(pattern))
    dear = step("b", after=["a"], output_schema={"required": ["nights"]})

    async def chief(asked: Asked) -> Json:
        steps = [step("c", after=["a"])] if "failed" in asked.input else [A, dear]
        return {"steps": [*steps]}

    around.agents.answers["agent:chief"] = chief
    result = await asked(around, fails=False)
    assert result["answer"] == {"a": {"id": "A"}, "c": {"id": "C"}}
    assert order(around)[-2:] == ["tool:rooms/free", "agent:c"]
    assert freed(around) == ["B"]
    assert ["another plan replaces it" in each for each in undo_decisions(around)] == [True]


async def test_what_one_tier_has_done_is_undone_before_the_next_does_it() -> None:
    unknown: JsonObject = {"id": "book", "output_schema": {"required": ["nights"]}}
    unknown["undo"] = {"tool": "rooms/free", "input": {"id": "$book.id"}}
    tiers: JsonObject = {"tiers": [{"agent": "a", "cost": 1}, {"agent": "b", "cost": 9}]}
    around = planned(unknown, pattern="plan_execute", plan_execute=tiers)
    around.agents.answers["agent:b"] = says({"id": "B", "nights": 1})
    await asked(around, fails=False)
    assert order(around) == ["agent:chief", "agent:a", "tool:rooms/free", "agent:b"]
    assert freed(around) == ["A"]
    assert around.agents.asked[1].request.step_id != around.agents.asked[3].request.step_id


async def test_who_undoes_sees_no_more_of_the_task_than_who_did() -> None:
    around = planned({**A, "undo": {"agent": "c", "input": {"id": "$a.id"}}}, {**SHIP, "after": ["a"]}, limits=FAILS)
    around.workflows["help"] = around.workflows["help"].model_copy(update={"supervisor": _blind()})
    await asked(around, fails=True)
    (undoing,) = around.agents.asked_of("agent:c")
    assert undoing.input["id"] == "A"
    assert "trip" not in str(undoing.input)


def _blind() -> object:
    return WorkflowSettings.model_validate({"pattern": "supervisor", "supervisor": {"task": "none"}}).supervisor


@pytest.mark.parametrize(
    ("undo", "told"),
    [
        ({"agent": "stranger"}, "agent:stranger is to undo step a, and there is only"),
        ({"tool": "rooms/free", "input": {"id": "$task.trip"}}, "is given $task, and may be given $a"),
        ({"tool": "rooms/free", "input": {"id": "$b.id"}}, "is given $b, and may be given $a"),
        ({"input": {}}, "exactly one of agent, tool, workflow"),
    ],
)
async def test_a_planner_is_told_what_cannot_undo_a_step(undo: JsonObject, told: str) -> None:
    around = planned({**A, "undo": undo}, B)
    result = await asked(around, fails=True)
    assert told in str(result["error"])
    assert told in str(around.agents.asked_of("agent:chief")[1].input)


def test_a_fixed_plan_refers_to_what_is_known_by_then() -> None:
    world(step("a", undo={"agent": "z", "input": {"trip": "$task.trip", "id": "$a.id"}}))
    plan = [step("a"), step("b", after=["a"]), step("c", after=["b"], undo={"agent": "z", "input": {"x": "$a.id"}})]
    Supervisor({"plan": [*plan]})
    with pytest.raises(InvalidRequest, match=r"\$later, and may be given \$a, \$task"):
        Supervisor({"plan": [step("a", undo={"agent": "z", "input": {"id": "$later.id"}})]})


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_a_canceled_plan_undoes_what_it_has_done_and_what_was_under_way(pattern: str) -> None:
    begun = anyio.Event()

    async def hangs(asked: Asked) -> Json:
        begun.set()
        await anyio.sleep_forever()

    slow = step("b", after=["a"], undo={"tool": "rooms/free", "input": {"id": "under way"}})
    around = planned(A, slow, SHIP, **by(pattern))
    around.agents.answers["agent:b"] = hangs
    async with around.up() as (_, journal):
        accepted = await around.ask(meta={"return_immediately": True, "message_id": "m"})
        assert isinstance(accepted, Accepted)
        await begun.wait()
        await around.request("task.cancel", meta={"task": accepted.task.id})
        await journal.wait(accepted.task.id)
        assert around.runs.runs[accepted.task.id].state == "canceled"
    assert freed(around) == ["under way", "A"]
    assert around.agents.asked_of("agent:ship") == []


@settings(deadline=None)
@given(
    ends=st.lists(st.integers(0, 9), min_size=1, max_size=7),
    edges=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6))),
)
def test_what_comes_after_something_is_undone_before_it_whatever_the_clocks_say(
    ends: list[int], edges: set[tuple[int, int]]
) -> None:
    names = [f"s{number}" for number in range(len(ends))]
    after = {
        one: [names[other] for other in range(number) if (other, number) in edges] for number, one in enumerate(names)
    }
    plan = {each: PlanStep(id=each, target="agent:a", input={}, after=tuple(after[each])) for each in reversed(names)}
    results = {
        name: StepResult(id=name, target="agent:a", ok=True, started_at_us=at)
        for name, at in zip(names, ends, strict=True)
    }
    found = in_order_of_ending(plan, results)
    assert sorted(found) == sorted(names)
    for each in names:
        assert all(found.index(before) < found.index(each) for before in after[each])
    free = [each for each in found if not after[each]]
    assert [results[each].started_at_us for each in free] == sorted(results[each].started_at_us for each in free)


def scene(pattern: str, *, propose: bool = False) -> Scene:
    """Of three steps the last one fails; who does the second is replaced on the way."""
    worker = {"agents": ["a", "b", "c", "ship"], "tools": ["rooms/free"], "planner": "chief"}
    plan = [A, step("b", after=["a"], output_schema={"required": ["nights"]}), SHIP]

    async def ship(asked: Asked) -> "Json | Complete":
        return {"id": "S"} if asked.phase == "propose" else failing("no")

    told = {**answers(), "agent:chief": says({"steps": [*plan]}), "agent:c": says({"id": "C", "nights": 1})}
    blocks = {"propose": True} if propose else {}
    return Scene(
        settings={**worker, **by(pattern), **blocks, "limits": FAILS, "fallback": {"b": "c"}},
        agents=lambda: {**told, "agent:ship": ship},
        fails=True,
    )


SCENES = {
    "supervisor": lambda: scene("supervisor"),
    "proposing": lambda: scene("supervisor", propose=True),
    "plan_execute": lambda: scene("plan_execute"),
}


@pytest.mark.parametrize("where", INSTANTS)
@pytest.mark.parametrize("name", SCENES)
async def test_undoing_a_plan_survives_every_crash(name: str, where: Instant) -> None:
    await outlives_crashes(SCENES[name](), where)
