"""Words that spell out the value a contract asks for, live and after a crash."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.json import Json, JsonObject, json_object
from gateway.core.model import Complete
from gateway.core.ports.orchestration import StepResult
from gateway.orchestration.records.promised import promised
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.sequential.pattern import Sequential
from tests.crashes import INSTANTS, Instant, Scene, outlives_crashes
from tests.fakes_orchestration import World, says, told

CONTRACT: JsonObject = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
FENCED = 'Here it is:\n\n```json\n{\n  "n": 1\n}\n```\nAnything else?'


def said(words: Json, target: str = "agent:a") -> StepResult:
    return StepResult(id="1/1", target=target, ok=True, value=words, text=words if isinstance(words, str) else "")


@pytest.mark.parametrize(
    ("schema", "words", "value"),
    [
        (CONTRACT, '{"n": 1}', {"n": 1}),
        (CONTRACT, ' \n{"n": 1}\n', {"n": 1}),
        (CONTRACT, FENCED, {"n": 1}),
        (CONTRACT, '```JSON\r\n{"n": 1}\r\n```', {"n": 1}),
        (CONTRACT, '```\n{"n": 1}\n```', {"n": 1}),
        (CONTRACT, '```json {"n": 1} ```', {"n": 1}),
        (CONTRACT, '```json\n{"n": 1, "says": "```x```"}\n```', {"n": 1, "says": "```x```"}),
        # A contract that words meet, as it says nothing of them: the value is meant all the same.
        ({"required": ["n"]}, '{"n": 1}', {"n": 1}),
        ({"type": "array"}, "[1, 2]", [1, 2]),
        ({"type": "number"}, "42", 42),
        ({"enum": ["yes", "no"]}, '"yes"', "yes"),
        # Words are meant.
        ({"type": "string"}, '{"n": 1}', '{"n": 1}'),
        ({"type": "string"}, FENCED, FENCED),
        ({"maxLength": 3}, "42", "42"),
        ({"type": "string"}, "as you like", "as you like"),
    ],
)
def test_words_that_are_json_count_as_the_value_asked_for(schema: JsonObject, words: str, value: Json) -> None:
    result = promised(schema, said(words))
    assert (result.ok, result.value, result.text) == (True, value, words)


@pytest.mark.parametrize(
    ("words", "broken"),
    [
        ('{"m": 1}', "'n' is a required property"),
        ('```json\n{"n": "1"}\n```', "$.n: '1' is not of type 'integer'"),
        ('```json\n{"n": 1}\n```\nor\n```json\n{"n": 2}\n```', "is not of type 'object'"),
        ('```json\n{"n": 1}\n', "is not of type 'object'"),
        ('```python\n{"n": 1}\n```', "is not of type 'object'"),
        ('It is {"n": 1}.', "is not of type 'object'"),
        ('{"n": 1e400}', "is not of type 'object'"),
        ('{"n": NaN}', "is not of type 'object'"),
        ("```", "is not of type 'object'"),
        ("", "is not of type 'object'"),
        ("[" * 5000, "$: '[[["),
        ('"\ud800"', "is not of type 'object'"),
    ],
)
def test_what_breaks_a_contract_is_said_in_its_words(words: str, broken: str) -> None:
    result = promised(CONTRACT, said(words))
    assert (result.ok, result.error, result.value) == (False, "schema", words)
    assert broken in result.reason
    assert "the contract is" in result.reason


def test_a_workflows_words_count_for_its_answer_alone() -> None:
    run: JsonObject = {"answer": FENCED, "gaps": []}
    result = promised(CONTRACT, said(run, "workflow:w"))
    assert (result.ok, result.value) == (True, {"answer": {"n": 1}, "gaps": []})
    of_the_run: JsonObject = {"type": "object", "required": ["gaps"]}
    assert promised(of_the_run, said(run, "workflow:w")).value == run


@given(st.text(alphabet='`json{}[]":1, \n\r'))
def test_whatever_is_said_is_judged(words: str) -> None:
    result = promised(CONTRACT, said(words))
    assert result.ok == isinstance(result.value, dict)


def workflow(*, contract: bool) -> JsonObject:
    first: JsonObject = {"agent": "a", "output_schema": CONTRACT} if contract else {"agent": "a"}
    return {"pattern": "sequential", "stages": [first, {"tool": "orders/find", "input": {"n": "$a.n"}}]}


@pytest.mark.anyio
@pytest.mark.parametrize(("contract", "handed"), [(True, {"n": 1}), (False, {})])
async def test_the_next_stage_reads_the_value_only_where_a_contract_asked_for_it(
    contract: bool, handed: JsonObject
) -> None:
    settings = WorkflowSettings.model_validate(workflow(contract=contract))
    around = World(patterns={"sequential": Sequential}, workflows={"help": settings})
    around.agents.answers |= {"agent:a": says(FENCED), "tool:orders/find": says({"found": 1})}
    async with around.up():
        result = await around.ask()
    assert isinstance(result, Complete)
    assert json_object(told(result))["answer"] == {"found": 1}
    [asked] = around.agents.asked_of("tool:orders/find")
    assert asked.input == handed


@pytest.mark.anyio
@pytest.mark.parametrize("instant", INSTANTS)
async def test_a_run_that_outlives_a_crash_reads_the_same(instant: Instant) -> None:
    agents = {"agent:a": says(FENCED), "tool:orders/find": says({"found": 1})}
    await outlives_crashes(Scene(settings=workflow(contract=True), agents=lambda: agents), instant)
