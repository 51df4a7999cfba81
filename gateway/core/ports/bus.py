"""A message bus: what is published waits until somebody is done with it. Knows no broker and no encoding."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from gateway.core.json import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message."""

    id: str
    """Tells it from every other of its topic; published again, or handed out again, it is the same message."""
    topic: str
    body: Json
    """None where it could not be read; `broken` says why."""
    reply_to: str = ""
    """Topic on which an answer is expected, under the same id; empty for none."""
    traceparent: str = ""
    """W3C trace context of whoever published it."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    correlation_id: str = ""
    """Id of what it answers, where that is not its own."""
    raw: bytes = b""
    """The body as it came; empty where it never left the process."""
    broken: str = ""
    """Why the body could not be read; empty where it could."""


Handler: TypeAlias = Callable[[Message], Awaitable[None]]
"""Returns once it is done with the message. What it raises means that it is not: the message comes again."""


class Bus(Protocol):
    """One broker, or one in memory. Used by many tasks at once, of one event loop."""

    async def open(self) -> None:
        """Connect; idempotent. Raises: Unavailable."""
        ...

    async def prepare(self, topic: str) -> None:
        """See to it that what is published on a topic waits for its workers, also before the first of them comes.

        Raises: Unavailable.
        """
        ...

    async def keep(self, topic: str) -> None:
        """See to it that what is published on a topic is kept for those who follow it, also before the first does.

        Raises: Unavailable.
        """
        ...

    async def publish(self, message: Message) -> None:
        """Have a message on the bus, safely. An id that was published on this topic lately is left as it is.

        Raises: Exhausted: too many messages wait on the topic; Unavailable.
        """
        ...

    async def work(self, topic: str, group: str, handler: Handler) -> None:
        """Handle a topic's messages, shared with everybody else in the group, until canceled.

        At least once: a message nobody was done with within its lease, because of what the handler raised or because
        its worker died, is handed out again. In the order of publication as far as the broker keeps one - Kafka does
        within a partition - and except for those that come again.

        Raises: Unavailable.
        """
        ...

    async def follow(self, topic: str, handler: Handler) -> None:
        """Hand over every message that is kept of a topic, in order, and every new one, until canceled; whoever else
        follows gets them too. What the handler raises is logged, and the next one comes.

        Raises: Unavailable.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the broker; bounded; idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BusLimits:
    """What bounds a bus."""

    backlog: int = 1000
    """Messages that may wait on one topic."""
    keep_s: float = 86_400.0
    """How long ids, and messages that are followed, are remembered, seconds."""
    lease_s: float = 60.0
    """How long a worker has for a message before another gets it, seconds."""
    group: str = "drawbridge"
    """Name of the consumer group under which workers share a topic."""


class BusType(Protocol):
    """What the entry points `gateway.buses` name, by the scheme of their URLs."""

    def __call__(self, url: str, limits: BusLimits, /) -> Bus:
        """A bus that is not open yet. Raises: InvalidRequest: the address is none."""
        ...
