"""Redis Streams (and Valkey) behind the bus: a stream a topic, a consumer group for those who share it.

A stream keeps what was done with, so what waits is counted by the group: what it has not read, and what it has read and
not acknowledged. An id is marked before its message is added, by one at a time, and again after: a mark that was left
half made by a crash is no reason to believe that the message is there, and gone soon.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import anyio
from faststream.redis import RedisBroker, StreamSub
from redis.exceptions import RedisError, ResponseError

from adapters.events.faststream_bus import FaststreamBus, refuse_scheme, subscribing
from gateway.core.errors import Exhausted
from gateway.core.ports.bus import BusLimits, Message

_ENVELOPE = b"__data__"
"""Field in which FastStream keeps headers and body."""
_BEGUN, _THERE = b"begun", b"there"
BEGUN_MS = 2000
"""How long one may take to add a message before another does."""
POLL_MS = 100
"""How long one look at a stream waits for something to come, milliseconds."""


class RedisBus(FaststreamBus):
    """See `Bus`."""

    name = "Redis"
    failures = (*FaststreamBus.failures, RedisError)

    def __init__(self, url: str, limits: BusLimits) -> None:
        """`redis://` or `rediss://`. Raises: InvalidRequest."""
        silent: Any = None  # FastStream's annotation has no None, which is what switches its own log off
        super().__init__(RedisBroker(refuse_scheme(url, "redis", "rediss"), logger=silent), limits)
        self._consumer = f"{os.getpid()}-{uuid4().hex[:8]}"

    @property
    def _client(self) -> Any:
        return self.broker._connection

    async def declare(self, topic: str) -> None:
        await self._grouped(topic, self.limits.group)

    async def declare_kept(self, topic: str) -> None:
        """A stream keeps everything, up to its length."""

    async def send(self, message: Message) -> None:
        mark = f"drawbridge:{message.topic}:{message.id}"
        if await self._client.get(mark) == _THERE:
            return
        await self._refuse_full(message.topic)
        if not await self._begun(mark):
            return
        await self.broker.publish(
            message.body,
            stream=message.topic,
            maxlen=10 * self.limits.backlog,
            headers=self.headers_of(message),
            correlation_id=message.correlation_id or message.id,
        )
        await self._client.set(mark, _THERE, px=int(self.limits.keep_s * 1000))

    async def _begun(self, mark: str) -> bool:
        """Whether the message is this one's to add. Of several who would at the same moment the others wait for the
        first, and take over from one that has died meanwhile."""
        with anyio.move_on_after(BEGUN_MS / 1000):
            while not await self._client.set(mark, _BEGUN, px=BEGUN_MS, nx=True):
                if await self._client.get(mark) == _THERE:
                    return False
                await anyio.sleep(0.02)
        return True

    def workers(self, topic: str, group: str) -> list[Any]:
        """One for what is new, one for what somebody else has left lying."""
        lease_ms = int(self.limits.lease_s * 1000)
        new = StreamSub(topic, group=group, consumer=self._consumer, polling_interval=POLL_MS, max_records=1)
        left = StreamSub(
            topic, group=group, consumer=f"{self._consumer}-left", polling_interval=POLL_MS, min_idle_time=lease_ms
        )
        return [self.broker.subscriber(stream=each, parser=_parsed, **subscribing()) for each in (new, left)]

    def place_of(self, came: Any) -> str:
        return f"at-{came.raw_message['message_ids'][0].decode()}"

    def follower(self, topic: str) -> Any:
        everything = StreamSub(topic, last_id="0", polling_interval=POLL_MS)
        return self.broker.subscriber(stream=everything, parser=_parsed, **subscribing())

    async def _grouped(self, topic: str, group: str) -> None:
        try:
            await self._client.xgroup_create(topic, group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _refuse_full(self, topic: str) -> None:
        """Raises: Exhausted."""
        if not await self._client.exists(topic):
            return
        groups = await self._client.xinfo_groups(topic)
        backlog = max((int(each["lag"] or 0) + int(each["pending"]) for each in groups), default=0)
        if backlog >= self.limits.backlog:
            raise Exhausted(
                f"{backlog} messages wait on {topic} already", detail={"limit": "backlog"}, retry_after_s=1.0
            )


async def _parsed(entry: Any, parse: Callable[[Any], Awaitable[Any]]) -> Any:
    """An entry as FastStream's parser reads it; of one that somebody else wrote (`XADD TOPIC * data '{…}'`), the field
    `data` is the body, and the others are headers."""
    fields: dict[bytes, bytes] = entry["data"]
    if _ENVELOPE in fields:
        return await parse(entry)
    body = fields.get(b"data", b"")
    came = await parse({**entry, "data": {_ENVELOPE: body or b" "}})
    came.body = body
    came.headers = {
        name.decode(errors="replace"): value.decode(errors="replace")
        for name, value in fields.items()
        if name != b"data"
    }
    came.content_type = came.headers.get("content-type")
    return came
