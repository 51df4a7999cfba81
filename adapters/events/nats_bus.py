"""NATS JetStream behind the bus: a stream a topic, a durable pull consumer for those who share it.

JetStream does most of it by itself: it knows ids for as long as its window says, refuses what is too much, and hands
out again what was not acknowledged in time. A topic that is worked on loses what was done with; one that is followed
keeps it for as long as the limits say.
"""

from typing import Any

from faststream.nats import NatsBroker, PullSub
from nats.errors import Error as NatsError
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StreamConfig,
)
from nats.js.errors import APIError, BadRequestError, NotFoundError

from adapters.events.faststream_bus import CONNECT_WITHIN_S, FaststreamBus, refuse_scheme, subscribing
from gateway.core.errors import Exhausted
from gateway.core.ports.bus import BusLimits, Message

_FULL = 10077
"""JetStream: maximum messages exceeded."""
_ID = "Nats-Msg-Id"


class NatsBus(FaststreamBus):
    """See `Bus`."""

    name = "NATS"
    failures = (*FaststreamBus.failures, NatsError)

    def __init__(self, url: str, limits: BusLimits) -> None:
        """`nats://` or `tls://`. Raises: InvalidRequest."""
        broker = NatsBroker(
            refuse_scheme(url, "nats", "tls"),
            logger=None,
            connect_timeout=int(CONNECT_WITHIN_S),
            max_reconnect_attempts=-1,
            allow_reconnect=True,
        )
        super().__init__(broker, limits)
        self._streams: dict[str, str] = {}
        """By topic, streams that were there under names of their own."""

    async def declare(self, topic: str) -> None:
        await self._stream(topic, RetentionPolicy.WORK_QUEUE)

    async def declare_kept(self, topic: str) -> None:
        await self._stream(topic, RetentionPolicy.LIMITS)

    async def send(self, message: Message) -> None:
        try:
            await self.broker.publish(
                message.body,
                message.topic,
                headers={**self.headers_of(message), _ID: message.id},
                correlation_id=message.correlation_id or message.id,
                stream=self._named(message.topic),
                timeout=CONNECT_WITHIN_S,
            )
        except APIError as error:
            if error.err_code == _FULL:
                raise Exhausted(
                    f"{self.limits.backlog} messages wait on {message.topic} already",
                    detail={"limit": "backlog"},
                    retry_after_s=1.0,
                ) from error
            raise

    def workers(self, topic: str, group: str) -> list[Any]:
        config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=self.limits.lease_s)
        subscriber = self.broker.subscriber(
            topic,
            stream=self._named(topic),
            # A stream that is not ours may have several topics, and a consumer has one.
            durable=f"{group}-{stream_name(topic)}" if topic in self._streams else group,
            config=config,
            pull_sub=PullSub(batch_size=1, timeout=1.0),
            **subscribing(),
        )
        return [subscriber]

    def place_of(self, came: Any) -> str:
        said = str(came.headers.get(_ID, ""))
        return said or f"at-{came.raw_message.metadata.sequence.stream}"

    def follower(self, topic: str) -> Any:
        return self.broker.subscriber(
            topic, stream=self._named(topic), deliver_policy=DeliverPolicy.ALL, **subscribing()
        )

    def _named(self, topic: str) -> str:
        return self._streams.get(topic) or stream_name(topic)

    async def _stream(self, topic: str, retention: RetentionPolicy) -> None:
        config = StreamConfig(
            name=stream_name(topic),
            subjects=[topic],
            retention=retention,
            max_msgs=self.limits.backlog if retention is RetentionPolicy.WORK_QUEUE else 10 * self.limits.backlog,
            discard=DiscardPolicy.NEW if retention is RetentionPolicy.WORK_QUEUE else DiscardPolicy.OLD,
            max_age=self.limits.keep_s,
            duplicate_window=min(self.limits.keep_s, 3600.0),
        )
        manager = self.broker.config.connection_state.stream
        try:
            await manager.stream_info(config.name)
        except NotFoundError:
            try:
                await manager.add_stream(config)
            except BadRequestError:
                # Somebody else has made it in this moment, or has one of another name.
                name = await manager.find_stream_name_by_subject(topic)
                if name != config.name:
                    self._streams[topic] = name


def stream_name(topic: str) -> str:
    """JetStream's names of streams have no dots, and topics no equals signs: no two topics share a stream."""
    return topic.replace(".", "=")
