"""The block `reflection` of a workflow's settings."""

from pydantic import BaseModel, ConfigDict, Field

from gateway.orchestration.settings.targets import VerifySettings, Weight


class ReflectionSettings(BaseModel):
    """How long work is improved, and what it is held to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(default=0.8, ge=0, le=1)
    """The score from which it is good enough."""
    rubric: dict[str, Weight] = Field(default_factory=dict[str, Weight])
    """Criteria and what they weigh: the critic scores each, by default the work as a whole."""
    verify: tuple[VerifySettings, ...] = ()
    """What of the work is looked up; what cannot be resolved is a finding, whatever the critic says."""
    replans: int = Field(default=1, ge=0, le=5)
    """How often the goal checker may have the work begun anew."""
