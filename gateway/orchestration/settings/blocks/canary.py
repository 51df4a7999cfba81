"""The block `canary` of a workflow's settings."""

from pydantic import BaseModel, ConfigDict, Field

from gateway.orchestration.settings.targets import TargetSettings


class CanarySettings(BaseModel):
    """How a new version is tried on a share of conversations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    baseline: TargetSettings | None = None
    """The version that is known to do."""
    candidate: TargetSettings | None = None
    """The version to be tried."""
    share: float = Field(default=0.1, ge=0, le=1)
    """Of conversations that get the candidate; each keeps the version it got."""
    least: int = Field(default=10, ge=1, le=100)
    """Answers of the candidate before it is judged."""
    worse_by: float = Field(default=0.1, ge=0, le=1)
    """How much more often than the baseline it may fail before it is rolled back."""
    window: int = Field(default=50, ge=1, le=200)
    """Latest answers of each that are compared."""
