"""Items through stages that overlap: queues, what gives way, lists, and what becomes of an item that fails."""

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.limits import Usage
from gateway.core.model import Complete
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.sequential.pattern import Sequential
from gateway.patterns.sequential.queues import BoundedQueue, Overflow
from gateway.testing.agents import Agent, fails, in_turn, takes
from gateway.testing.agents import says as always
from gateway.testing.rehearsal import Stage, rehearse
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import Answering, Asked, World, answer, failing, says, told

pytestmark = pytest.mark.anyio


def world(*stages: JsonObject, batch: "JsonObject | None" = None, **settings: object) -> World:
    block = {"batch": {"items": "$task.items", **(batch or {})}}
    workflow = WorkflowSettings.model_validate(
        {"pattern": "sequential", "stages": stages, "sequential": block, **settings}
    )
    return World(patterns={"sequential": Sequential}, workflows={"help": workflow})


def items_of(structured: JsonObject) -> list[JsonObject]:
    return [json_object(each) for each in json_list(json_object(structured["answer"])["items"])]


never_fails: Agent = always({"ok": True})


async def passes_on(asked: Asked) -> Json:
    return {"n": asked.input["item"], "drawbridge": {"summary": f"{asked.input['item']}"}}


async def test_the_second_item_is_in_the_first_stage_while_the_first_is_in_the_second() -> None:
    second_arrived, first_done = anyio.Event(), anyio.Event()
    overlapped: list[bool] = []

    async def read(asked: Asked) -> Json:
        if asked.input["item"] == "two":
            second_arrived.set()
            await first_done.wait()
        return {"read": asked.input["item"]}

    async def score(asked: Asked) -> Json:
        if asked.input["item"] == "one":
            await second_arrived.wait()
            overlapped.append(not first_done.is_set())
            first_done.set()
        return {"score": asked.input["item"]}

    around = world({"agent": "read"}, {"agent": "score"})
    around.agents.answers |= {"agent:read": read, "agent:score": score}
    async with around.up():
        result = told(await around.ask(data={"items": ["one", "two"]}))
    assert overlapped == [True]
    assert items_of(result) == [
        {"item": 1, "ok": True, "value": {"score": "one"}},
        {"item": 2, "ok": True, "value": {"score": "two"}},
    ]
    assert result["gaps"] == []
    artifacts = [each.body["name"] for log in around.runs.log.values() for each in log.values() if "name" in each.body]
    assert artifacts[:2] == ["part-item-1", "part-item-2"]


def slow_second(count: int) -> tuple[Answering, Answering]:
    """A stage that is quick, and one that ends its first item only when the other has done all it can."""
    reads, all_read = [0], anyio.Event()

    async def quick(asked: Asked) -> Json:
        reads[0] += 1
        if reads[0] == count:
            all_read.set()
        return {"n": asked.input["item"]}

    async def slow(asked: Asked) -> Json:
        await all_read.wait()
        # The last one that was read is on its way here first.
        await anyio.wait_all_tasks_blocked()
        return {"n": asked.input["item"]}

    return quick, slow


@pytest.mark.parametrize(
    ("overflow", "through"), [("drop_oldest", [1, 5, 6]), ("drop_newest", [1, 2, 3])], ids=["oldest", "newest"]
)
async def test_before_a_slow_stage_an_item_gives_way_and_is_named(overflow: str, through: list[int]) -> None:
    quick, slow = slow_second(6)
    around = world({"agent": "quick"}, {"agent": "slow"}, batch={"queue": 2, "overflow": overflow})
    around.agents.answers |= {"agent:quick": quick, "agent:slow": slow}
    async with around.up():
        result = told(await around.ask(data={"items": [1, 2, 3, 4, 5, 6]}))
    assert [each["item"] for each in items_of(result) if each["ok"]] == through
    dropped = [number for number in range(1, 7) if number not in through]
    assert [json_object(gap) for gap in json_list(result["gaps"])] == [
        {
            "step": f"slow[{number}]",
            "target": "agent:slow",
            "error": "skipped",
            "reason": f"the queue before slow was full: it holds 2 ({overflow})",
        }
        for number in dropped
    ]


async def test_a_stage_waits_while_the_queue_after_it_is_full() -> None:
    quick, slow = slow_second(4)  # one at work in the second stage, two wait, one is held
    around = world({"agent": "quick"}, {"agent": "slow"}, batch={"queue": 2, "overflow": "block"})
    around.agents.answers |= {"agent:quick": quick, "agent:slow": slow}
    most: list[int] = []

    async def watched(asked: Asked) -> Json:
        await slow(asked)
        most.append(len(around.agents.asked_of("agent:quick")) - len(around.agents.asked_of("agent:slow")))
        return {}

    around.agents.answers["agent:slow"] = watched
    async with around.up():
        result = told(await around.ask(data={"items": [1, 2, 3, 4, 5, 6]}))
    assert [each["ok"] for each in items_of(result)] == [True] * 6
    assert max(most) == 3
    assert result["gaps"] == []


async def test_a_stage_that_takes_lists_is_given_what_waits_and_answers_as_many() -> None:
    async def score(asked: Asked) -> Json:
        return {"items": [{"score": json_object(each)["item"]} for each in json_list(asked.input["items"])]}

    around = world({"agent": "score", "list": True}, {"agent": "word"}, batch={"list_size": 2})
    around.agents.answers |= {"agent:score": score, "agent:word": passes_on}
    async with around.up():
        result = told(await around.ask(data={"items": [7, 8, 9]}))
    assert [len(json_list(asked.input["items"])) for asked in around.agents.asked_of("agent:score")] == [2, 1]
    first = around.agents.asked_of("agent:word")[0]
    assert json_object(json_object(first.member["results"])["score"])["value"] == {"score": 7}
    assert [each["value"] for each in items_of(result)] == [{"n": 7}, {"n": 8}, {"n": 9}]


async def test_a_list_answered_with_too_few_is_asked_for_again_with_the_contract() -> None:
    async def score(asked: Asked) -> Json:
        given = json_list(asked.input["items"])
        return {"items": [*given] if "note" in asked.member else [*given[1:]]}

    around = world({"agent": "score", "list": True})
    around.agents.answers["agent:score"] = score
    async with around.up():
        result = told(await around.ask(data={"items": [7, 8]}))
    assert [each["ok"] for each in items_of(result)] == [True, True]
    assert len(around.agents.asked) == 2
    assert "minItems" in str(around.agents.asked[1].member["note"])


async def fails_on_two(asked: Asked) -> "Json | Complete":
    return failing("not this one") if asked.input.get("item") == 2 else {"ok": asked.input.get("item")}


async def test_an_item_that_fails_is_undone_and_the_others_come_through() -> None:
    around = world(
        {"agent": "reserve", "undo": {"tool": "shop/release", "input": {"item": "$item"}}}, {"agent": "ship"}
    )
    around.agents.answers |= {"agent:reserve": says({}), "agent:ship": fails_on_two, "tool:shop/release": says({})}
    async with around.up():
        result = told(await around.ask(data={"items": [1, 2, 3]}))
    assert [each["ok"] for each in items_of(result)] == [True, False, True]
    assert [asked.input for asked in around.agents.asked_of("tool:shop/release")] == [{"item": 2}]
    assert [json_object(gap)["step"] for gap in json_list(result["gaps"])] == ["ship[2]"]


async def test_where_a_failure_fails_the_run_everything_is_undone() -> None:
    around = world(
        {"agent": "reserve", "undo": {"tool": "shop/release", "input": {"item": "$item"}}},
        {"agent": "ship"},
        limits={"on_failure": "fail", "concurrency": 1},
    )
    around.agents.answers |= {"agent:reserve": says({}), "agent:ship": fails_on_two, "tool:shop/release": says({})}
    async with around.up():
        result = await around.ask(data={"items": [1, 2]})
    assert isinstance(result, Complete)
    assert result.is_error
    assert [asked.input["item"] for asked in around.agents.asked_of("tool:shop/release")] == [2, 1]


async def test_what_was_done_beside_the_item_that_fails_the_run_is_undone_too() -> None:
    undo: JsonObject = {"tool": "shop/release", "input": {"item": "$item"}}
    checked: Json = {"field": "n", "tool": "shop/known", "unresolved": "fail"}
    around = world(
        {"agent": "reserve", "list": True, "undo": undo, "verify": [checked]},
        batch={"list_size": 3},
        limits={"on_failure": "fail", "max_rounds": 1},
    )

    async def reserves(asked: Asked) -> Json:
        return {"items": [{"n": json_object(each)["item"]} for each in json_list(asked.input["items"])]}

    async def known(asked: Asked) -> Json:
        return {"found": asked.input["id"] != 2}

    around.agents.answers |= {
        "agent:reserve": reserves,
        "tool:shop/known": known,
        "tool:shop/release": says({"released": True}),
    }
    async with around.up():
        result = await around.ask(data={"items": [1, 2, 3]})
    assert isinstance(result, Complete)
    assert result.is_error
    assert [asked.input["item"] for asked in around.agents.asked_of("tool:shop/release")] == [3, 2, 1]


async def test_what_ends_in_the_moment_in_which_the_run_fails_is_undone_too() -> None:
    stages: list[Json] = [
        {"agent": "read"},
        {"agent": "reserve", "undo": {"tool": "shop/release", "input": {"item": "$item"}}},
        {"agent": "ship"},
    ]
    settings: JsonObject = {
        "stages": stages,
        "sequential": {"batch": {"items": "$task.items"}},
        "limits": {"on_failure": "fail"},
    }
    agents: dict[str, Agent] = {
        "agent:read": in_turn(never_fails, takes(2, never_fails)),
        "agent:reserve": in_turn(never_fails, takes(3, never_fails)),
        "agent:ship": takes(5, fails("no")),
        "tool:shop/release": never_fails,
    }
    seen = await rehearse(Sequential(settings), Stage(agents=agents, data={"items": [1, 2]}))
    assert seen.outcome.error
    assert [asked.fields["item"] for asked in seen.asked_of("tool:shop/release")] == [2, 1]


async def test_no_more_steps_are_under_way_than_allowed() -> None:
    at_work, most = [0], [0]

    async def busy(asked: Asked) -> Json:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        await anyio.wait_all_tasks_blocked()
        at_work[0] -= 1
        return {}

    around = world({"agent": "a"}, {"agent": "b"}, {"agent": "c"}, limits={"concurrency": 2})
    around.agents.answers |= {f"agent:{slug}": busy for slug in "abc"}
    async with around.up():
        result = told(await around.ask(data={"items": [1, 2, 3, 4]}))
    assert most == [2]
    assert [each["ok"] for each in items_of(result)] == [True] * 4


async def test_a_stage_is_stopped_at_its_share_and_the_items_behind_are_named() -> None:
    async def costly(asked: Asked) -> Complete:
        return answer({"n": asked.input["item"]}, usage=Usage(tokens=40))

    around = world({"agent": "costly", "tokens": 100})
    around.agents.answers["agent:costly"] = costly
    async with around.up():
        result = told(await around.ask(data={"items": [1, 2, 3, 4]}))
    assert [each["ok"] for each in items_of(result)] == [True, True, False, False]
    assert [json_object(gap)["error"] for gap in json_list(result["gaps"])] == ["budget", "budget"]
    spent = json_object(json_object(json_object(result["why"])["stages"])["costly"])
    assert spent == {"attempts": 2, "tokens": 80, "cost_usd": "0"}


async def test_a_run_out_of_budget_ends_with_the_items_that_are_done() -> None:
    async def costly(asked: Asked) -> Complete:
        return answer({}, usage=Usage(tokens=40))

    around = world({"agent": "costly"}, limits={"tokens": 100})
    around.agents.answers["agent:costly"] = costly
    async with around.up():
        result = told(await around.ask(data={"items": [*range(5)]}))
    assert [each["ok"] for each in items_of(result)] == [True, True, False, False, False]
    assert len(json_list(result["steps"])) == 3


async def test_conditions_and_optional_stages_hold_for_each_item() -> None:
    around = world({"agent": "look", "when": "$item.deep"}, {"agent": "extra", "optional": True}, {"agent": "word"})

    async def extra(asked: Asked) -> "Json | Complete":
        return failing("no") if json_object(asked.input["item"])["id"] == 1 else {"extra": True}

    around.agents.answers |= {"agent:look": says({"looked": 1}), "agent:extra": extra, "agent:word": says({"done": 1})}
    items: list[Json] = [{"id": 1, "deep": True}, {"id": 2, "deep": False}]
    async with around.up():
        result = told(await around.ask(data={"items": items}))
    assert len(around.agents.asked_of("agent:look")) == 1
    assert [each["ok"] for each in items_of(result)] == [True, True]
    assert [json_object(gap)["step"] for gap in json_list(result["gaps"])] == ["extra[1]"]


@pytest.mark.parametrize("data", [{}, {"items": "x"}, {"items": [1, 2, 3]}], ids=["none", "no list", "too many"])
async def test_what_is_no_batch_is_refused(data: JsonObject) -> None:
    around = world({"agent": "a"}, batch={"max_items": 2})
    around.agents.answers["agent:a"] = says({})
    async with around.up():
        result = await around.ask(data=data)
    assert isinstance(result, Complete)
    assert result.is_error
    assert around.agents.asked == []


@pytest.mark.parametrize(
    "settings",
    [
        {"stages": [{"agent": "a"}], "sequential": {"batch": {"items": "$other.items"}}},
        {"stages": [{"agent": "a", "name": "item"}], "sequential": {"batch": {"items": "$task.items"}}},
        {"stages": [{"agent": "a", "list": True}]},
    ],
    ids=["not of the task", "called item", "a list without a batch"],
)
def test_settings_that_make_no_sense_are_refused(settings: JsonObject) -> None:
    with pytest.raises(InvalidRequest):
        Sequential(settings)


@settings(deadline=None)
@given(
    size=st.integers(1, 4),
    overflow=st.sampled_from(["block", "drop_oldest", "drop_newest"]),
    moves=st.lists(st.booleans(), max_size=40),
)
def test_a_queue_keeps_order_never_holds_too_many_and_loses_nothing_unnamed(
    size: int, overflow: Overflow, moves: list[bool]
) -> None:
    queue: BoundedQueue[int] = BoundedQueue(size=size, overflow=overflow)
    taken: list[int] = []
    dropped: list[int] = []
    put = 0
    for is_put in moves:
        if is_put and not queue.blocks:
            gone = queue.put(put)
            dropped += [] if gone is None else [gone]
            put += 1
        elif not is_put:
            taken += queue.take(1)
        assert len(queue) <= size
    taken += queue.take(size)
    assert taken == sorted(taken)
    assert sorted([*taken, *dropped]) == list(range(put))
    assert not dropped or overflow != "block"


def batch_scene() -> Scene:
    """Stages that overlap, a list, and an item that is undone."""

    async def score(asked: Asked) -> Json:
        return {"items": [{"score": json_object(each)["item"]} for each in json_list(asked.input["items"])]}

    return Scene(
        settings={
            "pattern": "sequential",
            "stages": [
                {"agent": "reserve", "undo": {"tool": "shop/release", "input": {"item": "$item"}}},
                {"agent": "score", "list": True},
                {"agent": "ship"},
            ],
            "sequential": {"batch": {"items": "$task.items", "queue": 1, "list_size": 1}},
            "limits": {"concurrency": 1},
        },
        data={"items": [1, 2]},
        agents=lambda: {
            "agent:reserve": says({"reserved": True}),
            "agent:score": score,
            "agent:ship": fails_on_two,
            "tool:shop/release": says({}),
        },
        same_log=False,
    )


@pytest.mark.parametrize("where", INSTANTS)
async def test_a_batch_survives_every_crash(where: Instant) -> None:
    await outlives_crashes(batch_scene(), where)


@pytest.mark.parametrize("stuck_in", ["lookup", "work"])
async def test_an_item_that_was_being_worked_on_or_looked_up_when_the_run_failed_is_undone(stuck_in: str) -> None:
    reserve: JsonObject = {
        "agent": "reserve",
        "undo": {"tool": "shop/release", "input": {"item": "$item"}},
        "verify": [{"field": "n", "tool": "shop/known"}],
    }
    settings: JsonObject = {
        "stages": [reserve, {"agent": "ship"}],
        "sequential": {"batch": {"items": "$task.items"}},
        "limits": {"on_failure": "fail"},
    }
    slow: Agent = takes(9, always({"n": 2}))
    reserved: Agent = always({"n": 2})
    agents: dict[str, Agent] = {
        "agent:reserve": in_turn(always({"n": 1}), slow if stuck_in == "work" else reserved),
        "tool:shop/known": in_turn(always({"found": True}), takes(9, always({"found": True}))),
        "agent:ship": takes(5, fails("no")),
        "tool:shop/release": never_fails,
    }
    seen = await rehearse(Sequential(settings), Stage(agents=agents, data={"items": [1, 2]}))
    assert seen.outcome.error
    assert [asked.fields["item"] for asked in seen.asked_of("tool:shop/release")] == [2, 1]
