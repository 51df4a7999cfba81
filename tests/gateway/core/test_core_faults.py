"""Which calls a fault strikes, and what it leaves of an answer."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.content import Content, Plain, content_of, data_part, plain, text_part
from gateway.core.errors import GatewayError, InvalidRequest, UpstreamFailed
from gateway.core.faults import KINDS, Fault, Injection, distorted, error_of, fault_from_text, merge_patched
from gateway.core.json import Json
from gateway.core.labels import Labels
from gateway.core.limits import Usage
from gateway.core.model import Accepted, Complete, InputRequired
from gateway.core.task import Task, TaskState

SAID = Complete(
    body=plain({"amount": 47.99, "for": "A-1 (47.99)"}, text='{"amount": 47.99}'),
    usage=Usage(calls=1, tokens=9),
    labels=Labels(untrusted=frozenset({"server:orders"})),
)


def injection(fault: str, *, share: float = 1.0, seed: int = 0) -> Injection:
    fault_ = fault_from_text(fault)
    return Injection(id="c1", tenant="default", target="tool:orders/*", fault=fault_, share=share, seed=seed)


def left_of(fault: str, said: Complete = SAID) -> Content:
    result = distorted(said, injection(fault))
    assert isinstance(result, Complete)
    return result.body.content()


@pytest.mark.parametrize(
    "text",
    [
        *("delay=2s", "kill", "error", "error=out of paper", "malformed", "empty", "wrong_schema"),
        *('falsehood={"amount": 4799}', "falsehood=47.99=>4799.00"),
    ],
)
def test_a_fault_is_written_as_it_is_read(text: str) -> None:
    assert str(fault_from_text(text)) == text
    assert fault_from_text(str(fault_from_text(text))) == fault_from_text(text)


def test_times_have_units_and_texts_may_stand_in_quotes() -> None:
    assert [fault_from_text(f"delay={each}").delay_s for each in ("200ms", "1.5s", "2m")] == [0.2, 1.5, 120.0]
    assert fault_from_text('error="out of paper"').message == "out of paper"
    assert fault_from_text('falsehood="a=>b"') == Fault(kind="falsehood", said="a", instead="b")


@pytest.mark.parametrize(
    "text",
    [
        *("", "explode", "delay", "delay=2", "delay=2h", "delay=-1s", "delay=nans", "delay=9999m", "kill=now"),
        *("falsehood", "falsehood={", "falsehood=a", "falsehood==>b", "falsehood=a=>a"),
    ],
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        fault_from_text(text)


@given(st.text())
def test_any_text_is_a_fault_or_refused(text: str) -> None:
    try:
        fault = fault_from_text(text)
    except GatewayError:
        return
    assert fault.kind in KINDS


def test_a_fault_concerns_its_own_tenants_calls_to_what_it_names() -> None:
    given_ = injection("kill")
    assert given_.concerns("default", "tool:orders/refund")
    assert not given_.concerns("other", "tool:orders/refund")
    assert not given_.concerns("default", "tool:shop/refund")


@settings(max_examples=30, deadline=None)
@given(st.floats(min_value=0.05, max_value=1.0), st.integers())
def test_the_same_calls_are_struck_again_and_about_as_many_as_were_asked_for(share: float, seed: int) -> None:
    first = [injection("kill", share=share, seed=seed).strikes(str(number)) for number in range(400)]
    assert first == [injection("kill", share=share, seed=seed).strikes(str(number)) for number in range(400)]
    assert abs(sum(first) / 400 - share) < 0.15


def test_a_killed_target_has_failed_and_nothing_else_ends_a_call() -> None:
    assert isinstance(error_of(fault_from_text("kill"), "orders"), UpstreamFailed)
    assert error_of(fault_from_text("empty"), "orders") is None


def test_a_falsehood_is_told_wherever_the_truth_was_and_can_be_followed() -> None:
    for fault in ('falsehood={"amount": 4799}', "falsehood=47.99=>4799"):
        result = distorted(SAID, injection(fault))
        assert isinstance(result, Complete)
        said = result.body.content()
        assert isinstance(said.structured, dict)
        assert said.structured["amount"] == 4799
        assert [part.data for part in said.parts if part.kind == "data"] == [said.structured]
        assert json.loads(said.text) == {"amount": 4799}
        assert result.labels == Labels(untrusted=frozenset({"server:orders", "chaos:c1"}))
        assert result.usage == SAID.usage


def test_a_falsehood_that_finds_nothing_to_be_untrue_about_leaves_the_answer_alone() -> None:
    assert distorted(SAID, injection("falsehood=12=>13")) is SAID
    words = Complete(body=Plain(Content(parts=(text_part("47.99 was paid"), data_part(None)))))
    assert distorted(words, injection('falsehood={"amount": 4799}')) is words
    assert left_of("falsehood=47.99=>4799", words).text == "4799 was paid"


def test_what_is_left_of_an_answer() -> None:
    assert left_of("empty") == Content()
    assert left_of("malformed").text == '{"amount": 47.99, "'
    assert left_of("wrong_schema").structured == {"amount_": 47.99, "for_": "A-1 (47.99)"}
    failed = distorted(SAID, injection("error=out of paper"))
    assert isinstance(failed, Complete)
    assert (failed.is_error, failed.body.content().text) == (True, "out of paper")
    assert distorted(SAID, injection("delay=1s")) is SAID


def test_questions_are_distorted_and_tasks_are_not() -> None:
    asked = InputRequired(body=Plain(content_of("which of 47.99?")), state="s")
    said = distorted(asked, injection("falsehood=47.99=>1"))
    assert isinstance(said, InputRequired)
    assert said.body.content().text == "which of 1?"
    assert isinstance(distorted(asked, injection("error")), Complete)
    accepted = Accepted(task=Task(id="t", context_id="c", state=TaskState.WORKING, updated_at_us=1))
    assert distorted(accepted, injection("error")) is accepted


def test_a_merge_patch_is_that_of_rfc_7396() -> None:
    cases: list[tuple[Json, Json, Json]] = [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": [1]}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        (["a"], {"b": 1}, {"b": 1}),
        ({"a": 1}, ["c"], ["c"]),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ]
    assert [merge_patched(value, patch) for value, patch, _ in cases] == [expected for *_, expected in cases]
