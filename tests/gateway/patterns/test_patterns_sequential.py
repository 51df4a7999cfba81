"""Stages in order: what each is given, what a failure means, what is undone."""

import anyio
import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.labels import Labels
from gateway.core.model import Complete
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.sequential.pattern import Sequential
from tests.fakes_orchestration import Asked, World, answer, failing, says, told

pytestmark = pytest.mark.anyio


def world(*stages: JsonObject, **settings: object) -> World:
    workflow = WorkflowSettings.model_validate({"pattern": "sequential", "stages": stages, **settings})
    return World(patterns={"sequential": Sequential}, workflows={"help": workflow})


async def fails(asked: Asked) -> Complete:
    return failing("out of order")


async def test_each_stage_gets_the_task_the_last_result_in_full_and_the_rest_in_summary() -> None:
    around = world({"agent": "a"}, {"agent": "b"}, {"agent": "c"})
    for slug in ("a", "b", "c"):
        around.agents.answers[f"agent:{slug}"] = says({slug: 1, "more": "x"}, summary=f"{slug} is done")
    async with around.up():
        result = told(await around.ask("go"))
    assert [asked.member["task"] for asked in around.agents.asked] == ["go", "go", "go"]
    assert around.agents.asked[2].member["results"] == {
        "a": {"summary": "a is done", "value": None},
        "b": {"summary": "b is done", "value": {"b": 1, "more": "x"}},
    }
    assert result["answer"] == {"c": 1, "more": "x"}
    assert result["gaps"] == []


async def test_what_nobody_summed_up_is_handed_on_by_its_beginning_and_no_summary_is_long() -> None:
    around = world({"agent": "a"}, {"agent": "b"}, {"agent": "c"})
    around.agents.answers |= {
        "agent:a": says({"found": [*("x" * 40 for _ in range(40))]}),
        "agent:b": says({"b": 1}, summary="word " * 900),
        "agent:c": says({}),
    }
    async with around.up():
        await around.ask("go")
    handed = json_object(around.agents.asked[2].member["results"])
    first, second = json_object(handed["a"]), json_object(handed["b"])
    assert first["value"] is None
    assert str(first["summary"]).startswith('{"found": ["xxx')
    assert len(str(first["summary"])) == len(str(second["summary"])) == 400
    assert second["value"] == {"b": 1}


async def test_a_stage_with_a_contract_gets_exactly_the_fields_it_names_latest_first() -> None:
    contract: JsonObject = {"type": "object", "required": ["order"], "properties": {"order": {}, "amount": {}}}
    around = world(
        {"agent": "a"},
        {"agent": "b"},
        {"tool": "orders/refund", "input_schema": contract, "input": {"note": "$task.note", "none": "$a.nothing"}},
    )
    around.agents.answers |= {
        "agent:a": says({"order": 1, "amount": 3}, summary="a"),
        "agent:b": says({"amount": 4}, summary="b"),
        "tool:orders/refund": says({"refunded": True}),
    }
    async with around.up():
        await around.ask(data={"order": 9, "note": "hello"})
    [refund] = around.agents.asked_of("tool:orders/refund")
    assert refund.input == {"order": 1, "amount": 4, "note": "hello"}


async def test_labels_of_results_reach_the_tool_their_fields_are_put_into() -> None:
    async def tainted(asked: Asked) -> Complete:
        return answer({"order": 1}, labels=Labels(untrusted=frozenset({"agent:a"})))

    around = world({"agent": "a"}, {"tool": "orders/find", "input": {"order": "$a.order"}})
    around.agents.answers |= {"agent:a": tainted, "tool:orders/find": says({})}
    async with around.up():
        await around.ask()
    [find] = around.agents.asked_of("tool:orders/find")
    assert find.request.labels == Labels(untrusted=frozenset({"agent:a"}))


async def test_a_result_that_breaks_its_contract_stops_the_run_before_the_next_stage() -> None:
    contract: JsonObject = {"type": "object", "required": ["amount"]}
    around = world({"agent": "a", "output_schema": contract}, {"agent": "b"})
    around.agents.answers |= {"agent:a": says({"total": 1}), "agent:b": says({})}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.is_error
    [gap] = json_list_of(told(result)["gaps"])
    assert (gap["step"], gap["error"]) == ("a", "schema")
    assert around.agents.asked_of("agent:b") == []


async def test_an_optional_stage_that_fails_is_a_gap_and_no_failure() -> None:
    around = world({"agent": "a"}, {"agent": "bad", "optional": True}, {"agent": "c"})
    around.agents.answers |= {"agent:a": says({"a": 1}), "agent:bad": fails, "agent:c": says("all set")}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert not result.is_error
    assert result.body.content().text.startswith("all set\nLeft out: bad (out of order)")
    assert told(result)["gaps"] == [{"step": "bad", "target": "agent:bad", "error": "failed", "reason": "out of order"}]


async def test_a_critical_stage_that_fails_ends_the_run_with_what_there_is_and_undoes_it_backwards() -> None:
    around = world(
        {"agent": "a", "undo": {"tool": "undo/it", "input": {"id": "$a.id"}}},
        {"agent": "b", "undo": {"tool": "undo/it", "input": {"id": "$b.id", "was": "$a.id"}}},
        {"agent": "bad", "undo": {"tool": "undo/it", "input": {}}},
        {"agent": "d"},
    )
    around.agents.answers |= {
        "agent:a": says({"id": "A"}),
        "agent:b": says({"id": "B"}),
        "agent:bad": fails,
        "agent:d": says({}),
        "tool:undo/it": says({}),
    }
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert result.is_error
    structured = told(result)
    assert structured["answer"] == {"a": {"id": "A"}, "b": {"id": "B"}}
    assert structured["error"] == "stage bad failed: out of order"
    assert [asked.input for asked in around.agents.asked_of("tool:undo/it")] == [{"id": "B", "was": "A"}, {"id": "A"}]
    assert around.agents.asked_of("agent:d") == []


@pytest.mark.parametrize(
    ("when", "runs"),
    [
        ("$stock.available", False),
        ("not $stock.available", True),
        ("$stock.price > 10", True),
        ("$stock.price <= 10", False),
        ('$stock.name == "blender"', True),
        ("$stock.nothing > 1", False),
        ("$stock.nothing", False),
        ("not $task.urgent", True),
    ],
)
async def test_a_stage_runs_only_where_its_condition_holds(when: str, runs: bool) -> None:
    around = world({"agent": "stock"}, {"agent": "callback", "when": when})
    around.agents.answers |= {
        "agent:stock": says({"available": False, "price": 12, "name": "blender"}),
        "agent:callback": says({}),
    }
    async with around.up():
        result = told(await around.ask())
    assert (len(around.agents.asked_of("agent:callback")) == 1) is runs
    assert result["gaps"] == []
    [log] = around.runs.log.values()
    details = [json_object(each.body.get("detail")) for each in log.values()]
    because = [each["because"] for each in details if (each.get("what"), each.get("chosen")) == ("skip", "callback")]
    assert because == ([] if runs else [f"{when} does not hold"])


async def test_writes_of_a_stage_are_on_the_scratchpad_for_the_next() -> None:
    around = world({"agent": "a"}, {"agent": "b", "reads": ["price"]})
    around.agents.answers |= {"agent:a": says({}, writes={"price": 12}), "agent:b": says({})}
    async with around.up():
        await around.ask()
    assert around.agents.asked_of("agent:b")[0].member["scratchpad"] == {"price": {"value": 12, "version": 1}}


async def test_scratchpad_rules_hold_for_what_agents_return_and_are_handed() -> None:
    rules = {"price": {"schema": {"type": "number"}, "writers": ["a"], "readers": ["b"]}}
    around = world(
        {"agent": "a", "name": "wrong", "optional": True},
        {"agent": "b", "optional": True},
        {"agent": "c", "reads": ["price"], "optional": True},
        scratchpad=rules,
    )
    around.agents.answers |= {
        "agent:a": says({}, writes={"price": "much"}),
        "agent:b": says({}, writes={"price": 3}),
        "agent:c": says({}),
    }
    async with around.up():
        result = told(await around.ask())
    assert [gap["error"] for gap in json_list_of(result["gaps"])] == ["failed", "denied", "denied"]
    assert around.scratch.entries == {}


@pytest.mark.parametrize(
    "settings",
    [
        {"stages": []},
        {"stages": [{"agent": "a"}, {"agent": "a"}]},
        {"stages": [{"agent": "a", "input": {"x": "$b.y"}}, {"agent": "b"}]},
        {"stages": [{"agent": "a", "when": "$task is good"}]},
        {"stages": [{"agent": "a", "when": "$a.x"}]},
        {"stages": [{"agent": "a", "tool": "x/y"}]},
    ],
    ids=["none", "twice", "from later", "no condition", "on itself", "two targets"],
)
def test_settings_that_make_no_sense_are_refused(settings: JsonObject) -> None:
    with pytest.raises(InvalidRequest):
        Sequential(settings)


def json_list_of(value: Json) -> list[JsonObject]:
    assert isinstance(value, list)
    return [json_object(each) for each in value]


async def test_a_stage_whose_work_was_done_but_not_accepted_is_undone_too() -> None:
    contract: JsonObject = {"type": "object", "required": ["receipt"]}
    around = world(
        {"agent": "a", "undo": {"tool": "undo/it", "input": {"id": "$a.id"}}},
        {"agent": "b", "output_schema": contract, "undo": {"tool": "undo/it", "input": {"id": "$b.id"}}},
    )
    around.agents.answers |= {
        "agent:a": says({"id": "A"}),
        "agent:b": says({"id": "B"}),
        "tool:undo/it": says({}),
    }
    async with around.up():
        result = told(await around.ask())
    assert "receipt" in str(result["error"])
    assert [asked.input for asked in around.agents.asked_of("tool:undo/it")] == [{"id": "B"}, {"id": "A"}]


async def never(asked: Asked) -> Json:
    await anyio.sleep_forever()


@pytest.mark.parametrize("limits", [{"timeout_s": 2}, {"deadline_s": 2}], ids=["its time", "the run's time"])
async def test_a_stage_of_which_nobody_knows_what_it_did_is_undone_too(limits: JsonObject) -> None:
    around = world(
        {"agent": "a", "undo": {"tool": "undo/it", "input": {"id": "$a.id"}}},
        {"agent": "slow", "undo": {"tool": "undo/it", "input": {"order": "$task.order"}}},
        {"agent": "d", "undo": {"tool": "undo/it", "input": {}}},
        limits={"max_rounds": 1, **limits},
    )
    around.agents.answers |= {
        "agent:a": says({"id": "A"}),
        "agent:slow": never,
        "agent:d": says({}),
        "tool:undo/it": says({}),
    }
    async with around.up():
        result = await around.ask(data={"order": 7})
    assert isinstance(result, Complete)
    assert result.is_error
    assert [asked.input for asked in around.agents.asked_of("tool:undo/it")] == [{"order": 7}, {"id": "A"}]
    assert [json_object(each)["ok"] for each in json_list(told(result)["undone"])] == [True, True]


async def test_what_cannot_be_undone_without_an_answer_is_named() -> None:
    undo: JsonObject = {"tool": "undo/it", "input": {"id": "$slow.id"}}
    around = world({"agent": "slow", "undo": undo}, limits={"max_rounds": 1, "timeout_s": 0.1})
    around.agents.answers |= {"agent:slow": never, "tool:undo/it": says({})}
    async with around.up():
        result = told(await around.ask())
    assert around.agents.asked_of("tool:undo/it") == []
    assert result["notices"] == ["slow may have been done (timeout), and cannot be undone without its answer"]
