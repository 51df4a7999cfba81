"""The section `buses` of the configuration: brokers whose topics can be called as tools."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from gateway.core.model import DEFAULT_TENANT

_TOPIC = r"^[a-z0-9][a-z0-9_.-]{0,59}$"
TopicName = Annotated[str, Field(pattern=_TOPIC)]
Tag = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class TopicSettings(BaseModel):
    """One topic, as a tool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    """What its workers do; shown to whoever may call it."""
    input_schema: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """JSON Schema of the arguments; what breaks it is not published."""
    output_schema: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """JSON Schema of the answer."""
    tags: tuple[Tag, ...] = ()
    """For rules about `tag:`; `read` makes it a read."""
    timeout_s: Seconds | None = None
    """Longest one call may wait for its answer, seconds."""


class BusSettings(BaseModel):
    """One broker."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str
    """`redis://…`, `nats://…`, `kafka://…`, `memory:`, or a reference to it where it holds a password."""
    topics: dict[str, TopicSettings] = Field(default_factory=dict[str, TopicSettings])
    """Topics that can be called: `tool:BUS/TOPIC`."""
    replies: TopicName = "drawbridge.replies"
    """Topic on which workers answer, under the id of what they answer."""
    dead_letters: TopicName = "drawbridge.dead"
    """Topic on which messages are kept that can start no run, each with the reason."""
    group: TopicName = "drawbridge"
    """Consumer group under which workers share a topic."""
    backlog: int = Field(default=1000, ge=1)
    """Messages that may wait on one topic; beyond that calls are refused with QUOTA_EXCEEDED. Kafka refuses nothing."""
    lease_s: Seconds = 60.0
    """How long a worker has for a message before another gets it, seconds; of plain FastStream workers their own."""
    keep_s: float = Field(default=86_400.0, ge=60)
    """How long answers and ids are remembered, seconds."""
    tenant: str = DEFAULT_TENANT
    """Whose it is; `*` for everybody's."""
    trust: Literal["trusted", "untrusted"] = "untrusted"
    """`trusted`: its answers, and runs its messages start, are not labelled as an outsider's."""

    @field_validator("topics")
    @classmethod
    def _named_legally(cls, topics: dict[str, TopicSettings]) -> dict[str, TopicSettings]:
        for name in topics:
            if not re.fullmatch(_TOPIC, name):
                raise ValueError(f"{name!r} is no topic: lower case letters, digits, '_', '.' and '-', at most 60")
        return topics
