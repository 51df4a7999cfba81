"""Messages of real brokers start runs of real gateways: each one run, whatever is killed, and each end is told once."""

import json
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.from_thread import BlockingPortal

from gateway.app.buses import bus_from
from gateway.core.json import JsonObject, json_object
from gateway.core.ports.bus import Bus, BusLimits, Message
from tests.brokers import nats, put_by_hand, valkey
from tests.e2e.conftest import Serve
from tests.e2e.gateways import Gateway, key_of, operator
from tests.fakes_a2a import Deeds, real_agent
from tests.postgres import PostgresServer

pytestmark = pytest.mark.anyio

MESSAGES = 9
WITHIN_S = 120.0


@pytest.fixture(scope="module")
def deeds() -> Deeds:
    return Deeds()


@pytest.fixture(scope="module")
def agent(portal: BlockingPortal, deeds: Deeds) -> Generator[str]:
    with portal.wrap_async_context_manager(real_agent(deeds)) as url:
        yield url
        portal.call(deeds.release.set)


def configuration(broker: str, agent: str, **more: Any) -> dict[str, Any]:
    contract = {"type": "object", "required": ["message"]}
    start = {"bus": "mail", "topic": "orders", "principal": "mailroom", "answers_to": "done", "concurrency": 3}
    return {
        "buses": {"mail": {"url": broker, "lease_s": 4, "topics": {"orders": {"input_schema": contract}, "other": {}}}},
        "agents": {"helper": {"card": agent}},
        "workflows": {
            "desk": {
                "pattern": "sequential",
                "stages": [{"name": "ask", "agent": "helper", "input": {"instruction": "$task.message"}}],
                "started_by": [start],
            }
        },
        "roles": {"post": {"allow": ["workflow:desk"]}},
        "principals": {"mailroom": {"roles": ["post"], "key": "env:MAILROOM_KEY"}, "nobody": {}},
        "egress": {"allow": ["127.0.0.1"], "ports": []},
        **more,
    }


@pytest.fixture(scope="module")
def redis() -> Generator[str]:
    with valkey() as url:
        yield url


@pytest.fixture(scope="module")
def gateway(serve: Serve, redis: str, agent: str) -> Gateway:
    return serve(configuration(redis, agent))


@dataclass
class Heard:
    """What came on a topic."""

    came: list[Message] = field(default_factory=list[Message])
    news: anyio.Event = field(default_factory=anyio.Event)

    async def take(self, message: Message) -> None:
        self.came.append(message)
        news, self.news = self.news, anyio.Event()
        news.set()

    async def until(self, *names: str) -> list[Message]:
        """What answers the messages of these names, one of each at least."""
        while {*names} - {each.correlation_id for each in self.came}:
            await self.news.wait()
        return [each for each in self.came if each.correlation_id in names]

    async def until_count(self, count: int) -> None:
        while len(self.came) < count:
            await self.news.wait()


@asynccontextmanager
async def outside(broker: str) -> AsyncGenerator[tuple[Bus, Heard, Heard]]:
    """Somebody who publishes, and hears answers and dead letters."""
    bus, done, dead = bus_from(broker, BusLimits()), Heard(), Heard()
    await bus.prepare("orders")
    await bus.keep("done")
    await bus.keep("drawbridge.dead")
    with anyio.fail_after(WITHIN_S):
        async with anyio.create_task_group() as group:
            group.start_soon(bus.follow, "done", done.take)
            group.start_soon(bus.follow, "drawbridge.dead", dead.take)
            yield bus, done, dead
            group.cancel_scope.cancel()
    await bus.aclose()


def order(name: str, text: str) -> Message:
    return Message(id=name, topic="orders", body={"message": text, "data": {"order": name}})


def said(message: Message) -> JsonObject:
    return json_object(message.body)


async def asked_at_least(deeds: Deeds, count: int) -> None:
    while len(deeds.messages) < count:  # noqa: ASYNC110 - another process gets there
        await anyio.sleep(0.02)


async def reloaded(gateway: Gateway) -> None:
    async with operator(gateway) as api:
        assert (await api.api("/reload", method="POST")).status_code == 200


async def runs_of(gateway: Gateway) -> list[dict[str, Any]]:
    async with operator(gateway) as api:
        found: list[dict[str, Any]] = (await api.api("/runs", limit="100")).json()["runs"]
    return found


async def test_after_kill_9_each_message_is_one_run_and_each_end_is_told_once(
    gateway: Gateway, redis: str, portal: BlockingPortal, deeds: Deeds
) -> None:
    async with outside(redis) as (bus, done, dead):
        for number in range(MESSAGES):
            await bus.publish(order(f"m{number}", f"wait for {number}"))
        await put_by_hand(redis, "orders", b"{not json")
        await asked_at_least(deeds, 3)
        await to_thread.run_sync(gateway.kill)
        assert len(deeds.messages) == 3, "more were begun at once than may be"
        await to_thread.run_sync(gateway.start)
        portal.call(deeds.release.set)
        await done.until_count(MESSAGES)
        await dead.until_count(1)
        await bus.publish(order("last", "say something"))
        [last] = await done.until("last")
    assert Counter(each.correlation_id for each in done.came) == {f"m{n}": 1 for n in range(MESSAGES)} | {"last": 1}
    assert {str(said(each)["state"]) for each in done.came} == {"completed"}
    assert str(said(last)["text"]).startswith("done:")
    texts = [part.get("text", "") for each in deeds.messages for part in each["parts"]]
    asked = Counter(text for text in texts if "wait for" in text)
    assert asked == {f"wait for {number}": 1 for number in range(MESSAGES)}
    runs = await runs_of(gateway)
    assert len(runs) == MESSAGES + 1
    assert {run["owner"] for run in runs} == {"mailroom"}
    [letter] = dead.came
    assert said(letter)["body_begins"] == "{not json"


async def test_what_can_be_no_run_is_kept_with_its_reason_and_what_comes_twice_is_one_run(
    gateway: Gateway, redis: str
) -> None:
    before = len(await runs_of(gateway))
    async with outside(redis) as (bus, done, dead):
        await bus.publish(Message(id="bad", topic="orders", body={"words": "no message"}))
        await put_by_hand(redis, "orders", b'{"message": "' + b"x" * 300_000 + b'"}', correlation_id=b"big")
        await put_by_hand(redis, "orders", b'{"message": "say it"}', correlation_id=b"twice")
        await put_by_hand(redis, "orders", b'{"message": "say it"}', correlation_id=b"twice")
        await put_by_hand(redis, "orders", b'{"message": "say another"}', correlation_id=b"twice")
        await bus.publish(order("after", "say more"))
        await done.until("after", "twice")
        await dead.until("bad", "big", "twice")
    reasons = {each.correlation_id: said(each)["said"] for each in dead.came}
    assert "required property" in str(reasons["bad"])
    assert "300015 bytes" in str(reasons["big"])
    assert [each.correlation_id for each in done.came if each.correlation_id == "twice"] == ["twice"]
    assert "another message had the id" in str(reasons["twice"])
    assert len(await runs_of(gateway)) == before + 2


async def test_who_may_not_starts_nothing_and_a_changed_subscription_counts_at_once(
    gateway: Gateway, redis: str
) -> None:
    changed = json.loads(json.dumps(gateway.configuration))
    changed["workflows"]["desk"]["started_by"][0]["principal"] = "nobody"
    async with outside(redis) as (bus, done, dead):
        gateway.write(changed)
        await reloaded(gateway)
        await bus.publish(order("denied", "say it"))
        [letter] = await dead.until("denied")
        changed["workflows"]["desk"]["started_by"] = []
        gateway.write(changed)
        await reloaded(gateway)
        await bus.publish(order("waits", "say it"))
        gateway.write(gateway.configuration)
        await reloaded(gateway)
        await done.until("waits")
    assert said(letter)["reason"] == "DENIED_BY_POLICY"
    assert "denied" not in {each.correlation_id for each in done.came}


async def test_what_a_broker_brought_is_labelled_as_an_outsiders_and_its_run_is_the_principals(
    gateway: Gateway, redis: str
) -> None:
    async with outside(redis) as (bus, done, _):
        await bus.publish(order("labelled", "say it"))
        [answer] = await done.until("labelled")
    async with operator(gateway) as api:
        records = await api.records(run=str(said(answer)["run"]))
    assert {"bus:mail/orders"} <= {label for each in records for label in each["labels"].get("untrusted", ())}


async def test_of_two_gateways_on_one_broker_one_is_killed_and_each_message_is_one_run(
    serve: Serve,
    agent: str,
    deeds: Deeds,
    portal: BlockingPortal,
    postgres: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    deeds.messages.clear()
    deeds.release = portal.call(anyio.Event)
    with nats(tmp_path_factory.mktemp("nats")) as broker, postgres.database() as url:
        shared = {"storage": {"url": "env:STORAGE_URL", "secret": "env:STORAGE_SECRET"}}
        settings = configuration(broker, agent, **shared)
        settings["workflows"]["desk"]["started_by"][0]["concurrency"] = 100
        secret = key_of("shared broker")
        with ThreadPoolExecutor(2) as starting:
            pair = [starting.submit(serve, settings, STORAGE_URL=url, STORAGE_SECRET=secret) for _ in range(2)]
            first, second = (each.result() for each in pair)
        async with outside(broker) as (bus, done, dead):
            for number in range(MESSAGES):
                await bus.publish(order(f"n{number}", f"wait for {number}"))
            await asked_at_least(deeds, MESSAGES - 2)
            await to_thread.run_sync(first.kill)
            portal.call(deeds.release.set)
            await put_by_hand(broker, "orders", b'{"message": "say it"}')
            await done.until_count(MESSAGES + 1)
        assert len(Counter(each.correlation_id for each in done.came)) == len(done.came) == MESSAGES + 1
        assert not dead.came
        assert len(await runs_of(second)) == MESSAGES + 1
        second.stop()
