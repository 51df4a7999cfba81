"""The block `sequential` of a workflow's settings."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class BatchSettings(BaseModel):
    """Items that go through the stages one by one, so that the stages overlap."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: str = Field(pattern=r"^\$task(\.[A-Za-z0-9_-]+)+$")
    """Where the items are, `$task.items`; a stage refers to its own as `$item`."""
    queue: int = Field(default=8, ge=1, le=1000)
    """Items that may wait before each stage but the first."""
    overflow: Literal["block", "drop_oldest", "drop_newest"] = "block"
    """When that many wait: the stage before waits too, or the oldest or the newest item is dropped, and named."""
    list_size: int = Field(default=8, ge=1, le=1000)
    """Items at once for a stage that takes lists."""
    max_items: int = Field(default=1000, ge=1, le=100_000)
    """Items of one run; more are refused."""


class SequentialSettings(BaseModel):
    """How items go through the stages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: BatchSettings | None = None
    """Items instead of one task."""
