"""The block `event_driven` of a workflow's settings."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

TOPIC = r"[a-z0-9._-]{1,60}"
Topic = Annotated[str, Field(pattern=f"^{TOPIC}$")]
MOST_AT_ONCE = 64
TopicPattern = Annotated[str, Field(pattern=r"^[a-z0-9._*-]{1,60}$")]


class SubscriptionSettings(BaseModel):
    """What one worker takes on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topics: tuple[TopicPattern, ...] = ()
    """Topics of its tasks, `find`, `find.*`; without any, those that are called like a skill of its card."""
    concurrency: int = Field(default=1, ge=1, le=MOST_AT_ONCE)
    """Tasks it works on at once."""


class FirstTaskSettings(BaseModel):
    """A task that is there from the beginning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: Topic
    """Who subscribes to it gets the task."""
    key: str = Field(default="", max_length=100)
    """Tells it from others; by default it is told by topic and input."""
    input: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """What the worker is given beside the request; `$task.order` is what the request says."""


class EventDrivenSettings(BaseModel):
    """How tasks are published and taken on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: dict[str, SubscriptionSettings] = Field(default_factory=dict[str, SubscriptionSettings])
    """What a worker takes on, by its slug or `SERVER/TOOL`; those not named here go by their skills."""
    bus: str = ""
    """Message bus whose topics are workers too: a task of that topic goes to whoever works on it there."""
    first: tuple[FirstTaskSettings, ...] = ()
    """Tasks to begin with; by default the request itself, under the topic `request`."""
    to_each: tuple[TopicPattern, ...] = ()
    """Topics of which every subscriber gets each task; of others one does."""
    queue: int = Field(default=100, ge=1, le=1000)
    """Tasks that may wait; what is published beyond that is refused."""
    tasks: int = Field(default=200, ge=1, le=1000)
    """Tasks a run may have in all."""
    deliveries: int = Field(default=3, ge=1, le=10)
    """How often a task is handed out before it is given up."""
    lease_s: float | None = Field(default=None, gt=0)
    """How long a worker has for a task, seconds; by default what `limits.timeout_s` says."""
    check_after: int = Field(default=5, ge=0)
    """Findings after which a goal checker that is an agent is asked, beside when nothing is left to do; 0 for never."""
