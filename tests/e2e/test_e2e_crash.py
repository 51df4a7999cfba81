"""kill -9 under load: the log is intact, nothing acknowledged is lost, and no effect is repeated."""

import json
from collections import Counter
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio.from_thread import BlockingPortal

from tests.e2e import lying
from tests.e2e.conftest import Serve
from tests.e2e.gateways import Caller, Gateway, eventually, text_of
from tests.fakes_upstreams import Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio

CALLERS = 16
ENOUGH = 300
KEY = "drawbridge/idempotency-key"


def behave(exchange: Exchange) -> None:
    """An honest server, but of the tool `act` it leaves calls marked `hold` unanswered."""
    if b'"hold"' not in exchange.body:
        lying.behave(exchange)


@pytest.fixture(scope="module")
def upstream(portal: BlockingPortal) -> Generator[RawServer]:
    with portal.wrap_async_context_manager(raw_server(behave)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(serve: Serve, upstream: RawServer) -> Gateway:
    return serve(
        {
            "servers": {
                "shop": {
                    "url": f"http://127.0.0.1:{upstream.port}/shop",
                    "tools": {"act": {"idempotency": "argument:key"}},
                }
            },
            "roles": {"all": {"allow": ["*"]}},
            "principals": {"ana": {"roles": ["all"], "key": "env:ANA_KEY"}},
        }
    )


def effects(upstream: RawServer, tool: str) -> Counter[str]:
    """How often the server was asked for each mark."""
    calls = [json.loads(each.body)["params"] for each in upstream.exchanges if b'"tools/call"' in each.body]
    return Counter(call["arguments"]["mark"] for call in calls if call["name"] == tool)


class Load:
    """Callers that make one sink call after the other, each under a key of its own, until the gateway is gone."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.begun: set[str] = set()
        self.acknowledged: dict[str, str] = {}

    async def run(self, number: int) -> None:
        async with Caller(self.gateway, "ana") as ana:
            with suppress(httpx2.HTTPError, KeyError, ValueError):
                for turn in range(100_000):
                    mark = f"{number}-{turn}"
                    self.begun.add(mark)
                    said = await ana.call("shop__act", meta={KEY: mark}, mark=mark)
                    assert "isError" not in said["result"] or not said["result"]["isError"], said
                    self.acknowledged[mark] = text_of(said)


async def test_what_was_acknowledged_outlives_kill_9_and_is_not_done_again(
    gateway: Gateway, upstream: RawServer, tmp_path: Path
) -> None:
    load = Load(gateway)
    with anyio.fail_after(180):
        async with anyio.create_task_group() as group:
            for number in range(CALLERS):
                group.start_soon(load.run, number)
            await eventually(lambda: len(load.acknowledged) >= ENOUGH)
            await anyio.to_thread.run_sync(gateway.kill)
    in_flight = load.begun - load.acknowledged.keys()
    assert in_flight

    records = await anyio.to_thread.run_sync(_exported, gateway, tmp_path / "records.jsonl")
    intended = {each["idempotency_key"].partition(":")[2] for each in records if each["phase"] == "intent"}
    assert load.acknowledged.keys() <= intended
    assert effects(upstream, "act").keys() <= intended
    assert max(effects(upstream, "act").values()) == 1

    await anyio.to_thread.run_sync(gateway.start)
    async with Caller(gateway, "ana") as ana:
        with anyio.fail_after(120):
            for mark, text in [*load.acknowledged.items()][-50:]:
                assert text_of(await ana.call("shop__act", meta={KEY: mark}, mark=mark)) == text
            assert max(effects(upstream, "act")[mark] for mark in load.acknowledged) == 1
            for mark in in_flight:
                # The server recognises the key, so what is unknown may be asked again: it sees the same key.
                assert mark in text_of(await ana.call("shop__act", meta={KEY: mark}, mark=mark))
    again = [each for each in upstream.exchanges if b'"tools/call"' in each.body]
    keys = {(call["mark"], call["key"]) for call in (json.loads(each.body)["params"]["arguments"] for each in again)}
    assert len(keys) == len({mark for mark, _ in keys})
    await anyio.to_thread.run_sync(_verified, gateway)


async def test_an_effect_of_unknown_outcome_is_in_doubt_where_the_server_knows_no_keys(
    gateway: Gateway, upstream: RawServer
) -> None:
    async with Caller(gateway, "ana") as ana, anyio.create_task_group() as group:

        async def call() -> None:
            with suppress(httpx2.HTTPError):
                await ana.call("shop__look", meta={KEY: "doubtful"}, mark="hold")

        group.start_soon(call)
        await eventually(lambda: effects(upstream, "look")["hold"] == 1)
        await anyio.to_thread.run_sync(gateway.kill)
    await anyio.to_thread.run_sync(gateway.start)
    async with Caller(gateway, "ana") as ana:
        said = await ana.call("shop__look", meta={KEY: "doubtful"}, mark="hold")
        assert said["result"]["_meta"]["drawbridge/error"]["reason"] == "IN_DOUBT"
        assert effects(upstream, "look")["hold"] == 1
        fresh = await ana.call("shop__look", meta={KEY: "another"}, mark="go")
        assert "go" in text_of(fresh)
    await anyio.to_thread.run_sync(_verified, gateway)


def _exported(gateway: Gateway, to: Path) -> list[dict[str, Any]]:
    """Every record, read from the files of the gateway that was killed."""
    _verified(gateway)
    assert gateway.drawbridge("audit", "export", "--to", str(to)).returncode == 0
    return [json.loads(line)["record"] for line in to.read_text().splitlines()]


def _verified(gateway: Gateway) -> None:
    verified = gateway.drawbridge("audit", "verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert json.loads(verified.stdout)["ok"] is True
