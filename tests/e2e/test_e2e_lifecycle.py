"""A gateway's life: it starts where it may, reloads without dropping a call, stops in good order, and goes on after."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import traceback
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio.from_thread import BlockingPortal
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.e2e import lying
from tests.e2e.conftest import Serve
from tests.e2e.gateways import (
    ROOT,
    UP_WITHIN_S,
    Caller,
    Gateway,
    answer_in,
    eventually,
    free_port,
    modern_request,
    operator,
    text_of,
)
from tests.fakes_a2a import Deeds, real_agent
from tests.fakes_upstreams import Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio


def behave(exchange: Exchange) -> None:
    """An honest server whose tool `act` is answered by the test."""
    if b'"act"' not in exchange.body or b'"tools/call"' not in exchange.body:
        lying.behave(exchange)


@pytest.fixture(scope="module")
def upstream(portal: BlockingPortal) -> Generator[RawServer]:
    with portal.wrap_async_context_manager(raw_server(behave)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def deeds() -> Deeds:
    return Deeds()


@pytest.fixture(scope="module")
def configuration(portal: BlockingPortal, upstream: RawServer, deeds: Deeds) -> Generator[dict[str, Any]]:
    with portal.wrap_async_context_manager(real_agent(deeds)) as agent:
        yield {
            "servers": {"shop": server(upstream)},
            "agents": {"helper": {"card": agent}},
            "workflows": {
                "desk": {
                    "pattern": "sequential",
                    "stages": [{"name": "ask", "agent": "helper", "input": {"order": "$task.message"}}],
                }
            },
            "roles": {"all": {"allow": ["*"]}},
            "principals": {"ana": {"roles": ["all"], "key": "env:ANA_KEY"}},
        }
        portal.call(deeds.release.set)


def server(upstream: RawServer) -> dict[str, Any]:
    return {"url": f"http://127.0.0.1:{upstream.port}/shop", "tools": {"look": {"tags": ["read"]}}}


@pytest.fixture(scope="module")
def gateway(serve: Serve, configuration: dict[str, Any]) -> Gateway:
    return serve(configuration)


@pytest.fixture(autouse=True)
def as_it_was(gateway: Gateway) -> Generator[None]:
    """Each test begins with the first configuration in force, and nothing on its way that would change that."""
    yield
    if gateway.config.read_text() != json.dumps(gateway.configuration, indent=1):
        gateway.write(gateway.configuration)
        asked = {"authorization": f"Bearer {gateway.operator_key}"}
        assert httpx2.post(f"{gateway.url}/api/v1/reload", headers=asked, timeout=UP_WITHIN_S).status_code == 200


async def under_way(upstream: RawServer, caller: Caller, group: Any, said: list[dict[str, Any]]) -> Exchange:
    """A call its server has, and has not answered."""
    before = len(upstream.exchanges)

    async def call() -> None:
        said.append(await caller.call("shop__act"))

    group.start_soon(call)
    await eventually(lambda: any(b'"act"' in each.body for each in upstream.exchanges[before:]))
    return next(each for each in upstream.exchanges[before:] if b'"act"' in each.body)


@pytest.mark.parametrize("how", ["signal", "change"])
async def test_a_reload_brings_what_is_new_and_drops_no_call(
    how: str, gateway: Gateway, upstream: RawServer, portal: BlockingPortal
) -> None:
    """Even the server the call is at may be gone from the new configuration."""
    said: list[dict[str, Any]] = []
    with anyio.fail_after(UP_WITHIN_S):
        async with Caller(gateway, "ana") as ana, anyio.create_task_group() as group:
            await _sees(ana, "shop__act")
            exchange = await under_way(upstream, ana, group, said)
            gateway.write({**gateway.configuration, "servers": {f"new-{how}": server(upstream)}})
            if how == "signal":
                gateway.signal(signal.SIGHUP)
            await _sees(ana, f"new-{how}__look")
            assert "shop__act" not in await ana.tools()
            assert not said
            portal.call(lying.tell_truth, exchange)
    assert text_of(said[0]) == '{"arguments": {}}'


async def _sees(caller: Caller, tool: str) -> None:
    with anyio.fail_after(UP_WITHIN_S):
        while tool not in await caller.tools():  # noqa: ASYNC110 - another process gets there
            await anyio.sleep(0.05)


@pytest.mark.parametrize(
    "wrong",
    [
        "servers: [",
        "servers: {shop: {url: 7}}",
        "roles: {all: {allow: ['tool:*'], deni: []}}",
        "principals: {}\nmore: 1",
    ],
)
async def test_a_wrong_file_leaves_everything_as_it_is(wrong: str, gateway: Gateway) -> None:
    async with Caller(gateway, "ana") as ana, operator(gateway) as someone:
        await _sees(ana, "shop__look")
        snapshot = (await someone.api("/status")).json()["snapshot"]
        gateway.write_text(wrong)
        refused = await someone.api("/reload", method="POST")
        assert (refused.status_code, refused.json()["error"]["reason"]) == (400, "INVALID_REQUEST")
        logged = gateway.log.stat().st_size
        gateway.signal(signal.SIGHUP)
        # That the file looks different may be noticed before; the signal is still to be answered then.
        await eventually(lambda: b'{"cause": "signal", "problem"' in gateway.log.read_bytes()[logged:])
        assert (await someone.api("/status")).json()["snapshot"] == snapshot
        assert text_of(await ana.call("shop__look")) == '{"arguments": {}}'


async def test_operators_see_that_the_file_was_refused_until_it_says_something_right(gateway: Gateway) -> None:
    async with operator(gateway) as someone:

        async def told() -> tuple[str, str]:
            ready = json.loads((await someone.send("/readyz", b"", method="GET")).text)
            refused = (await someone.api("/status")).json()["refusedConfiguration"]
            return ready["configuration"], "" if refused is None else refused["cause"]

        async def comes_to_be(wanted: tuple[str, str]) -> None:
            with anyio.fail_after(120):
                while await told() != wanted:  # noqa: ASYNC110 - another process gets there
                    await anyio.sleep(0.05)

        await comes_to_be(("in force", ""))
        gateway.config.write_text("servers: [")
        await comes_to_be(("refused", "changed"))
        doctor = gateway.drawbridge("doctor", "--json")
        found = json.loads(doctor.stdout)["findings"]
        assert any("goes by the one before" in each["text"] for each in found)
        gateway.write(gateway.configuration)
        await comes_to_be(("in force", ""))


async def test_a_key_that_is_gone_from_the_file_is_gone_at_once(gateway: Gateway) -> None:
    people = {"bob": {"roles": ["all"], "key": "env:ANA_KEY"}}
    async with Caller(gateway, "ana") as ana, operator(gateway) as someone:
        await _sees(ana, "shop__look")
        gateway.write({**gateway.configuration, "principals": people})
        assert (await someone.api("/reload", method="POST")).status_code == 200
        await ana.call("shop__look", now="bob")
        assert (await someone.records(1, subject="bob"))[-1]["capability"] == "tool:shop/look"
        gateway.write({**gateway.configuration, "principals": {}})
        assert (await someone.api("/reload", method="POST")).status_code == 200
        assert (await ana.modern("tools/list", {})).status_code == 401


def test_a_taken_port_is_said_to_be(gateway: Gateway, tmp_path: Path) -> None:
    second = gateway.drawbridge("serve", "--port", str(gateway.port), "--data", str(tmp_path / "data"))
    assert second.returncode != 0
    assert "--port" in second.stderr


def test_demo_keys_stay_on_loopback(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        "roles: {a: {allow: ['*']}}\nprincipals: {ana: {roles: [a], key: env:ANA_KEY}}\n"
    )
    port = free_port()
    ended = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--host", "0.0.0.0", "--port", str(port)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ANA_KEY": "demo-ana-key-only-for-this-machine"},
        capture_output=True,
        text=True,
        timeout=UP_WITHIN_S,
        check=False,
    )
    assert ended.returncode == 2
    assert "demo keys" in ended.stderr
    assert "127.0.0.1" in ended.stderr
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))


def test_what_it_keeps_is_closed_to_everybody_else(gateway: Gateway) -> None:
    for path in (gateway.data, *gateway.data.rglob("*")):
        with suppress(FileNotFoundError):  # a database's journal comes and goes
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert gateway.operator_key not in gateway.log.read_text()


async def test_without_a_gateway_the_relay_says_how_to_start_one(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("roles: {a: {allow: ['*']}}\nprincipals: {ana: {roles: [a]}}\n")
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    connect = [sys.executable, "-m", "gateway", "connect", "claude-desktop"]
    with anyio.fail_after(UP_WITHIN_S):
        made = await anyio.run_process(connect, cwd=tmp_path, env={**os.environ, **environment}, check=False)
    assert made.returncode == 0, made.stderr
    program = StdioServerParameters(
        command=sys.executable,
        args=["-m", "gateway", "mcp", "--client", "claude-desktop", "--config", str(tmp_path / "gateway.yaml")],
        env=environment,
    )
    with anyio.fail_after(UP_WITHIN_S), pytest.raises((MCPError, ExceptionGroup)) as refused:
        async with Client(stdio_client(program), mode="auto"):
            pass
    assert "drawbridge serve" in "".join(traceback.format_exception(refused.value))


async def test_a_stop_ends_what_is_open_and_leaves_a_run_that_goes_on_at_the_next_start(
    gateway: Gateway, portal: BlockingPortal, deeds: Deeds
) -> None:
    """The last test here: it stops the gateway of this module, and starts it again."""
    key = {"drawbridge/idempotency-key": "over-a-stop"}
    message = {"messageId": "over-a-stop", "role": "ROLE_USER", "parts": [{"text": "wait for it"}]}
    said: dict[str, Any] = {}
    async with Caller(gateway, "ana") as ana, anyio.create_task_group() as group:
        await _sees(ana, "workflows__desk")

        listening = anyio.Event()

        async def listen() -> None:
            body, headers = modern_request("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
            async with ana.stream("/mcp", body, *headers) as answer:
                listening.set()
                await answer.aread()
            said["stream"] = answer_in(answer)

        async def ask_by_mcp() -> None:
            said["mcp"] = await ana.call("workflows__desk", meta=key, message="wait for it")

        async def ask_by_a2a() -> None:
            said["a2a"] = await ana.a2a("desk", "SendMessage", {"message": message})

        for each in (listen, ask_by_mcp, ask_by_a2a):
            group.start_soon(each)
        await eventually(lambda: len(deeds.messages) == 2)
        await listening.wait()
        assert await anyio.to_thread.run_sync(gateway.stop) == 0
    assert said["stream"]["result"]["resultType"] == "complete"
    assert said["mcp"]["error"]["code"] == 1503
    assert said["a2a"]["error"]["data"][0]["metadata"]["code"] == "1503"
    assert not (gateway.data / "endpoint.json").exists()
    assert not deeds.canceled
    await anyio.to_thread.run_sync(gateway.start)
    async with Caller(gateway, "ana") as ana, operator(gateway) as someone:
        runs = {each["id"]: each["state"] for each in (await someone.api("/runs")).json()["runs"]}
        assert set(runs.values()) == {"working"}
        portal.call(deeds.release.set)
        with anyio.fail_after(UP_WITHIN_S):
            answer = await ana.call("workflows__desk", meta=key, message="wait for it")
            assert not answer["result"].get("isError"), answer
            task = (await ana.a2a("desk", "SendMessage", {"message": message}))["result"]["task"]
            assert task["status"]["state"] == "TASK_STATE_COMPLETED"
        after = {each["id"]: each["state"] for each in (await someone.api("/runs")).json()["runs"]}
    assert after == dict.fromkeys(runs, "completed")
    assert len(deeds.messages) == 2
