"""The block `plan_execute` of a workflow's settings."""

from pydantic import BaseModel, ConfigDict


class PlanExecuteSettings(BaseModel):
    """Which tier does what."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
