"""One suite for every bus: the one in memory, Redis Streams, NATS JetStream, and Kafka as far as it goes."""

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from anyio.abc import TaskGroup

from adapters.events import redis_bus
from adapters.events.embedded import EmbeddedBus
from gateway.app.buses import bus_from
from gateway.core.errors import Exhausted, InvalidRequest, Unavailable
from gateway.core.json import Json
from gateway.core.ports.bus import Bus, BusLimits, Message
from tests.brokers import kafka, nats, nats_client, put_by_hand, redis_client, valkey

pytestmark = pytest.mark.anyio

LIMITS = BusLimits(backlog=5, lease_s=2.0)
PATIENT = replace(LIMITS, lease_s=60.0)
"""Where a message must come once: whoever is held up for longer than the lease has it taken away, rightly."""
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Broker:
    """Where several processes meet."""

    kind: str
    url: str
    topic: str = field(default_factory=lambda: f"t-{uuid4().hex[:12]}")
    limits: BusLimits = LIMITS
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    shared: Bus | None = None

    async def joined(self) -> Bus:
        """As one more process sees it."""
        # A group of its own: on Kafka, members of one group wait for each other, whatever their topics.
        limits = replace(self.limits, group=self.topic)
        if self.kind == "memory":
            self.shared = self.shared or EmbeddedBus(self.url, limits)
            return self.shared
        bus = bus_from(self.url, limits)
        self.stack.push_async_callback(bus.aclose)
        await bus.open()
        return bus

    def message(self, number: int, body: Json = None) -> Message:
        return Message(id=f"{self.topic}-{number}", topic=self.topic, body={"n": number} if body is None else body)


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("nats")
    with valkey() as redis_url, nats(folder) as nats_url, kafka() as kafka_url:
        yield {"memory": "memory:", "redis": redis_url, "nats": nats_url, "kafka": kafka_url}


@pytest.fixture(params=["memory", "redis", "nats", "kafka"])
async def broker(request: pytest.FixtureRequest, urls: dict[str, str]) -> AsyncGenerator[Broker]:
    found = Broker(kind=request.param, url=urls[request.param])
    async with found.stack:
        yield found


@dataclass
class Inbox:
    """What a handler was given."""

    expected: int
    came: list[Message] = field(default_factory=list[Message])
    full: anyio.Event = field(default_factory=anyio.Event)

    async def take(self, message: Message) -> None:
        self.came.append(message)
        if len(self.came) >= self.expected:
            self.full.set()

    @property
    def numbers(self) -> list[Json]:
        return [each.body["n"] if isinstance(each.body, dict) else each.body for each in self.came]

    def numbers_on(self, broker: Broker) -> list[Json]:
        """In order, where the broker keeps one: the Kafka cluster makes topics of several partitions."""
        return sorted(self.numbers, key=str) if broker.kind == "kafka" else self.numbers


@asynccontextmanager
async def at_work() -> AsyncGenerator[TaskGroup]:
    """A place for workers; they end with the block."""
    with anyio.fail_after(120):
        async with anyio.create_task_group() as group:
            yield group
            group.cancel_scope.cancel()


async def test_a_message_comes_as_it_was_published(broker: Broker) -> None:
    bus, inbox = await broker.joined(), Inbox(1)
    await bus.prepare(broker.topic)
    sent = Message(
        id=f"{broker.topic}-x",
        topic=broker.topic,
        body={"text": "ä", "n": [1, 2.5, None, True]},
        reply_to="answers",
        traceparent=TRACE,
        headers={"x-tenant": "default"},
    )
    async with at_work() as group:
        group.start_soon(bus.work, broker.topic, broker.topic, inbox.take)
        await bus.publish(sent)
        await inbox.full.wait()
    [came] = inbox.came
    assert (came.id, came.topic, came.body) == (sent.id, sent.topic, sent.body)
    assert (came.reply_to, came.traceparent) == ("answers", TRACE)
    assert came.headers["x-tenant"] == "default"


async def test_what_was_published_before_the_first_worker_came_waits_in_order(broker: Broker) -> None:
    broker.limits = PATIENT
    bus, inbox = await broker.joined(), Inbox(4)
    await bus.prepare(broker.topic)
    for number in range(4):
        await bus.publish(broker.message(number))
    async with at_work() as group:
        group.start_soon((await broker.joined()).work, broker.topic, broker.topic, inbox.take)
        await inbox.full.wait()
    assert inbox.numbers_on(broker) == [0, 1, 2, 3]


async def test_a_message_a_worker_was_not_done_with_comes_again(broker: Broker) -> None:
    bus, inbox = await broker.joined(), Inbox(3)
    await bus.prepare(broker.topic)
    failed: list[str] = []

    async def fails_once(message: Message) -> None:
        if not failed:
            failed.append(message.id)
            raise RuntimeError("not now")
        await inbox.take(message)

    for number in range(3):
        await bus.publish(broker.message(number))
    async with at_work() as group:
        group.start_soon(bus.work, broker.topic, broker.topic, fails_once)
        await inbox.full.wait()
    assert sorted(map(str, inbox.numbers)) == ["0", "1", "2"]


async def test_a_message_whose_worker_died_goes_to_another(broker: Broker) -> None:
    bus, inbox, begun = await broker.joined(), Inbox(1), anyio.Event()
    await bus.prepare(broker.topic)

    async def dies(message: Message) -> None:
        begun.set()
        await anyio.sleep_forever()

    await bus.publish(broker.message(1))
    async with at_work() as group:
        with anyio.CancelScope() as dying:
            async with anyio.create_task_group() as inner:
                inner.start_soon((await broker.joined()).work, broker.topic, broker.topic, dies)
                await begun.wait()
                dying.cancel()
        group.start_soon((await broker.joined()).work, broker.topic, broker.topic, inbox.take)
        await inbox.full.wait()
    assert inbox.numbers == [1]


async def test_those_who_share_a_topic_get_each_message_once(broker: Broker) -> None:
    if broker.kind == "kafka":
        pytest.skip("the cluster for tests refuses a group of two (SyncGroup)")
    broker.limits = PATIENT
    bus, inbox = await broker.joined(), Inbox(5)
    await bus.prepare(broker.topic)
    async with at_work() as group:
        for _ in range(2):
            group.start_soon((await broker.joined()).work, broker.topic, broker.topic, inbox.take)
        for number in range(5):
            await bus.publish(broker.message(number))
        await inbox.full.wait()
    assert sorted(map(str, inbox.numbers)) == ["0", "1", "2", "3", "4"]


async def test_an_id_counts_once_whichever_process_publishes_it(broker: Broker) -> None:
    if broker.kind == "kafka":
        pytest.skip("Kafka knows no ids: README says so")
    broker.limits = PATIENT
    bus, inbox = await broker.joined(), Inbox(2)
    await bus.prepare(broker.topic)
    await bus.publish(broker.message(1))
    await bus.publish(broker.message(1))
    await (await broker.joined()).publish(broker.message(1))
    await bus.publish(broker.message(2))
    async with at_work() as group:
        group.start_soon(bus.work, broker.topic, broker.topic, inbox.take)
        await inbox.full.wait()
    assert inbox.numbers_on(broker) == [1, 2]


async def test_an_id_counts_once_when_several_publish_it_at_the_same_moment(
    urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_bus, "BEGUN_MS", 60_000)
    broker = Broker(kind="redis", url=urls["redis"])
    async with broker.stack, redis_client(broker.url) as client:
        several = [await broker.joined() for _ in range(6)]
        for bus in several:
            # All of them connected: nobody is done before the others have begun.
            await bus.prepare(broker.topic)
        with anyio.fail_after(120):
            async with anyio.create_task_group() as publishing:
                for bus in several:
                    publishing.start_soon(bus.publish, broker.message(1))
        assert await client.xlen(broker.topic) == 1


async def test_a_message_whose_publisher_died_at_it_is_added_by_the_next(urls: dict[str, str]) -> None:
    broker = Broker(kind="redis", url=urls["redis"])
    async with broker.stack, redis_client(broker.url) as client:
        bus, inbox = await broker.joined(), Inbox(1)
        await bus.prepare(broker.topic)
        await client.set(f"drawbridge:{broker.topic}:{broker.message(1).id}", b"begun", px=300)
        async with at_work() as group:
            group.start_soon(bus.work, broker.topic, broker.topic, inbox.take)
            await bus.publish(broker.message(1))
            await inbox.full.wait()
    assert inbox.numbers == [1]


async def test_an_id_counts_once_for_a_process_on_kafka_too(broker: Broker) -> None:
    broker.limits = PATIENT
    bus, inbox = await broker.joined(), Inbox(2)
    await bus.prepare(broker.topic)
    for number in (1, 1, 2):
        await bus.publish(broker.message(number))
    async with at_work() as group:
        group.start_soon(bus.work, broker.topic, broker.topic, inbox.take)
        await inbox.full.wait()
    assert inbox.numbers_on(broker) == [1, 2]


async def test_what_is_too_much_is_refused_until_there_is_room(broker: Broker) -> None:
    if broker.kind == "kafka":
        pytest.skip("Kafka refuses nothing: README says so")
    bus, inbox = await broker.joined(), Inbox(5)
    await bus.prepare(broker.topic)
    for number in range(5):
        await bus.publish(broker.message(number))
    with pytest.raises(Exhausted) as caught:
        await bus.publish(broker.message(5))
    assert caught.value.detail["limit"] == "backlog"
    async with at_work() as group:
        group.start_soon(bus.work, broker.topic, broker.topic, inbox.take)
        await inbox.full.wait()
        while True:
            try:
                await bus.publish(broker.message(5))
                break
            except Exhausted:
                await anyio.lowlevel.checkpoint()


async def test_everybody_who_follows_gets_what_is_kept_and_what_is_new(broker: Broker) -> None:
    bus, early, late = await broker.joined(), Inbox(3), Inbox(3)
    await bus.keep(broker.topic)
    async with at_work() as group:
        group.start_soon(bus.follow, broker.topic, early.take)
        follower = await broker.joined()
        await bus.publish(broker.message(1))
        await bus.publish(broker.message(2))
        group.start_soon(follower.follow, broker.topic, late.take)
        await bus.publish(broker.message(3))
        await early.full.wait()
        await late.full.wait()
    assert early.numbers_on(broker) == [1, 2, 3]
    assert late.numbers_on(broker) == [1, 2, 3]


async def test_an_answer_has_an_id_of_its_own_and_the_id_of_what_it_answers(broker: Broker) -> None:
    bus, inbox = await broker.joined(), Inbox(1)
    await bus.prepare(broker.topic)
    sent = replace(broker.message(1), correlation_id="asked")
    async with at_work() as group:
        group.start_soon(bus.work, broker.topic, broker.topic, inbox.take)
        await bus.publish(sent)
        await inbox.full.wait()
    [came] = inbox.came
    assert (came.id, came.correlation_id) == (sent.id, "asked")


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe", b"", b"[1"])
async def test_a_body_nobody_can_read_comes_once_with_the_reason_and_blocks_nobody(broker: Broker, raw: bytes) -> None:
    if broker.kind == "memory":
        pytest.skip("nothing gets on to it that is no message")
    bus, inbox = await broker.joined(), Inbox(2)
    await bus.prepare(broker.topic)
    await put_by_hand(broker.url, broker.topic, raw)
    await bus.publish(broker.message(2))
    async with at_work() as group:
        group.start_soon(bus.work, broker.topic, broker.topic, inbox.take)
        await inbox.full.wait()
    broken, sound = sorted(inbox.came, key=lambda each: not each.broken)
    assert (broken.body, broken.raw, bool(broken.broken)) == (None, raw, True)
    assert (sound.body, sound.broken) == ({"n": 2}, "")


async def test_a_message_without_an_id_has_the_same_one_each_time_it_comes(broker: Broker) -> None:
    if broker.kind == "memory":
        pytest.skip("nothing gets on to it that has no id")
    bus, inbox = await broker.joined(), Inbox(2)
    await bus.prepare(broker.topic)
    await put_by_hand(broker.url, broker.topic, b'{"n": 1}')

    async def not_done_at_first(message: Message) -> None:
        await inbox.take(message)
        if len(inbox.came) == 1:
            raise RuntimeError("not now")

    async with at_work() as group:
        group.start_soon(bus.work, broker.topic, broker.topic, not_done_at_first)
        await inbox.full.wait()
    first, again = inbox.came
    assert first.id == again.id
    assert first.body == again.body == {"n": 1}


async def test_what_a_worker_was_at_when_it_was_told_to_stop_is_for_the_others(broker: Broker) -> None:
    bus, inbox, begun, told = await broker.joined(), Inbox(1), anyio.Event(), list[str]()
    await bus.prepare(broker.topic)
    await bus.publish(broker.message(1))

    async def is_told(message: Message) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            told.append(message.id)

    async with at_work() as group:
        async with anyio.create_task_group() as inner:
            inner.start_soon((await broker.joined()).work, broker.topic, broker.topic, is_told)
            await begun.wait()
            inner.cancel_scope.cancel()
        assert told == [broker.message(1).id]
        group.start_soon((await broker.joined()).work, broker.topic, broker.topic, inbox.take)
        await inbox.full.wait()


async def test_topics_whose_names_look_alike_are_apart(broker: Broker) -> None:
    if broker.kind == "kafka":
        pytest.skip("a topic is called there what it is called here, and joining takes long")
    bus, inboxes = await broker.joined(), {name: Inbox(expected=1) for name in ("a.b", "a-b")}
    async with anyio.create_task_group() as group:
        for name, inbox in inboxes.items():
            topic = f"{broker.topic}-{name}"
            await bus.prepare(topic)
            await bus.publish(Message(id=name, topic=topic, body=name))
            group.start_soon(bus.work, topic, broker.topic, inbox.take)
        with anyio.fail_after(120):
            for inbox in inboxes.values():
                await inbox.full.wait()
        group.cancel_scope.cancel()
    assert {name: [each.body for each in inbox.came] for name, inbox in inboxes.items()} == {
        "a.b": ["a.b"],
        "a-b": ["a-b"],
    }


async def test_work_on_a_stream_that_is_taken_away_ends_so_that_it_can_begin_again(urls: dict[str, str]) -> None:
    broker = Broker(kind="redis", url=urls["redis"])
    async with broker.stack:
        bus, inbox, ended = await broker.joined(), Inbox(1), anyio.Event()
        await bus.prepare(broker.topic)
        await bus.publish(broker.message(1))

        async def work() -> None:
            with pytest.raises(Unavailable):
                await bus.work(broker.topic, broker.topic, inbox.take)
            ended.set()

        async with at_work() as group, redis_client(broker.url) as client:
            group.start_soon(work)
            await inbox.full.wait()
            await client.delete(broker.topic)
            await ended.wait()


async def test_topics_of_a_nats_stream_that_is_somebody_elses_are_worked_on_each_by_itself(
    urls: dict[str, str],
) -> None:
    broker, other = Broker(kind="nats", url=urls["nats"]), f"t-{uuid4().hex[:12]}"
    client = await nats_client(broker.url)
    await client.jetstream().add_stream(name=f"THEIRS-{other}", subjects=[broker.topic, other])
    await client.close()
    async with broker.stack, at_work() as group:
        bus, mine, others = await broker.joined(), Inbox(2), Inbox(1)
        for topic, inbox in ((broker.topic, mine), (other, others)):
            await bus.prepare(topic)
            group.start_soon(bus.work, topic, "drawbridge", inbox.take)
        await bus.publish(broker.message(1))
        await put_by_hand(broker.url, broker.topic, b'{"n": 2}')
        await put_by_hand(broker.url, other, b'{"n": 3}')
        await mine.full.wait()
        await others.full.wait()
    assert (sorted(map(str, mine.numbers)), others.numbers) == (["1", "2"], [3])


@pytest.mark.parametrize("scheme", ["redis", "nats", "kafka"])
async def test_a_broker_that_is_not_there_is_unavailable(scheme: str) -> None:
    bus = bus_from(f"{scheme}://127.0.0.1:1", LIMITS)
    with anyio.fail_after(60), pytest.raises(Unavailable):
        await bus.publish(Message(id="1", topic="t", body={}))
    await bus.aclose()


@pytest.mark.parametrize("url", ["", "redis", "redis://", "amqp://127.0.0.1", "http://x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        bus_from(url, LIMITS)


def test_the_folder_of_a_broker_is_its_own(tmp_path: Path) -> None:
    with nats(tmp_path) as address:
        assert address.startswith("nats://127.0.0.1:")
