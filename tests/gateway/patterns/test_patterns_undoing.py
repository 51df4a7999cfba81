"""What a stage has done is undone as well where its answer did not stand: each attempt, in every way it may fail."""

import pytest

from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.model import Complete, Event, StatusChanged
from gateway.core.task import TaskState
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.sequential.pattern import Sequential
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, Asked, World, failing, says, told

pytestmark = pytest.mark.anyio

A: JsonObject = {"agent": "a", "undo": {"tool": "rooms/free", "input": {"id": "$a.id"}}}
BOOK: JsonObject = {
    "name": "book",
    "agent": "b",
    "undo": {"tool": "rooms/free", "input": {"id": "$book.id"}},
    "verify": [{"field": "id", "tool": "rooms/known", "unresolved": "fail"}],
}


def world(*stages: JsonObject, known: str = "A", **settings: object) -> World:
    """Agents whose rooms nobody knows but `known`."""
    workflow = WorkflowSettings.model_validate({"pattern": "sequential", "stages": stages, **settings})
    around = World(patterns={"sequential": Sequential}, workflows={"help": workflow})

    async def is_known(asked: Asked) -> Json:
        return {"found": asked.input["id"] == known}

    around.agents.answers |= {
        "agent:a": says({"id": "A"}),
        "agent:b": numbered("B"),
        "agent:c": numbered("C"),
        "agent:d": says({}),
        "tool:rooms/known": is_known,
        "tool:rooms/free": says({"freed": True}),
    }
    return around


def numbered(name: str) -> Answering:
    """Another room at each attempt."""
    count = 0

    async def answer(asked: Asked) -> Json:
        nonlocal count
        count += 1
        return {"id": f"{name}{count}"}

    return answer


def freed(around: World) -> list[Json]:
    return [asked.input["id"] for asked in around.agents.asked_of("tool:rooms/free")]


def order(around: World) -> list[str]:
    return [each.target for each in around.agents.asked if each.target != "tool:rooms/known"]


def undo_decisions(around: World) -> list[str]:
    details = [json_object(each.body.get("detail")) for log in around.runs.log.values() for each in log.values()]
    return [str(each["because"]) for each in details if each.get("what") == "undo"]


async def test_a_stage_that_could_not_be_confirmed_is_undone_before_those_before_it() -> None:
    around = world(A, BOOK, limits={"max_rounds": 1})
    async with around.up():
        result = told(await around.ask())
    assert freed(around) == ["B1", "A"]
    booked, first = map(json_object, json_list(result["undone"]))
    assert "id B1 cannot be resolved" in str(booked["because"])
    assert "because" not in first
    said = undo_decisions(around)
    assert all(each.startswith("the run failed: stage book failed") for each in said)
    assert ["cannot be resolved by rooms/known; id B1" in each for each in said] == [True, False]


async def test_every_attempt_that_had_an_effect_is_undone_the_last_one_first() -> None:
    around = world(A, BOOK, limits={"max_rounds": 3})
    async with around.up():
        await around.ask()
    assert freed(around) == ["B3", "B2", "B1", "A"]


async def test_attempts_that_the_same_call_undoes_are_undone_by_one() -> None:
    undo: JsonObject = {"tool": "rooms/free", "input": {"id": "$task.trip"}}
    around = world({**BOOK, "undo": undo}, limits={"max_rounds": 3})
    async with around.up():
        await around.ask(data={"trip": 7})
    assert freed(around) == [7]


async def test_an_attempt_before_the_one_that_counts_stands_is_named_and_undone_with_the_run() -> None:
    around = world(BOOK, {"agent": "d"}, known="B2")
    async with around.up():
        result = told(await around.ask())
    assert freed(around) == []
    (notice,) = json_list(result["notices"])
    assert "book: what an attempt that does not count has done stands" in str(notice)
    around = world(BOOK, {"agent": "bad"}, known="B2")
    async with around.up():
        await around.ask()
    assert freed(around) == ["B2", "B1"]


@pytest.mark.parametrize("way", ["optional", "skip"])
async def test_what_the_run_goes_on_without_is_undone_at_once(way: str) -> None:
    stage = {**BOOK, "optional": True} if way == "optional" else BOOK
    limits: JsonObject = {"max_rounds": 1, "on_failure": "partial" if way == "optional" else "ask"}
    around = world(A, stage, {"agent": "d"}, limits=limits)

    async def skips(event: Event) -> None:
        if isinstance(event, StatusChanged) and event.state is TaskState.INPUT_REQUIRED:
            await around.ask("skip", meta={"task": event.task_id, "message_id": "r", "return_immediately": True})

    async with around.up():
        result = await around.ask(emit=skips)
    assert isinstance(result, Complete)
    assert not result.is_error
    assert order(around) == ["agent:a", "agent:b", "tool:rooms/free", "agent:d"]
    assert freed(around) == ["B1"]
    assert ["goes on without" in each for each in undo_decisions(around)] == [True]


async def test_what_one_has_done_is_undone_before_another_takes_over() -> None:
    around = world(A, BOOK, known="C1", limits={"max_rounds": 1}, fallback={"b": "c"})
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert not result.is_error
    assert order(around) == ["agent:a", "agent:b", "tool:rooms/free", "agent:c"]
    first, second = (around.agents.asked_of(each)[0].request.step_id for each in ("agent:b", "agent:c"))
    assert first != second
    assert ["takes over" in each for each in undo_decisions(around)] == [True]


async def test_what_could_not_be_undone_is_named_in_the_answer() -> None:
    async def refuses(asked: Asked) -> Complete:
        return failing("it is let already")

    around = world(A, {**BOOK, "optional": True}, {"agent": "d"}, limits={"max_rounds": 1})
    around.agents.answers["tool:rooms/free"] = refuses
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    gaps = [json_object(each) for each in json_list(told(result)["gaps"])]
    assert [each["step"] for each in gaps] == ["undo book", "book"]
    assert "Not undone: undo book (it is let already)" in result.body.content().text
    assert len(freed(around)) == 3


async def test_an_overtaken_stage_is_undone_too() -> None:
    """Its work was done, and what it wrote came too late."""
    stage: JsonObject = {**BOOK, "reads": ["price"], "verify": []}
    around = world(A, stage)

    async def overtaken(asked: Asked) -> Json:
        run = asked.request.run_id
        entry = await around.scratch.get(run, "price")
        assert entry is not None
        await around.scratch.put(run, entry, expected_version=None, once="another")
        return {"id": "B", "drawbridge": {"writes": {"price": 2}}}

    around.agents.answers |= {"agent:a": says({"id": "A"}, writes={"price": 1}), "agent:b": overtaken}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.is_error
    assert freed(around) == ["B", "A"]


async def test_an_item_goes_on_without_a_stage_that_is_undone_for_it() -> None:
    stage: JsonObject = {**BOOK, "optional": True, "input": {"item": "$item"}}
    around = world(stage, {"agent": "d"}, sequential={"batch": {"items": "$task.items"}}, known="B2")

    async def book(asked: Asked) -> Json:
        return {"id": f"B{asked.input['item']}"}

    around.agents.answers["agent:b"] = book
    async with around.up():
        result = told(await around.ask(data={"items": [1, 2]}))
    assert [json_object(each)["ok"] for each in json_list(json_object(result["answer"])["items"])] == [True, True]
    assert freed(around) == ["B1"]


def scene() -> Scene:
    """A stage whose first agent is undone before another takes over, and that fails with it."""

    async def is_known(asked: Asked) -> Json:
        return {"found": False}

    return Scene(
        settings={
            "pattern": "sequential",
            "stages": [A, BOOK],
            "limits": {"max_rounds": 1},
            "fallback": {"b": "c"},
        },
        agents=lambda: {
            "agent:a": says({"id": "A"}),
            "agent:b": says({"id": "B"}),
            "agent:c": says({"id": "C"}),
            "tool:rooms/known": is_known,
            "tool:rooms/free": says({"freed": True}),
        },
        fails=True,
    )


@pytest.mark.parametrize("where", INSTANTS)
async def test_undoing_survives_every_crash(where: Instant) -> None:
    await outlives_crashes(scene(), where)
