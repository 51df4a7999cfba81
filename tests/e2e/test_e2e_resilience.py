"""An agent that dies and comes back, and faults on purpose: seen by whoever calls and by whoever operates."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from tests.e2e.conftest import Serve
from tests.e2e.gateways import ROOT, Caller, Gateway, free_port, operator, until

pytestmark = pytest.mark.anyio

COOLDOWN_S = 10.0
"""More than a busy machine takes for the call that finds the breaker open."""
PORT = free_port()
PLANNED: dict[str, Any] = {"agent": "triage", "output_schema": {"required": ["steps"]}}


@contextmanager
def agent(gateway: Gateway) -> Generator[subprocess.Popen[bytes]]:
    """An A2A agent as a process of its own, until it is killed."""
    command = [sys.executable, "-m", "examples.support.triage", "--port", str(PORT)]
    environment = {**gateway.environment, "GATEWAY_MCP_URL": f"{gateway.url}/mcp"}
    with gateway.log.open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        until(_answers, lambda: f"the agent did not start; the log ends:\n{gateway.log_tail()}")
        yield process
    finally:
        process.kill()
        process.wait(timeout=60)


def _answers() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/.well-known/agent-card.json", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def breakers(gateway: Gateway) -> int:
    with urllib.request.urlopen(f"{gateway.url}/readyz", timeout=60) as answer:
        return json.loads(answer.read())["breakers"]


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Gateway:
    return serve(
        {
            "gateway": {"chaos": True},
            "agents": {"triage": {"card": f"http://127.0.0.1:{PORT}", "timeout_s": 60}},
            "roles": {"all": {"allow": ["*"]}},
            "workflows": {"plan": {"pattern": "sequential", "stages": [PLANNED], "limits": {"max_rounds": 1}}},
            "principals": {"ana": {"roles": ["all"], "key": "env:ANA_KEY"}},
            "limits": {"breaker_cooldown_s": COOLDOWN_S, "list_timeout_s": 0.5, "refresh_s": 1},
            "egress": {"allow": ["127.0.0.0/8"], "ports": []},
        }
    )


async def asked(ana: Caller) -> dict[str, Any]:
    """What the agent's tool answers."""
    said = await ana.call("agents__triage", message="Refund me, please")
    result: dict[str, Any] = said.get("result", said)
    return result


async def answered(ana: Caller) -> dict[str, Any]:
    """What the agent answers, once it does: its connections of an earlier life, and a cooldown, may stand before it."""
    with anyio.fail_after(120):
        while (said := await asked(ana))["isError"]:  # noqa: ASYNC110 - another process gets there
            await anyio.sleep(0.1)
    return said


async def seen(ana: Caller) -> None:
    with anyio.fail_after(120):
        while "agents__triage" not in await ana.tools():  # noqa: ASYNC110 - another process gets there
            await anyio.sleep(0.05)


async def test_a_dying_agent_is_left_alone_and_found_again_when_it_is_back(gateway: Gateway) -> None:
    async with Caller(gateway, "ana") as ana:
        with agent(gateway):
            await seen(ana)
            await answered(ana)
        refused = [await asked(ana) for _ in range(4)]
        assert [each["isError"] for each in refused] == [True] * 4
        records = [await record_of(gateway, each) for each in refused]
        assert [each.get("detail", {}).get("breaker") for each in records] == [None, None, "opened", "open"]
        assert breakers(gateway) == 1
        assert "breaker of agent:triage" in gateway.drawbridge("doctor").stdout
        with agent(gateway):
            await answered(ana)
            assert breakers(gateway) == 0


async def record_of(gateway: Gateway, said: dict[str, Any]) -> dict[str, Any]:
    async with operator(gateway) as olga:
        record_id = said["_meta"]["drawbridge/error"]["record"]
        return await olga.record(record_id)


async def test_chaos_strikes_by_command_shows_in_the_record_and_ends_by_command(gateway: Gateway) -> None:
    with agent(gateway):
        async with Caller(gateway, "ana") as ana, operator(gateway) as olga:
            await seen(ana)
            await answered(ana)
            fault = "falsehood=refund=>replace"
            added = gateway.drawbridge("chaos", "add", "--target", "agent:triage", "--fault", fault, "--for", "5m")
            assert added.returncode == 0, added.stderr
            injection = added.stdout.strip()
            struck = await answered(ana)
            listed = gateway.drawbridge("chaos", "list", "--json")
            removed = gateway.drawbridge("chaos", "remove", injection)
            honest = await answered(ana)
            assert "replace" in json.dumps(struck)
            assert "refund" in json.dumps(honest)
            assert injection in listed.stdout
            assert removed.returncode == 0
            chaotic = await olga.records(call="agent:triage", outcome="ok", label=f"chaos:{injection}")
            assert [each["detail"]["chaos"][0]["id"] for each in chaotic] == [injection]
            everything = await olga.records(call="agent:triage", outcome="ok")
            assert [each["id"] for each in everything if "chaos" in each.get("detail", {})] == [chaotic[0]["id"]]


async def test_a_report_says_what_a_fault_struck_and_what_stopped_it(gateway: Gateway) -> None:
    with agent(gateway):
        async with Caller(gateway, "ana") as ana, operator(gateway) as olga:
            await seen(ana)
            await answered(ana)
            added = gateway.drawbridge("chaos", "add", "--target", "agent:triage", "--fault", "wrong_schema")
            injection = added.stdout.strip()
            said = await ana.call("workflows__plan", message="Refund me, please")
            gateway.drawbridge("chaos", "remove", injection)
            assert said.get("result", said)["isError"]
            await olga.records(1, label=f"chaos:{injection}", call="agent:triage")
            report = json.loads(gateway.drawbridge("chaos", "report", injection, "--json").stdout)
            shown = gateway.drawbridge("chaos", "report", injection).stdout
            by_label = gateway.drawbridge("audit", "search", "--label", f"chaos:{injection}", "--json")
    assert report["faults"] == ["wrong_schema"]
    assert [(each["call"], each["outcome"]) for each in report["struck"]] == [("agent:triage", "ok")]
    assert "schema" in [each["how"] for each in report["stopped"]]
    [run] = report["runs"]
    assert (run["workflow"], run["state"]) == ("plan", "failed")
    assert "the contract of its answer" in shown
    assert {each["run_id"] for each in json.loads(by_label.stdout)["records"] if each.get("run_id")} == {run["run"]}


async def test_a_gateway_that_does_not_allow_chaos_refuses_it(serve: Serve) -> None:
    peaceful = serve({"roles": {}, "principals": {}})
    said = peaceful.drawbridge("chaos", "add", "--target", "agent:triage", "--fault", "kill")
    assert said.returncode == 1
    assert "gateway.chaos" in said.stderr
