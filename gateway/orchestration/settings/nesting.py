"""Workflows that call workflows: how deep that goes, and that it ends. Pure."""

import graphlib
from collections.abc import Mapping

from gateway.core.errors import InvalidRequest
from gateway.orchestration.settings.workflow import WorkflowSettings

LEVELS = 2
"""Of a workflow that calls no other: itself, and workers that delegate no further."""


def with_depth(workflows: Mapping[str, WorkflowSettings]) -> dict[str, WorkflowSettings]:
    """The workflows, each with as many levels as the workflows it names need, where it does not say itself.

    Raises: InvalidRequest: workflows call each other in a circle, or one allows fewer levels than it needs.
    """
    found: dict[str, WorkflowSettings] = {}
    for slug in _innermost_first(workflows):
        settings = workflows[slug]
        inner = [depth_of(found[each]) for each in _called(settings) if each in found]
        needed = 1 + max(inner, default=LEVELS - 1)
        allowed = settings.limits.max_depth
        if allowed is not None and inner and allowed < needed:
            raise InvalidRequest(
                f"workflow {slug}: with limits.max_depth {allowed} it can never call the workflows it names: "
                f"that takes {needed}",
                detail={"path": ["workflows", slug, "limits", "max_depth"]},
            )
        limits = settings.limits.model_copy(update={"max_depth": needed if allowed is None else allowed})
        found[slug] = settings.model_copy(update={"limits": limits})
    return {slug: found[slug] for slug in workflows}


def depth_of(settings: WorkflowSettings) -> int:
    """Levels of orchestration under this workflow."""
    return settings.limits.max_depth or LEVELS


def _innermost_first(workflows: Mapping[str, WorkflowSettings]) -> list[str]:
    graph = {slug: [each for each in _called(settings) if each in workflows] for slug, settings in workflows.items()}
    try:
        return list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1]
        raise InvalidRequest(
            f"workflows call each other in a circle: {' -> '.join(reversed(circle))}",
            detail={"path": ["workflows", circle[0]]},
        ) from error


def _called(settings: WorkflowSettings) -> list[str]:
    return sorted(each.partition(":")[2] for each in settings.targets if each.startswith("workflow:"))
