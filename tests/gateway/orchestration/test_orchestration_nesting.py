"""Workflows that call workflows: levels are counted, circles and budgets that cannot suffice are refused."""

import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject
from gateway.orchestration.orchestrator import check
from gateway.orchestration.settings.nesting import depth_of, with_depth
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.patterns.router.pattern import Router
from gateway.patterns.sequential.pattern import Sequential


def workflow(*called: str, **more: object) -> WorkflowSettings:
    settings: JsonObject = {"pattern": "supervisor", "agents": ["a"], "workflows": [*called], **more}  # pyright: ignore[reportAssignmentType]
    return WorkflowSettings.model_validate(settings)


def test_each_has_as_many_levels_as_what_it_names_needs() -> None:
    found = with_depth({"a": workflow("b", "c"), "b": workflow("c"), "c": workflow(), "d": workflow("gone")})
    assert {slug: depth_of(settings) for slug, settings in found.items()} == {"a": 4, "b": 3, "c": 2, "d": 2}


def test_a_role_or_a_stage_may_be_a_workflow_too() -> None:
    outer = WorkflowSettings.model_validate(
        {"pattern": "supervisor", "agents": ["a"], "planner": {"workflow": "inner"}, "limits": {"calls": 3}}
    )
    assert depth_of(with_depth({"outer": outer, "inner": workflow()})["outer"]) == 3


def test_what_is_said_counts_unless_it_cannot_suffice() -> None:
    assert depth_of(with_depth({"a": workflow(limits={"max_depth": 5})})["a"]) == 5
    with pytest.raises(InvalidRequest, match="takes 3"):
        with_depth({"a": workflow("b", limits={"max_depth": 2}), "b": workflow()})


def test_a_router_needs_not_be_told_how_deep_the_workflows_it_names_go() -> None:
    router = {
        "pattern": "router",
        "workflows": ["inner"],
        "router": {"rules": [{"workflow": "inner", "keywords": ["x"]}]},
    }
    inner = {"pattern": "sequential", "stages": [{"agent": "a"}]}
    workflows = {"outer": WorkflowSettings.model_validate(router), "inner": WorkflowSettings.model_validate(inner)}
    check({"router": Router, "sequential": Sequential}, workflows)


@pytest.mark.parametrize("circle", [{"a": ("a",)}, {"a": ("b",), "b": ("c",), "c": ("a",)}])
def test_circles_are_refused_by_name(circle: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(InvalidRequest, match="in a circle"):
        with_depth({slug: workflow(*called) for slug, called in circle.items()})
