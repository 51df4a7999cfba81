"""The section `workflows`: what it grants, what it refuses, what a run keeps of it."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.config.schema import json_schema
from gateway.core.json import json_object
from gateway.orchestration.settings.workflow import WorkflowSettings, keys_from, limits_from, with_buses


def test_a_workflow_may_call_exactly_what_it_names() -> None:
    settings = WorkflowSettings.model_validate(
        {
            "pattern": "supervisor",
            "planner": "triage",
            "synthesiser": "word",
            "agents": ["refunds"],
            "tools": ["orders/find"],
            "workflows": ["other"],
            "fallback": {"refunds": "refunds-b", "orders/find": "archive/find"},
            "plan": [{"id": "a", "agent": "scheduling"}],
            "stages": [{"tool": "orders/refund", "undo": {"tool": "orders/undo"}}],
        }
    )
    assert settings.targets == {
        "agent:triage",
        "agent:word",
        "agent:refunds",
        "agent:refunds-b",
        "agent:scheduling",
        "tool:orders/find",
        "tool:archive/find",
        "tool:orders/refund",
        "tool:orders/undo",
        "workflow:other",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"pattern": "p", "plannr": "x"},
        {"pattern": "p", "plan": [{"id": "a b", "agent": "x"}]},
        {"pattern": "p", "plan": [{"id": "a"}]},
        {"pattern": "p", "stages": [{"agent": "a", "tool": "b/c"}]},
        {"pattern": "p", "stages": [{"agent": "a", "output_schema": {"typ": "object"}}]},
        {"pattern": "p", "limits": {"max_rounds": 11}},
        {"pattern": "p", "limits": {"deadline_s": 0}},
        {"pattern": "p", "limits": {"timeout": 3}},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WorkflowSettings.model_validate(wrong)


def test_limits_have_the_defaults_the_patterns_are_known_for() -> None:
    limits = WorkflowSettings(pattern="p").limits
    assert (limits.max_rounds, limits.max_depth, limits.concurrency) == (2, None, 4)
    assert limits.deadline_s is None


def test_a_run_keeps_what_was_set_and_reads_it_back() -> None:
    settings = WorkflowSettings.model_validate(
        {
            "pattern": "p",
            "limits": {"cost_usd": "1.5", "max_rounds": 3},
            "scratchpad": {"price": {"schema": {"type": "number"}, "writers": ["a"]}},
        }
    )
    kept = json.loads(json.dumps(settings.to_json()))
    assert kept == {
        "pattern": "p",
        "limits": {"cost_usd": "1.5", "max_rounds": 3},
        "scratchpad": {"price": {"schema": {"type": "number"}, "writers": ["a"]}},
    }
    assert limits_from(kept) == settings.limits
    assert keys_from(kept) == settings.scratchpad


def test_topics_of_its_bus_are_workers_of_an_event_driven_workflow_as_far_as_it_says_nothing_else_of_them() -> None:
    workers = {"lab/sum": {"topics": ["add.*"], "concurrency": 2}}
    settings = {"pattern": "event_driven", "tools": ["x/y"], "event_driven": {"bus": "lab", "workers": workers}}
    found = with_buses({"study": WorkflowSettings.model_validate(settings)}, {"lab": ["sum", "read"]})["study"]
    assert found.tools == ("x/y", "lab/read", "lab/sum")
    assert found.event_driven.workers["lab/read"].topics == ("read",)
    assert found.event_driven.workers["lab/sum"].topics == ("add.*",)
    assert {"tool:lab/read", "tool:lab/sum"} <= found.targets


def test_what_starts_a_workflow_is_no_part_of_the_version_its_runs_keep() -> None:
    start = {"bus": "mail", "topic": "orders", "principal": "mailroom"}
    plain, started = (
        WorkflowSettings.model_validate({"pattern": "p", **more}) for more in ({}, {"started_by": [start]})
    )
    assert plain.to_json() == started.to_json()


def test_every_setting_is_described_in_its_json_schema() -> None:
    schema = json_schema({"workflows": TypeAdapter(dict[str, WorkflowSettings])})
    undescribed = [
        f"{model}.{name}"
        for model, shape in json_object(schema["$defs"]).items()
        for name, field in json_object(json_object(shape).get("properties")).items()
        if not json_object(field).get("description")
    ]
    assert undescribed == []
