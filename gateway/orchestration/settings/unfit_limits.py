"""Limits of a workflow that its own settings cannot keep to: what belongs to a part may not be more than the whole has.

Refused when a configuration is checked, and never of a run under way. What a pattern takes at least, it says itself.
"""

from gateway.core.errors import InvalidRequest
from gateway.orchestration.settings.workflow import WorkflowSettings


def refuse_unfit_limits(settings: WorkflowSettings) -> None:
    """Raises: InvalidRequest: a step or a stage has a share of its own that the run has not, or more time."""
    limits = settings.limits
    # A default is no promise: it ends with the run.
    is_said = "timeout_s" in limits.model_fields_set
    if is_said and limits.deadline_s is not None and limits.timeout_s > limits.deadline_s:
        raise InvalidRequest(
            f"a step may take {limits.timeout_s:g} s by limits.timeout_s, and the whole run {limits.deadline_s:g} by "
            "limits.deadline_s",
            detail={"setting": "limits"},
        )
    for number, stage in enumerate(settings.stages):
        for name in ("tokens", "cost_usd"):
            own, whole = getattr(stage, name), getattr(limits, name)
            if own is not None and whole is not None and own > whole:
                raise InvalidRequest(
                    f"stage {stage.name or stage.target} may use {own} by its {name}, and the whole run {whole} by "
                    f"limits.{name}",
                    detail={"setting": "stages", "stage": number},
                )
