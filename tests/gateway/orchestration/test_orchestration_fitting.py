"""What a step says fits whoever reads it, and whatever is left out is said."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.errors import Exhausted, InvalidRequest
from gateway.core.json import Json, JsonObject, json_object
from gateway.orchestration.messages.fetching import MOST_BYTES, part_of
from gateway.orchestration.messages.fitting import REFERENCE_BYTES, fitted, with_references
from gateway.orchestration.messages.said import AGAIN, Said
from tests.fakes_costs import WordCounter

pytestmark = pytest.mark.anyio


def result(words: int, summary: str = "short") -> JsonObject:
    return {"summary": summary, "value": "word " * words}


def said(given: "JsonObject | None" = None, **member: Json) -> Said:
    instruction = "do what you are told"
    return Said(
        kind="agent", instruction=instruction, given={"instruction": instruction, **(given or {})}, member=member
    )


async def nobody(name: str, value: Json) -> str:
    return ""


def results_of(fitted_said: Said) -> JsonObject:
    return json_object(fitted_said.member["results"])


async def test_what_fits_is_not_touched_nor_counted_where_it_is_short() -> None:
    counter, whole = WordCounter(), said(results={"a": result(3)})
    outcome = await fitted(whole, 10_000, counter, summarise=nobody)
    assert outcome.said is whole
    assert counter.counted == []
    assert outcome.warning("a", 10_000) == ""


async def test_from_seventy_percent_of_the_window_on_it_is_said() -> None:
    outcome = await fitted(said(results={"a": result(80)}), 120, WordCounter(), summarise=nobody)
    assert outcome.left_out == []
    assert "% of its window of 120 tokens" in outcome.warning("next", 120)


async def test_the_longest_result_goes_first_and_the_message_says_so() -> None:
    whole = said(results={"a": result(40), "b": result(300), "c": result(60)})
    outcome = await fitted(whole, 200, WordCounter(), summarise=nobody)
    kept = results_of(outcome.said)
    assert json_object(kept["b"]) == {"summary": "short", "value": None, "leftOut": True}
    assert kept["a"] == whole.member["results"]["a"]  # pyright: ignore[reportArgumentType, reportCallIssue, reportIndexIssue, reportOptionalSubscript]
    assert outcome.said.member["left_out"] == outcome.left_out == ["all of b but its summary"]
    assert "left out: all of b but its summary" in outcome.warning("next", 200)


async def test_an_agent_that_summarises_is_asked_for_the_summary() -> None:
    async def summarise(name: str, value: Json) -> str:
        return f"{name} in few words"

    outcome = await fitted(said(results={"a": result(300)}), 100, WordCounter(), summarise=summarise)
    assert json_object(results_of(outcome.said)["a"])["summary"] == "a in few words"


async def test_memory_goes_first_then_the_oldest_turns_and_the_glossary_last() -> None:
    turns: Json = [{"request": f"{number} " * 60, "answer": "word " * 60} for number in range(3)]
    memory: Json = [{"text": "word " * 60}, {"text": "word " * 60}]
    whole = said(memory=memory, history=turns, results={"a": result(5)}, glossary={"RMA": "word " * 20})
    some = await fitted(whole, 380, WordCounter(), summarise=nobody)
    assert some.said.member["memory"] == []
    assert some.said.member["history"] == turns[1:]  # pyright: ignore[reportIndexIssue, reportOptionalSubscript, reportArgumentType, reportCallIssue]
    assert some.left_out == ["what the memory had", "earlier turns"]
    assert some.said.member["results"] == whole.member["results"]
    least = await fitted(said(glossary={"RMA": "word " * 200}), 60, WordCounter(), summarise=nobody)
    assert (least.said.member["glossary"], least.left_out) == ({}, ["the glossary"])


async def test_then_the_scratchpad_the_task_and_the_input_go_and_the_contracts_fields_last() -> None:
    pad: Json = {"k": {"value": "word " * 200, "version": 1}}
    given: JsonObject = {"free": "word " * 200, "bound": "word " * 200}
    whole = said(
        given, results={"a": result(200, "word " * 90)}, scratchpad=pad, data={"d": "word " * 200}, task="t " * 200
    )
    contract = frozenset({"bound"})
    outcome = await fitted(whole, 340, WordCounter(), contract=contract, summarise=nobody)
    assert outcome.left_out == [
        "all of a but its summary",
        "the end of the summary of a",
        "k of the scratchpad",
        "the data of the original task",
        "the end of the original task",
        "the end of free",
    ]
    assert outcome.said.given["bound"] == given["bound"]
    tight = await fitted(whole, 200, WordCounter(), contract=contract, summarise=nobody)
    assert tight.left_out[-1] == "the end of bound"
    assert tight.said.instruction == whole.instruction


async def test_an_instruction_that_does_not_fit_stops_the_step() -> None:
    whole = Said(kind="agent", instruction="word " * 500, given={}, member={"results": {"a": result(5)}})
    with pytest.raises(Exhausted) as refused:
        await fitted(whole, 300, WordCounter(), summarise=nobody)
    assert refused.value.detail["limit"] == "budget"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.builds(result, st.integers(0, 200)), max_size=4),
    st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 300).map(lambda n: "word " * n), max_size=2),
    st.integers(100, 400),
)
async def test_what_is_said_in_the_end_always_fits(
    results: dict[str, Json], given_input: dict[str, Json], window: int
) -> None:
    counter = WordCounter()
    whole = said(given_input, results=results, task="word " * 50)
    try:
        outcome = await fitted(whole, window, counter, summarise=nobody)
    except Exhausted:
        return
    assert await counter.count(outcome.said.texts()) <= window
    assert outcome.said.instruction == whole.instruction
    assert bool(outcome.left_out) == (outcome.said != whole)


async def test_a_large_result_travels_as_a_reference() -> None:
    value: JsonObject = {"lines": ["x" * REFERENCE_BYTES], "total": 1}
    referred = with_references(said(results={"a": {"summary": "s", "value": value}, "b": result(2)}), REFERENCE_BYTES)
    entry = json_object(results_of(referred)["a"])
    assert (entry["summary"], entry["value"]) == ("s", None)
    assert json_object(entry["reference"])["fields"] == ["lines", "total"]
    assert results_of(referred)["b"] == result(2)


def test_the_instruction_stands_before_and_after_what_was_handed_over() -> None:
    texts = said(results={"a": result(1)}).texts()
    assert texts[0] == "do what you are told"
    assert texts[-1] == f"{AGAIN}do what you are told"
    assert len(said(results={}, scratchpad={}).texts()) == 2


def test_a_part_of_a_result_is_found_by_its_pointer() -> None:
    long = "y" * (MOST_BYTES * 2)
    lines: list[Json] = ["z" * 100] * 50
    big: list[Json] = [lines] * 50
    value: JsonObject = {"a/b": [{"c": 1}], "long": long, "big": big}
    assert part_of(value, "/a~1b/0/c")["value"] == 1
    assert part_of(value, "")["fields"] == ["a/b", "long", "big"]
    assert part_of(value, "/big")["items"] == 50
    first = part_of(value, "/long")
    assert isinstance(first["next_offset"], int)
    assert len(json.dumps(first)) < MOST_BYTES
    pieces, offset = str(first["value"]), first["next_offset"]
    while isinstance(offset, int):
        piece = part_of(value, "/long", offset)
        pieces, offset = pieces + str(piece["value"]), piece.get("next_offset")
    assert pieces == long


@pytest.mark.parametrize("pointer", ["a", "/nothing", "/a~1b/7", "/a~1b/x", "/a~1b/0/c/d"])
def test_where_nothing_is_nothing_is_found(pointer: str) -> None:
    with pytest.raises(InvalidRequest):
        part_of({"a/b": [{"c": 1}]}, pointer)
