"""The block `consensus` of a workflow's settings."""

from pydantic import BaseModel, ConfigDict


class ConsensusSettings(BaseModel):
    """How answers are weighed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
