"""Costs by run, by step and by stage: read off what is kept of runs."""

from dataclasses import replace
from decimal import Decimal

import httpx2
import pytest

from adapters.http.api_contract import PREFIX
from adapters.http.api_costs import of_stages, of_steps
from gateway.core.json import JsonObject
from gateway.core.limits import Usage
from tests.fakes_api import ApiBench, a_run, a_step


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


def test_of_a_stage_that_a_fork_took_over_only_what_it_did_itself_is_counted() -> None:
    stages: JsonObject = {
        "extract": {"attempts": 1, "tokens": 7, "cost_usd": "0.10", "taken_over": {"attempts": 1, "tokens": 7}},
        "check": {
            **{"attempts": 3, "tokens": 9, "cost_usd": "0.30"},
            "taken_over": {"attempts": 1, "tokens": 4, "cost_usd": "0.10"},
        },
    }
    run = replace(a_run(), output={"content": {"structured": {"why": {"stages": stages}}}})
    assert of_stages(run) == [("check", Usage(calls=2, tokens=5, cost_usd=Decimal("0.20")))]


@pytest.mark.anyio
@pytest.mark.parametrize("by", ["run", "step"])
async def test_all_runs_are_added_up_however_many_there_are(by: str) -> None:
    bench = ApiBench()
    bench.runs.runs.clear()
    day_us = 86_400 * 10**6
    for number in range(1205):
        # Many in one moment, and one on the day before that is asked for.
        at_us = day_us * 20 + number // 400 if number else day_us * 20 - 1
        inner = {"parent_run": "run_1"} if number == 7 else {}
        run_id = f"run_{number}"
        run = replace(a_run(run_id), created_at_us=at_us, usage=Usage(calls=1, cost_usd=Decimal("0.1")), spec=inner)
        bench.runs.runs[run_id] = run
        step = replace(a_step(f"{run_id}/2"), run_id=run_id, usage=Usage(calls=1, cost_usd=Decimal("0.1")))
        await bench.runs.note_step(step)
    query = {"by": by, "since": "1970-01-21", "until": "1970-01-21"}
    headers = {"authorization": "Bearer olga-key"}
    async with bench.serving() as url, httpx2.AsyncClient(base_url=url + PREFIX, headers=headers) as client:
        said = (await client.get("/costs", params=query)).json()
    if by == "run":
        assert (len(said["rows"]), said["leftOut"]) == (1000, 204)
        assert said["total"]["calls"] == 1203, "what a nested run used is its outer one's"
    else:
        assert [(row["name"], row["usage"]["calls"]) for row in said["rows"]] == [("help/refunds", 1204)]
        assert said["total"]["costUsd"] == "120.4"


@pytest.mark.anyio
@pytest.mark.parametrize("by", ["run", "step"])
async def test_what_a_fork_took_over_is_added_up_once(by: str) -> None:
    bench = ApiBench()
    bench.runs.runs.clear()
    used = Usage(calls=1, tokens=5)
    first = replace(a_step("run_1/1", started=1_500_000), run_id="run_1", usage=used)
    second = replace(a_step("run_1/2", started=1_600_000), run_id="run_1", target="workflow:inner", usage=used)
    again = replace(second, id="run_2/2", run_id="run_2", started_at_us=2_500_000)
    origin = replace(a_run("run_1"), usage=used + used)
    fork = replace(a_run("run_2"), created_at_us=2_000_000, usage=used + used, spec={"homes": {"run_1": [1]}})
    bench.runs.runs |= {"run_1": origin, "run_2": fork}
    for step in (first, second, replace(first, run_id="run_2"), again):
        await bench.runs.note_step(step)
    query = {"by": by, "since": "1970-01-01", "until": "1970-01-01"}
    headers = {"authorization": "Bearer olga-key"}
    async with bench.serving() as url, httpx2.AsyncClient(base_url=url + PREFIX, headers=headers) as client:
        said = (await client.get("/costs", params=query)).json()
    calls = {row["name"]: row["usage"]["calls"] for row in said["rows"]}
    assert calls == ({"run_2": 1, "run_1": 2} if by == "run" else {"help/refunds": 1})
    assert said["total"]["tokens"] == (15 if by == "run" else 5)


@pytest.mark.anyio
async def test_stages_within_a_stage_are_in_the_total_once() -> None:
    bench = ApiBench()
    bench.runs.runs.clear()

    def ended(run_id: str, parent: str, **tokens: int) -> None:
        stages: JsonObject = {name: {"attempts": 1, "tokens": each} for name, each in tokens.items()}
        output: JsonObject = {"content": {"structured": {"why": {"stages": stages} if stages else {}}}}
        run = replace(a_run(run_id), workflow=run_id, output=output, spec={"parent_run": parent} if parent else {})
        bench.runs.runs[run_id] = run

    ended("outer", "", own=2, nested=7)
    ended("planned", "outer")
    ended("inner", "planned", a=3, b=4)
    ended("supervised", "elsewhere", c=5)
    headers = {"authorization": "Bearer olga-key"}
    query = {"by": "stage", "since": "1970-01-01", "until": "1970-01-01"}
    async with bench.serving() as url, httpx2.AsyncClient(base_url=url + PREFIX, headers=headers) as client:
        said = (await client.get("/costs", params=query)).json()
    tokens = {row["name"]: row["usage"]["tokens"] for row in said["rows"]}
    assert tokens == {"outer/own": 2, "outer/nested": 7, "inner/a": 3, "inner/b": 4, "supervised/c": 5}
    assert said["total"]["tokens"] == 14
