"""The block `concurrent` of a workflow's settings."""

from pydantic import BaseModel, ConfigDict


class ConcurrentSettings(BaseModel):
    """How results of many are made one."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
