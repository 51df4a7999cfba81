"""The block `supervisor` of a workflow's settings."""

from pydantic import BaseModel, ConfigDict


class SupervisorSettings(BaseModel):
    """How work is reviewed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
