"""The block `reflection` of a workflow's settings."""

from pydantic import BaseModel, ConfigDict


class ReflectionSettings(BaseModel):
    """When an answer is good enough."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
