"""References to a field that is not there: what settings show, what a run tells, what no undo is called with."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object
from gateway.core.model import Complete
from gateway.orchestration.orchestrator import check
from gateway.orchestration.settings.doubts import doubts
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.sequential.pattern import Sequential
from gateway.patterns.supervisor.pattern import Supervisor
from tests.fakes_orchestration import Asked, World, failing, says, told

pytestmark = pytest.mark.anyio

OPEN: JsonObject = {"type": "object", "properties": {"amount": {}, "currency": {}}}
CLOSED: JsonObject = {**OPEN, "additionalProperties": False}
NESTED: JsonObject = {"type": "object", "properties": {"price": CLOSED}}
PATTERNED: JsonObject = {**CLOSED, "patternProperties": {"^a": {}}}
COMBINED: JsonObject = {**CLOSED, "allOf": [{}]}
DOUBTED = (
    "stage pay: $quote.amont leads nowhere: the contract of quote names amount, currency, and not that"
    " (did you mean $quote.amount?)"
)
UNDO: JsonObject = {"tool": "undo/it", "input": {"of": "$quote.amont"}}


def workflow(*stages: JsonObject, **settings: object) -> WorkflowSettings:
    return WorkflowSettings.model_validate({"pattern": "sequential", "stages": stages, **settings})


def world(*stages: JsonObject, **settings: object) -> World:
    around = World(patterns={"sequential": Sequential}, workflows={"help": workflow(*stages, **settings)})
    around.agents.answers |= {
        "agent:quote": says({"currency": "EUR", "amount": 12345}),
        "agent:pay": says({}),
        "agent:bad": fails,
        "tool:undo/it": says({}),
    }
    return around


async def fails(asked: Asked) -> Complete:
    return failing("out of order")


def lost(around: World) -> list[tuple[Json, Json, Json]]:
    """Stage, reference, and what was said, in order."""
    [log] = around.runs.log.values()
    details = [json_object(each.body.get("detail")) for each in log.values()]
    found = [each for each in details if each.get("what") == "reference"]
    return [(each["stage"], each["chosen"], each["because"]) for each in found]


def quoted(schema: "JsonObject | None", **quote: Json) -> JsonObject:
    return {"agent": "quote", **quote} if schema is None else {"agent": "quote", "output_schema": schema, **quote}


NAMES = "the contract of quote names amount, currency and nothing else (did you mean $quote.amount?)"


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (
            [quoted(CLOSED), {"agent": "pay", "input": {"sum": "$quote.amont"}}],
            f"workflow help: stage pay: $quote.amont leads nowhere: {NAMES}",
        ),
        (
            [quoted(CLOSED), {"agent": "pay", "when": "$quote.amont > 100"}],
            f"workflow help: stage pay: $quote.amont leads nowhere: {NAMES}",
        ),
        ([quoted(CLOSED, undo=UNDO)], f"workflow help: stage quote: $quote.amont leads nowhere: {NAMES}"),
        (
            [quoted(CLOSED), {"agent": "pay", "claims": ["account:$quote.amont"]}],
            f"workflow help: stage pay: $quote.amont leads nowhere: {NAMES}",
        ),
        (
            [quoted(NESTED), {"agent": "pay", "input": {"sum": "$quote.price.zzz"}}],
            "workflow help: stage pay: $quote.price.zzz leads nowhere: "
            "the contract of quote.price names amount, currency and nothing else",
        ),
        (
            [quoted(None), {"agent": "pay", "input": {"sum": "$qoute.amount"}}],
            "workflow help: stage pay: it refers to $qoute, which does not come before it (did you mean $quote?)",
        ),
    ],
    ids=["input", "condition", "undo", "claim", "further in", "stage"],
)
def test_a_reference_that_can_never_be_there_is_refused_with_what_was_meant(
    stages: list[JsonObject], said: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check({"sequential": Sequential}, {"help": workflow(*stages)})
    assert refused.value.message == said


@pytest.mark.parametrize(
    ("schema", "reference", "said"),
    [
        (OPEN, "$quote.amont", [DOUBTED]),
        (OPEN, "$quote.amount", []),
        (OPEN, "$quote.amount.net", []),
        (CLOSED, "$quote.amount", []),
        (CLOSED, "$quote", []),
        ({"type": "object"}, "$quote.amont", []),
        (COMBINED, "$quote.amont", []),
        (PATTERNED, "$quote.amont", []),
        (None, "$quote.amont", []),
    ],
)
def test_what_an_open_contract_does_not_name_is_doubted_and_what_may_be_there_is_not(
    schema: "JsonObject | None", reference: str, said: list[str]
) -> None:
    settings = {"help": workflow(quoted(schema), {"agent": "pay", "input": {"sum": reference}})}
    check({"sequential": Sequential}, settings)
    assert [*doubts({"sequential": Sequential}, settings)] == [("help", each) for each in said]


async def test_a_run_tells_once_of_each_reference_that_found_nothing_and_of_no_value() -> None:
    pay: JsonObject = {
        "agent": "pay",
        "when": "not $quote.amont",
        "input": {"sum": "$quote.amont", "again": "$quote.amont", "deep": "$quote.amount.net", "order": "$task.ordr"},
    }
    around = world(quoted(None), pay)
    async with around.up():
        await around.ask("go", data={"order": 98765})
    amont = "$quote.amont: quote answered with amount, currency; nothing of that name"
    assert lost(around) == [
        ("pay", "$quote.amont", amont),
        ("pay", "$quote.amount.net", "$quote.amount.net: quote.amount has no fields; nothing of that name"),
        ("pay", "$task.ordr", "$task.ordr: task has message, order; nothing of that name"),
    ]


async def test_what_is_there_and_null_is_told_of_as_little_as_what_is_there() -> None:
    around = world(quoted(None), {"agent": "pay", "input": {"sum": "$quote.amount", "all": "$quote"}})
    around.agents.answers["agent:quote"] = says({"amount": None})
    async with around.up():
        await around.ask("go")
    assert lost(around) == []


async def test_a_batch_tells_of_a_reference_once_for_all_its_items() -> None:
    pay: JsonObject = {"agent": "pay", "when": "not $quote.amont", "input": {"sum": "$quote.zzz"}}
    around = world(quoted(None), pay, sequential={"batch": {"items": "$task.items"}})
    async with around.up():
        await around.ask(data={"items": ["one", "two", "three"]})
    assert len(around.agents.asked_of("agent:pay")) == 3
    assert [(stage, reference) for stage, reference, _ in lost(around)] == [
        ("pay", "$quote.amont"),
        ("pay", "$quote.zzz"),
    ]


NOT_CALLED = "it was not called: $quote.amont: quote answered with amount, currency; nothing of that name"


async def test_an_undo_that_would_lack_what_an_answer_does_not_have_is_not_called_and_says_so() -> None:
    around = world(
        {"agent": "pay", "undo": {"tool": "undo/it", "input": {"note": "$task.note"}}},
        quoted(None, undo=UNDO),
        {"agent": "bad"},
    )
    async with around.up():
        result = told(await around.ask("go"))
    # What a task may well do without is told as nothing, as ever.
    assert [each.input for each in around.agents.asked_of("tool:undo/it")] == [{"note": None}]
    said = [json_object(each) for each in json_list(result["undone"])]
    assert [(each["ok"], each["reason"]) for each in said] == [(False, NOT_CALLED), (True, "")]
    assert [(stage, reference) for stage, reference, _ in lost(around)] == [
        ("pay", "$task.note"),
        ("quote", "$quote.amont"),
    ]


@pytest.mark.parametrize(
    "settings", [{}, {"sequential": {"batch": {"items": "$task.items"}}}], ids=["one", "of a batch"]
)
async def test_what_is_undone_within_a_run_is_named_as_not_undone(settings: Mapping[str, Any]) -> None:
    contract: JsonObject = {"type": "object", "required": ["receipt"]}
    quote = quoted(contract, undo=UNDO, optional=True)
    around = world(quote, {"agent": "pay"}, limits={"max_rounds": 1}, **settings)
    async with around.up():
        result = told(await around.ask(data={"items": ["one"]}))
    assert around.agents.asked_of("tool:undo/it") == []
    gaps = [json_object(each) for each in json_list(result["gaps"])]
    assert [each["reason"] for each in gaps if str(each["step"]).startswith("undo ")] == [NOT_CALLED]


async def test_a_plan_does_not_call_an_undo_that_lacks_something_either() -> None:
    plan: list[JsonObject] = [
        {"id": "quote", "agent": "quote", "undo": UNDO},
        {"id": "bad", "agent": "bad", "after": ["quote"]},
    ]
    settings = WorkflowSettings.model_validate(
        {"pattern": "supervisor", "plan": plan, "limits": {"on_failure": "fail", "max_rounds": 1}}
    )
    around = World(patterns={"supervisor": Supervisor}, workflows={"help": settings})
    around.agents.answers |= {
        "agent:quote": says({"currency": "EUR", "amount": 12345}),
        "agent:bad": fails,
        "tool:undo/it": says({}),
    }
    async with around.up():
        result = told(await around.ask("go"))
    assert around.agents.asked_of("tool:undo/it") == []
    assert [json_object(each)["reason"] for each in json_list(result["undone"])] == [NOT_CALLED]
