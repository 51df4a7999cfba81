"""Ground truth: an invented policy and a phantom page are found, named, and do not stand."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest, Unavailable
from gateway.core.fields import TakenOut, found_at, without
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.labels import Labels
from gateway.core.model import Complete
from gateway.core.ports.orchestration import StepResult
from gateway.core.ports.storage import Handed
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.sequential.pattern import Sequential
from gateway.patterns.shared.verify import confirms
from tests.fakes_orchestration import Asked, World, answer, says, told

pytestmark = pytest.mark.anyio


def world(*verify: JsonObject, **settings: object) -> World:
    stages = [{"agent": "adviser", "verify": verify}]
    workflow = WorkflowSettings.model_validate({"pattern": "sequential", "stages": stages, **settings})
    around = World(patterns={"sequential": Sequential}, workflows={"help": workflow})

    around.agents.answers["tool:policies/find"] = knows
    return around


async def knows(asked: Asked) -> Json:
    known = asked.input["id"] in ("P-1", 1, 2)
    return {"id": asked.input["id"], "title": "Returns"} if known else {"result": None}


def gaps_of(structured: JsonObject) -> list[JsonObject]:
    return [json_object(each) for each in json_list(structured["gaps"])]


POLICY: JsonObject = {"field": "policy_id", "tool": "policies/find"}
PAGES: JsonObject = {"field": "pages[]", "tool": "policies/find"}


async def test_what_the_tool_knows_stands() -> None:
    around = world(POLICY, PAGES)
    around.agents.answers["agent:adviser"] = says({"policy_id": "P-1", "pages": [1, 2, 1]})
    async with around.up():
        result = told(await around.ask())
    assert (result["answer"], result["gaps"]) == ({"policy_id": "P-1", "pages": [1, 2, 1]}, [])
    assert [asked.input for asked in around.agents.asked_of("tool:policies/find")] == [
        {"id": "P-1"},
        {"id": 1},
        {"id": 2},
    ]


async def test_what_was_left_out_is_not_to_be_had_by_those_who_are_handed_the_rest() -> None:
    checked: JsonObject = {"agent": "adviser", "verify": [{**PAGES, "unresolved": "drop"}]}
    workflow = WorkflowSettings.model_validate({"pattern": "sequential", "stages": [checked, {"agent": "writer"}]})
    around = World(patterns={"sequential": Sequential}, workflows={"help": workflow})
    around.agents.answers["agent:adviser"] = says({"pages": [1, 99]})
    around.agents.answers["tool:policies/find"] = knows
    handed: list[Handed] = []

    async def write(asked: Asked) -> Json:
        [step] = around.open_steps.of_agent("default", "writer")
        handed.extend(step.given)
        return "written"

    around.agents.answers["agent:writer"] = write
    async with around.up():
        assert told(await around.ask())["answer"] == "written"
    assert [each.taken_out for each in handed] == [(TakenOut(field="pages[]", values=("99",)),)]


async def test_a_phantom_page_is_named_in_the_answer_and_left_out_of_it() -> None:
    around = world({**PAGES, "unresolved": "drop"})
    around.agents.answers["agent:adviser"] = says({"pages": [1, 99, "99"]})
    async with around.up():
        result = await around.ask()
    assert told(result)["answer"] == {"pages": [1]}
    assert gaps_of(told(result)) == [
        {
            "step": "adviser.pages[]",
            "target": "tool:policies/find",
            "error": "failed",
            "reason": "pages[] 99, 99 cannot be resolved by policies/find",
        }
    ]


async def test_words_that_mention_what_was_dropped_are_dropped_too() -> None:
    async def adviser(asked: Asked) -> object:
        return answer({"pages": [1, 99], "say": "ok"}, text="See page 99.")

    around = world({**PAGES, "unresolved": "drop"})
    around.agents.answers["agent:adviser"] = adviser  # pyright: ignore[reportArgumentType] - an answer is a result
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    text = result.body.content().text
    assert "See page 99" not in text
    assert "Not confirmed: pages[] 99 cannot be resolved" in text


async def test_an_invented_policy_fails_the_stage_once_it_was_asked_again() -> None:
    around = world({**POLICY, "unresolved": "fail"})
    around.agents.answers["agent:adviser"] = says({"policy_id": "P-77"})
    async with around.up():
        result = told(await around.ask())
    assert "P-77 cannot be resolved by policies/find" in str(result["error"])
    first, again = around.agents.asked_of("agent:adviser")
    assert "P-77" in str(again.member["note"])
    assert first.request.step_id == again.request.step_id


async def test_who_mends_what_was_invented_succeeds() -> None:
    async def mends(asked: Asked) -> Json:
        return {"policy_id": "P-1" if "note" in asked.member else "P-77"}

    around = world({**POLICY, "unresolved": "fail"})
    around.agents.answers["agent:adviser"] = mends
    async with around.up():
        result = told(await around.ask())
    assert (result["answer"], result["gaps"]) == ({"policy_id": "P-1"}, [])


async def test_what_cannot_be_looked_up_does_not_count_as_true() -> None:
    async def down(asked: Asked) -> Json:
        raise Unavailable("switched off")

    around = world(POLICY, limits={"retries": 0})
    around.agents.answers |= {"agent:adviser": says({"policy_id": "P-1"}), "tool:policies/find": down}
    async with around.up():
        result = told(await around.ask())
    assert [gap["step"] for gap in gaps_of(result)] == ["adviser.policy_id"]


async def test_a_lookup_carries_the_labels_of_the_answer() -> None:
    labels = Labels(untrusted=frozenset({"agent:adviser"}))

    async def tainted(asked: Asked) -> object:
        return answer({"policy_id": "P-1"}, labels=labels)

    around = world(POLICY)
    around.agents.answers["agent:adviser"] = tainted  # pyright: ignore[reportArgumentType] - an answer is a result
    async with around.up():
        await around.ask()
    [looked_up] = around.agents.asked_of("tool:policies/find")
    assert looked_up.request.labels == labels


@pytest.mark.parametrize(
    ("field", "found", "left"),
    [
        ("id", ["x"], {"pages": [1, 9], "cites": [{"p": 1}, {"p": 9}], "in": {"id": 9}}),
        ("pages[]", [1, 9], {"id": "x", "pages": [1], "cites": [{"p": 1}, {"p": 9}], "in": {"id": 9}}),
        ("pages", [1, 9], {"id": "x", "pages": [1], "cites": [{"p": 1}, {"p": 9}], "in": {"id": 9}}),
        ("cites[].p", [1, 9], {"id": "x", "pages": [1, 9], "cites": [{"p": 1}], "in": {"id": 9}}),
        ("in.id", [9], {"id": "x", "pages": [1, 9], "cites": [{"p": 1}, {"p": 9}], "in": {}}),
        ("nothing.there[]", [], {"id": "x", "pages": [1, 9], "cites": [{"p": 1}, {"p": 9}], "in": {"id": 9}}),
    ],
)
def test_a_field_is_found_and_left_out(field: str, found: list[Json], left: Json) -> None:
    value: JsonObject = {"id": "x", "pages": [1, 9], "cites": [{"p": 1}, {"p": 9}], "in": {"id": 9}}
    assert found_at(value, field) == found
    assert without(value, field, ["x", 9]) == left


LEAVES = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "0", "x"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=12,
)
PLACES = st.lists(st.sampled_from(["a", "b", "a[]", "b[]"]), min_size=1, max_size=3).map(".".join)


@settings(deadline=None)
@given(value=VALUES, field=PLACES, bad=st.lists(LEAVES, max_size=4))
def test_nothing_that_is_bad_is_left_at_the_field_and_nothing_is_added(
    value: Json, field: str, bad: list[Json]
) -> None:
    left = without(value, field, bad)
    told_apart = [json.dumps(each) for each in bad]
    before = [json.dumps(each) for each in found_at(value, field)]
    after = [json.dumps(each) for each in found_at(left, field)]
    assert not set(after).intersection(told_apart)
    remaining = iter(before)
    assert all(each in remaining for each in after)
    if not set(before).intersection(told_apart):
        assert left == value


@pytest.mark.parametrize(
    ("value", "known"),
    [
        *((None, False), ("", False), ({}, False), ([], False), ({"found": False}, False), ({"result": [None]}, False)),
        *(("x", True), (0, True), ({"id": 0}, True), ({"found": True}, True), ([{"a": None}, {"a": 1}], True)),
    ],
)
def test_an_answer_confirms_if_it_says_anything(value: Json, known: bool) -> None:
    assert confirms(StepResult(id="1", target="tool:a/b", ok=True, value=value)) is known
    assert not confirms(StepResult(id="1", target="tool:a/b", ok=False, value=value))


@pytest.mark.parametrize("field", ["", "a..b", "[]", "a[0]"])
def test_a_field_that_is_none_is_refused(field: str) -> None:
    with pytest.raises(InvalidRequest):
        Sequential({"stages": [{"agent": "a", "verify": [{"field": field, "tool": "x/y"}]}]})
