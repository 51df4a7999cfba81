"""The entries of `started_by` in a workflow's settings: which messages start its runs."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

TopicName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,59}$")]


class StartSettings(BaseModel):
    """One topic, each message of which starts a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bus: str
    """Bus by which the messages come."""
    topic: str
    """One of its topics; what it says of `input_schema` counts for messages as well."""
    principal: str
    """Who its runs act as, whatever a message says: a name of the section `principals`."""
    answers_to: TopicName | None = None
    """Topic of the same bus on which the end of each run is told, once."""
    concurrency: int = Field(default=16, ge=1, le=1000)
    """Runs of it under way at once, of all gateways on the same storage; further messages wait where they are."""
    body_bytes: int = Field(default=262_144, ge=1)
    """Largest body of a message, bytes."""
    patience_s: float = Field(default=3600.0, gt=0)
    """How long a message is tried again that cannot be taken in at the moment, seconds; then it is a dead letter."""
