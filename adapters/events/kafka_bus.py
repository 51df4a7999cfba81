"""Kafka behind the bus: a topic a topic, a consumer group for those who share it.

Kafka knows no ids and refuses nothing: an id published twice by two processes is twice there, and what waits is bounded
by the broker's own retention alone. Messages keep their order within a partition. One whose worker died comes again
after a rebalance.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from faststream.kafka import KafkaBroker

from adapters.events.faststream_bus import FaststreamBus, refuse_scheme, subscribing
from gateway.core.ports.bus import BusLimits, Message


class KafkaBus(FaststreamBus):
    """See `Bus`."""

    name = "Kafka"
    failures = (*FaststreamBus.failures, KafkaError)

    def __init__(self, url: str, limits: BusLimits) -> None:
        """`kafka://host:port`, several separated by commas. Raises: InvalidRequest."""
        servers = refuse_scheme(url, "kafka").removeprefix("kafka://").strip("/").split(",")
        super().__init__(KafkaBroker(servers, logger=None, acks="all"), limits)
        self._servers = servers

    async def start(self) -> None:
        # Asked first by a client of its own: FastStream leaves a producer behind that could not start.
        probe = AIOKafkaClient(bootstrap_servers=",".join(self._servers))
        try:
            await probe.bootstrap()
        finally:
            await probe.close()
        await super().start()

    async def declare(self, topic: str) -> None:
        admin: Any = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await admin.start()
        try:
            if admin._client.cluster.controller is None:
                return  # a cluster without one, as test doubles are, makes topics by itself
            said = await admin.create_topics([NewTopic(name=topic, num_partitions=1, replication_factor=1)])
            for _, code, *_ in said.topic_errors:
                if code and not issubclass(for_code(code), TopicAlreadyExistsError):
                    raise for_code(code)
        finally:
            await admin.close()

    async def declare_kept(self, topic: str) -> None:
        await self.declare(topic)

    async def send(self, message: Message) -> None:
        await self.broker.publish(
            message.body,
            message.topic,
            key=message.id.encode(),
            headers=self.headers_of(message),
            correlation_id=message.correlation_id or message.id,
        )

    def workers(self, topic: str, group: str) -> list[Any]:
        return [
            self.broker.subscriber(topic, group_id=group, auto_offset_reset="earliest", parser=_parsed, **subscribing())
        ]

    def place_of(self, came: Any) -> str:
        raw = came.raw_message
        return f"at-{raw.partition}-{raw.offset}"

    def follower(self, topic: str) -> Any:
        return self.broker.subscriber(topic, auto_offset_reset="earliest", parser=_parsed, **subscribing())


async def _parsed(record: Any, parse: Callable[[Any], Awaitable[Any]]) -> Any:
    """A record as FastStream's parser reads it, whatever its headers hold: what it cannot read comes for ever."""
    headers = [(name, (value or b"").decode(errors="replace").encode()) for name, value in record.headers]
    object.__setattr__(record, "headers", tuple(headers))
    return await parse(record)
