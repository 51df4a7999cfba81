"""The block `router` of a workflow's settings."""

from pydantic import BaseModel, ConfigDict


class RouterSettings(BaseModel):
    """Where requests go."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
