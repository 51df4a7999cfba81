"""The block `mesh` of a workflow's settings."""

from pydantic import BaseModel, ConfigDict, Field


class BidWeights(BaseModel):
    """What counts how much when a request is awarded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float = Field(default=1.0, ge=0)
    """How well a peer expects to do it."""
    cost: float = Field(default=0.25, ge=0)
    """What it asks, beside the dearest bid."""
    eta: float = Field(default=0.25, ge=0)
    """How long it would take, beside the slowest bid."""


class MeshSettings(BaseModel):
    """How peers hand on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entry: str = ""
    """Slug of the peer that is asked first; without one the peers bid for the request."""
    peers: dict[str, tuple[str, ...]] = Field(default_factory=dict[str, "tuple[str, ...]"])
    """What a peer can do, by its slug; of others their cards tell."""
    hops: int = Field(default=5, ge=0, le=20)
    """How often a request may be handed on."""
    bid_timeout_s: float = Field(default=10.0, gt=0)
    """Longest a bid may take, seconds; who is late does not bid."""
    alike: float = Field(default=0.8, gt=0, le=1)
    """From this share of common words on, a request counts as one that the same peer was asked before."""
    weights: BidWeights = BidWeights()
    """What counts how much when a request is awarded."""
