"""Costs by step and by stage: read off what is kept of runs."""

from dataclasses import replace
from decimal import Decimal

from adapters.http.api_costs import of_stages, of_steps
from gateway.core.json import JsonObject
from gateway.core.limits import Usage
from tests.fakes_api import a_run, a_step


def test_steps_are_called_as_the_pattern_calls_them_or_after_what_they_call() -> None:
    used = Usage(calls=1, tokens=5)
    steps = [
        replace(a_step("run_1/2/refund"), usage=used),
        replace(a_step("run_1/2/refund", attempt=2), usage=used),
        replace(a_step("run_1/3"), target="tool:orders/find", usage=used),
        replace(a_step("run_1/4"), target="workflow:inner", usage=Usage(calls=9)),
    ]
    assert of_steps(steps) == [("refund", used), ("refund", used), ("find", used)]


def test_an_attempt_that_never_got_there_is_counted_with_the_next() -> None:
    steps = [
        replace(a_step("run_1/3", state="unavailable"), usage=Usage(calls=1)),
        replace(a_step("run_1/3", attempt=2), usage=Usage(calls=2, tokens=5)),
    ]
    assert of_steps(steps) == [("refunds", Usage(calls=2, tokens=5))]
    assert of_steps(steps[:1]) == [("refunds", Usage(calls=1))], "the last one stands for itself"


def test_stages_are_read_off_the_answer() -> None:
    stages: JsonObject = {"extract": {"attempts": 2, "tokens": 7, "cost_usd": "0.10"}}
    structured: JsonObject = {"why": {"stages": stages}}
    run = replace(a_run(), output={"content": {"structured": structured}})
    assert of_stages(run) == [("extract", Usage(calls=2, tokens=7, cost_usd=Decimal("0.10")))]
    assert of_stages(a_run()) == []
