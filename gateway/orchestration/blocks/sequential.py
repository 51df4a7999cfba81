"""The block `sequential` of a workflow's settings."""

from pydantic import BaseModel, ConfigDict


class SequentialSettings(BaseModel):
    """How stages are worked off."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
