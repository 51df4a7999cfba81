"""The block `event_driven` of a workflow's settings."""

from pydantic import BaseModel, ConfigDict


class EventDrivenSettings(BaseModel):
    """Who takes which tasks."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
