"""The block `supervisor` of a workflow's settings."""

from pydantic import BaseModel, ConfigDict

from gateway.orchestration.settings.targets import Shown


class SupervisorSettings(BaseModel):
    """How work is handed out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Shown | None = None
    """What workers are told of the original task, where a fixed plan does not say: `full`, `summary`, `none`, or
    fields. A planner cannot show them more."""
    claims: tuple[str, ...] = ()
    """Outside resources a planner may have its steps claim: `account:$task.account`, or `account:*` for all that begin
    so; by default none."""
