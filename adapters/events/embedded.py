"""A bus in memory, for one process: bounded, leased, each id once. What is on it is gone with the process."""

from collections import deque
from dataclasses import dataclass, field

import anyio
import structlog

from gateway.core.errors import Exhausted, Unavailable
from gateway.core.ports.bus import BusLimits, Handler, Message

log = structlog.get_logger(__name__)

IDS_AT_MOST = 100_000
"""Ids remembered of one topic; the oldest are forgotten first."""
AGAIN_AFTER_S = 0.02
"""How soon a message that nobody was done with comes again; twice as long each time in a row, up to a second."""
LONGEST_PAUSE_S = 1.0
KEPT_AT_MOST = 10_000
"""Messages kept of one topic for those who follow it."""


@dataclass(slots=True)
class _Group:
    """Those who share a topic's messages."""

    waiting: deque[Message] = field(default_factory=deque[Message])
    leased: int = 0


@dataclass(slots=True)
class _Topic:
    ids: dict[str, float] = field(default_factory=dict[str, float])
    """With the time at which each was published."""
    kept: list[Message] = field(default_factory=list[Message])
    dropped: int = 0
    """How many that were kept are no longer."""
    groups: dict[str, _Group] = field(default_factory=dict[str, _Group])
    changed: anyio.Event = field(default_factory=anyio.Event)

    def wake(self) -> None:
        changed, self.changed = self.changed, anyio.Event()
        changed.set()


class EmbeddedBus:
    """See `Bus`."""

    def __init__(self, url: str, limits: BusLimits) -> None:
        self._limits = limits
        self._topics: dict[str, _Topic] = {}
        self._closed = False

    async def open(self) -> None:
        self._refuse_closed()

    async def prepare(self, topic: str) -> None:
        self._group(self._topic(topic), self._limits.group)

    async def keep(self, topic: str) -> None:
        self._topic(topic)

    async def publish(self, message: Message) -> None:
        self._refuse_closed()
        topic, now_s = self._topic(message.topic), anyio.current_time()
        published_s = topic.ids.get(message.id)
        if published_s is not None and now_s - published_s < self._limits.keep_s:
            return
        backlog = max((len(group.waiting) + group.leased for group in topic.groups.values()), default=0)
        if backlog >= self._limits.backlog:
            raise Exhausted(
                f"{backlog} messages wait on {message.topic} already", detail={"limit": "backlog"}, retry_after_s=1.0
            )
        topic.ids.pop(message.id, None)
        topic.ids[message.id] = now_s
        while len(topic.ids) > IDS_AT_MOST:
            del topic.ids[next(iter(topic.ids))]
        topic.kept.append(message)
        if len(topic.kept) > KEPT_AT_MOST:
            del topic.kept[0]
            topic.dropped += 1
        for group in topic.groups.values():
            group.waiting.append(message)
        topic.wake()

    async def work(self, topic: str, group: str, handler: Handler) -> None:
        shared = self._topic(topic)
        mine = self._group(shared, group)
        pause_s = AGAIN_AFTER_S
        while True:
            while not mine.waiting:
                await shared.changed.wait()
            message = mine.waiting.popleft()
            mine.leased += 1
            done = False
            try:
                with anyio.move_on_after(self._limits.lease_s):
                    await handler(message)
                    done = True
            except Exception as error:  # noqa: BLE001 - the message is not lost: it comes again
                # A handler's boundary: what it raises says that the message is not done with.
                log.info("a message comes again", topic=topic, message=message.id, reason=type(error).__name__)
            finally:
                mine.leased -= 1
                if not done:
                    mine.waiting.append(message)
                    shared.wake()
            # A worker that fails at once must not keep everybody else from theirs.
            pause_s = AGAIN_AFTER_S if done else min(LONGEST_PAUSE_S, pause_s * 2)
            await anyio.sleep(0 if done else pause_s)

    async def follow(self, topic: str, handler: Handler) -> None:
        shared = self._topic(topic)
        seen = shared.dropped
        while True:
            seen = max(seen, shared.dropped)
            while seen - shared.dropped >= len(shared.kept):
                await shared.changed.wait()
            message = shared.kept[seen - shared.dropped]
            seen += 1
            try:
                await handler(message)
            except Exception:
                # A handler's boundary: the others that follow, and the next messages, have nothing to do with it.
                log.exception("a message was not followed", topic=topic, message=message.id)

    async def aclose(self) -> None:
        self._closed = True

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Unavailable("the bus is closed")

    def _topic(self, name: str) -> _Topic:
        return self._topics.setdefault(name, _Topic())

    def _group(self, topic: _Topic, name: str) -> _Group:
        """The group; what was published before the first of it came waits for it too."""
        group = topic.groups.get(name)
        if group is None:
            group = topic.groups[name] = _Group(waiting=deque(topic.kept))
        return group
