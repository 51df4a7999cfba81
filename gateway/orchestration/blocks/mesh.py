"""The block `mesh` of a workflow's settings."""

from pydantic import BaseModel, ConfigDict


class MeshSettings(BaseModel):
    """How peers hand on."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
