"""Advice: the pattern that fits, what it takes, and what a record suggests."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.app.sections import SECTIONS
from gateway.config.checks import standard_checks
from gateway.config.load import parse
from gateway.core.json import JsonObject, json_list, json_object, json_text
from gateway.core.ports.runs import Run, RunStep
from gateway.orchestration.orchestrator import check
from gateway.orchestration.runs.advice.answers import on_record, on_traits
from gateway.orchestration.runs.advice.choice import PATTERNS, SINGLE, cases
from gateway.orchestration.runs.advice.prediction import predicted
from gateway.orchestration.runs.advice.starts import start_of
from gateway.orchestration.runs.advice.traits import QUESTIONS, Traits
from gateway.orchestration.runs.advice.warnings import of_workflow
from gateway.orchestration.runs.seen import RunTree, StepTree
from gateway.orchestration.settings.doubts import doubts
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.plugins import load_patterns


@pytest.mark.parametrize(
    ("traits", "pattern"),
    [
        ({}, SINGLE),
        ({"steps": 6, "predictable": False}, SINGLE),
        ({"specialists": 4}, "router"),
        ({"specialists": 4, "steps": 4, "dependencies": "chain"}, "sequential"),
        ({"specialists": 3, "sources": 5, "steps": 5}, "concurrent"),
        ({"specialists": 3, "intents": 3, "steps": 3, "dependencies": "graph", "predictable": False}, "supervisor"),
        ({"specialists": 2, "steps": 12, "predictable": False, "step_usd": 0.05}, "plan_execute"),
        ({"specialists": 2, "opinions": True, "high_stakes": True}, "consensus"),
        ({"specialists": 4, "peers": True, "predictable": False}, "mesh"),
        ({"specialists": 2, "polish": True}, "reflection"),
        ({"specialists": 3, "open_ended": True, "predictable": False, "steps": 4}, "event_driven"),
    ],
)
def test_each_kind_of_work_gets_its_pattern(traits: JsonObject, pattern: str) -> None:
    advice = on_traits(Traits.model_validate(traits))
    assert advice["pattern"] == pattern
    assert advice["because"]
    assert advice["start"]


def test_ten_pieces_in_a_row_are_all_right_in_a_fifth_of_cases() -> None:
    traits = Traits(steps=10, step_success=0.85, dependencies="chain", specialists=2)
    will = predicted("sequential", traits)
    assert round(will.success, 2) == 0.20
    assert (will.calls, will.latency_s) == (10, 50)
    [warning] = json_list(on_traits(traits)["warnings"])
    assert "20%" in json_text(warning)


@pytest.mark.parametrize(
    ("pattern", "calls", "latency_s"),
    [("mesh", 12, 60), ("consensus", 25, 35), ("reflection", 32, 40), ("supervisor", 10, 20), ("router", 8, 40)],
)
def test_what_comes_one_after_another_takes_its_time(pattern: str, calls: int, latency_s: float) -> None:
    will = predicted(pattern, Traits(steps=8))
    assert (will.calls, will.latency_s) == (calls, latency_s)


def test_more_tools_than_an_agent_can_choose_among_are_warned_of() -> None:
    advice = on_traits(Traits(tools=35, specialists=12))
    assert advice["pattern"] != SINGLE
    warnings = " ".join(json_text(each) for each in json_list(advice["warnings"]))
    assert "35 tools" in warnings
    assert "12 agents" in warnings


@given(
    st.builds(
        Traits,
        intents=st.floats(1, 10),
        steps=st.integers(1, 200),
        dependencies=st.sampled_from(["none", "chain", "graph"]),
        predictable=st.booleans(),
        opinions=st.booleans(),
        sources=st.integers(1, 50),
        high_stakes=st.booleans(),
        polish=st.booleans(),
        open_ended=st.booleans(),
        specialists=st.integers(1, 50),
        peers=st.booleans(),
        tools=st.integers(0, 500),
        step_success=st.floats(0.01, 1),
    )
)
def test_whatever_the_work_is_like_there_is_a_reasoned_answer(traits: Traits) -> None:
    advice = on_traits(traits)
    assert advice["pattern"] in PATTERNS
    for case in cases(traits):
        will = predicted(case.pattern, traits)
        assert 0 <= will.success <= 1
        assert will.calls >= 1
        # No more than four calls are under way at once.
        assert will.latency_s >= will.calls / 4 * traits.step_s
        assert will.cost_usd >= 0


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_start_is_a_configuration_once_its_agents_are_there(pattern: str) -> None:
    workflows: dict[str, WorkflowSettings] = parse(start_of(pattern), SECTIONS).sections["workflows"]  # pyright: ignore[reportAssignmentType]
    agents = {each.partition(":")[2] for workflow in workflows.values() for each in workflow.targets}
    parse(start_of(pattern), SECTIONS, checks=standard_checks({"agents": agents | {"helper"}}))
    patterns = load_patterns({each.pattern for each in workflows.values()})
    check(patterns, workflows)
    assert [*patterns] == ([] if pattern == SINGLE else [pattern])
    assert [*doubts(patterns, workflows)] == []


def test_every_trait_has_a_question() -> None:
    assert {name for name, _ in QUESTIONS} == set(Traits.model_fields)


def test_agents_that_are_one_and_agents_that_are_too_many_are_warned_of() -> None:
    tools = {"a": frozenset({"t1", "t2"}), "b": frozenset({"t1", "t2"}), "c": frozenset(map(str, range(30)))}
    said = " ".join(of_workflow(["a", "b", "c", *map(str, range(9))], tools, [("a", "b"), ("b", "c")]))
    assert "12 agents" in said
    assert "a and b are always called" in said
    assert "c may call 30 tools" in said
    assert "b and c" not in said


# What a record suggests


def step(slug: str, began_s: float, took_s: float, *states: str) -> StepTree:
    attempts = tuple(
        RunStep(
            run_id="run",
            id=f"run/{slug}",
            parent="run",
            target=f"agent:{slug}",
            state=state,
            attempt=number,
            started_at_us=int(began_s * 1e6),
            duration_us=int(took_s * 1e6),
        )
        for number, state in enumerate(states or ("ok",), start=1)
    )
    return StepTree(id=f"run/{slug}", target=f"agent:{slug}", attempts=attempts)


def tree(*steps: StepTree) -> RunTree:
    run = Run(
        id="run",
        workflow="help",
        tenant="default",
        owner="ana",
        state="completed",
        context_id="c",
        created_at_us=0,
        updated_at_us=1,
    )
    return RunTree(run=run, steps=steps)


def found(*trees: RunTree, **tools: frozenset[str]) -> dict[str, JsonObject]:
    said = on_record(trees, {f"agent:{slug}": names for slug, names in tools.items()}, {})
    return {json_text(json_object(each)["what"]): json_object(each) for each in json_list(said["findings"])}


def test_agents_that_always_follow_each_other_and_share_tools_are_named() -> None:
    shared = frozenset({"tool:orders/find"})
    runs = [tree(step("a", 1, 2), step("b", 4, 2), step("c", 4, 2)) for _ in range(3)]
    finding = found(*runs, a=shared, b=shared)["sequential_and_sharing"]
    assert finding["targets"] == ["agent:a", "agent:b"]
    assert "3 of 3 runs" in json_text(finding["evidence"])
    assert "sequential_and_sharing" not in found(*runs, a=shared, c=frozenset({"tool:x/y"}))
    overlapping = tree(step("a", 1, 5), step("b", 4, 2))
    assert "sequential_and_sharing" not in found(*runs, overlapping, a=shared, b=shared)


def test_an_answer_that_could_not_be_used_is_no_failure_of_who_gave_it() -> None:
    finding = found(tree(step("a", 1, 2, "ok", "ok"), step("b", 1, 2)))["retries"]
    assert str(finding["evidence"]).endswith("mostly because the pattern could not use its answer")
    assert "fallback" not in str(finding["suggestion"])


def test_steps_that_had_to_be_tried_again_are_named_with_what_helps() -> None:
    finding = found(tree(step("a", 1, 2, "schema", "ok"), step("b", 1, 2)))["retries"]
    assert finding["targets"] == ["agent:a"]
    assert "contract" in json_text(finding["suggestion"])


def test_work_that_never_overlapped_is_named() -> None:
    in_a_row = tree(step("a", 1, 2), step("b", 4, 2))
    assert found(in_a_row)["unused_parallelism"]["targets"] == ["agent:a", "agent:b"]
    assert "unused_parallelism" not in found(in_a_row, tree(step("a", 1, 5), step("b", 2, 2)))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("sequential", "concurrent"),
        ("supervisor", "`after`"),
        ("plan_execute", "`after`"),
        ("concurrent", "limits.concurrency"),
        ("event_driven", "ask for several tasks at once"),
        ("router", ""),
        ("mesh", ""),
        ("reflection", ""),
    ],
)
def test_what_helps_against_work_that_never_overlapped_fits_the_pattern(pattern: str, words: str) -> None:
    in_a_row = tree(step("a", 1, 2), step("b", 4, 2))
    runs = [replace(in_a_row, run=replace(in_a_row.run, spec={"pattern": pattern}))] * 3
    said = found(*runs)
    if not words:
        assert "unused_parallelism" not in said
        return
    suggestion = json_text(said["unused_parallelism"]["suggestion"])
    assert words in suggestion
    assert ("`after`" in suggestion) is (words == "`after`")


def test_whoever_takes_most_of_the_time_and_whatever_stopped_runs_is_named() -> None:
    said = found(tree(step("a", 1, 20), step("b", 1, 2), step("c", 1, 2, "budget")))
    assert said["bottleneck"]["targets"] == ["agent:a"]
    assert said["over_budget"]["targets"] == ["agent:c"]


def test_a_record_without_anything_to_say_says_nothing() -> None:
    assert on_record([tree(step("a", 1, 2), step("b", 1, 2))], {}, {}) == {"runs": 1, "findings": [], "warnings": []}


def test_workers_that_no_run_gave_anything_are_named_once_there_are_enough_runs() -> None:
    used = tree(step("a", 1, 2))
    settings: JsonObject = {"agents": ["a", "b"], "tools": ["orders/find"], "workflows": ["other"]}
    latest = replace(used, run=replace(used.run, spec={"settings": settings}))
    finding = found(latest, used, used, used, used)["never_used"]
    assert finding["targets"] == ["agent:b", "tool:orders/find", "workflow:other"]
    assert "in 5 runs" in json_text(finding["evidence"])
    assert "never_used" not in found(latest, used, used, used)
    assert "never_used" not in found(*[tree(step("a", 1, 2))] * 5), "of a plug-in's workers nobody knows"


def test_tools_that_an_agent_may_call_and_never_called_are_named() -> None:
    runs = [tree(step("a", 1, 2), step("b", 1, 2)) for _ in range(5)]
    granted = {"agent:a": frozenset({"tool:o/x", "tool:o/y"}), "agent:b": frozenset({"tool:o/x"})}
    called = {"agent:a": frozenset({"tool:o/x"}), "agent:b": frozenset({"tool:o/x"})}
    [finding] = map(json_object, json_list(on_record(runs, called, granted)["findings"]))
    assert (finding["what"], finding["targets"]) == ("never_used", ["agent:a", "tool:o/y"])
    assert on_record(runs[:4], called, granted)["findings"] == []


def test_agents_always_in_a_row_that_may_call_the_same_are_warned_of_unless_that_is_found_already() -> None:
    runs = [tree(step("a", 1, 2), step("b", 4, 2)) for _ in range(3)]
    shared = frozenset({"tool:orders/find"})
    granted = {"agent:a": shared, "agent:b": shared}
    assert "agent:a and agent:b are always called one after the other" in str(on_record(runs, {}, granted)["warnings"])
    both = on_record(runs, granted, granted)
    assert "sequential_and_sharing" in str(both["findings"])
    assert both["warnings"] == []


def test_what_whoever_works_for_a_run_may_call_is_no_sign_that_two_agents_are_one() -> None:
    runs = [tree(step("a", 1, 2), step("b", 4, 2)) for _ in range(5)]
    of_run = frozenset({"tool:run/claim", "tool:run/fetch_result"})
    granted = {"agent:a": of_run | {"tool:orders/find"}, "agent:b": of_run}
    said = on_record(runs, {"agent:a": granted["agent:a"], "agent:b": of_run}, granted)
    assert said["warnings"] == []
    assert [json_object(each)["what"] for each in json_list(said["findings"])] == ["unused_parallelism"]


def test_what_an_agent_may_call_counts_and_not_what_it_called() -> None:
    runs = [tree(step("a", 1, 2))]
    many = frozenset(f"tool:o/{number}" for number in range(21))
    [warning] = json_list(on_record(runs, {}, {"agent:a": many})["warnings"])
    assert "agent:a may call 21 tools" in str(warning)
    assert on_record(runs, {"agent:a": many}, {})["warnings"] == []
