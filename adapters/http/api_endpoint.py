"""What one endpoint of the REST API is. Knows none of them."""

from dataclasses import dataclass
from typing import Literal

from gateway.core.json import Json, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    name: str
    type: Literal["string", "integer"] = "string"
    description: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    id: str
    """Operation id; the name of its handler."""
    method: Literal["GET", "POST", "DELETE"]
    path: str
    """Below `PREFIX`."""
    summary: str
    query: tuple[Query, ...] = ()
    body: dict[str, Json] | None = None
    """JSON Schema of the request body."""
    status: int = 200
    media_type: str = "application/json"
    public: bool = False
    """Answered without a credential."""
    for_everybody: bool = False
    """Whoever is identified may ask; what they see and do depends on who they are."""


def object_of(properties: dict[str, Json], *required: str) -> JsonObject:
    return {
        "type": "object",
        "properties": properties,
        "required": [*required],
        "additionalProperties": False,
    }
