"""A router behind a real gateway, and what the command line measures of it."""

import json
from collections.abc import Generator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from tests.e2e.conftest import Serve
from tests.e2e.gateways import Caller, Gateway, key_of
from tests.e2e.lying import DISCOVERED, answer, message
from tests.fakes_upstreams import Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio


def behave(exchange: Exchange) -> None:
    """An MCP server with a classifier and a worker, both by rule."""
    said = message(exchange)
    match said.get("method"):
        case "server/discover":
            exchange.answer(answer(exchange, DISCOVERED))
        case "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("classify", "pay")]
            exchange.answer(answer(exchange, {"resultType": "complete", "tools": tools}))
        case _:
            asked = json.dumps(said["params"].get("arguments"))
            sure = 0.9 if "money" in asked else 0.65 if "cash" in asked else 0.1
            told = (
                {"worker": "desk/pay", "confidence": sure} if said["params"]["name"] == "classify" else {"paid": True}
            )
            content = [{"type": "text", "text": json.dumps(told)}]
            shown = {"resultType": "complete", "content": content, "structuredContent": told, "isError": False}
            exchange.answer(answer(exchange, shown))


@pytest.fixture(scope="module")
def upstream(portal: BlockingPortal) -> Generator[RawServer]:
    with portal.wrap_async_context_manager(raw_server(behave)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(serve: Serve, upstream: RawServer) -> Gateway:
    stage = {"tool": "desk/classify", "input": {"request": "$task.request"}}
    return serve(
        {
            "servers": {
                "desk": {"url": f"http://127.0.0.1:{upstream.port}/mcp", "tools": {"classify": {"tags": ["read"]}}}
            },
            "workflows": {
                "triage": {"pattern": "sequential", "stages": [stage]},
                "help": {
                    "pattern": "router",
                    "tools": ["desk/pay"],
                    "classifier": {"workflow": "triage"},
                    "limits": {"max_depth": 3},
                },
            },
            "roles": {"all": {"allow": ["*"]}},
            "principals": {"ana": {"roles": ["all"], "key": "env:ANA_KEY"}},
            "egress": {"allow": ["127.0.0.0/8"], "ports": []},
        }
    )


async def test_a_workflow_classifies_and_the_record_is_measured(gateway: Gateway) -> None:
    async with Caller(gateway, "ana") as ana:
        for _ in range(2):
            said = await ana.call("workflows__help", message="I want my money")
            assert said["result"]["structuredContent"]["answer"] == {"paid": True}
    measured = gateway.drawbridge("router", "eval", "--workflow", "help", "--recent", "5", "--json")
    report = json.loads(measured.stdout)
    assert measured.returncode == 0, measured.stderr
    assert (report["runs"], report["cache_hit_rate"], report["confidence"]) == (2, 0.5, 0.9)


def test_the_classifier_is_measured_through_the_gateway(gateway: Gateway) -> None:
    labelled = gateway.folder / "set.jsonl"
    labelled.write_text('{"message": "my money", "worker": "desk/pay"}\n{"message": "hi", "worker": null}\n')
    key = gateway.folder / "ana.key"
    key.write_text(key_of("ana"))
    order = ("router", "eval", str(labelled), "--workflow", "help", "--json")
    offline = json.loads(gateway.drawbridge(*order).stdout)
    online = gateway.drawbridge(*order, "--online", "--key", str(key))
    assert offline["accuracy"] == 0.5
    assert online.returncode == 0, online.stdout + online.stderr
    assert (json.loads(online.stdout)["accuracy"], json.loads(online.stdout)["by_classifier"]) == (1.0, 0.5)


def test_without_a_grant_the_classifier_is_not_asked(gateway: Gateway, tmp_path: Path) -> None:
    labelled = tmp_path / "set.jsonl"
    labelled.write_text('{"message": "my money", "worker": "desk/pay"}\n')
    refused = gateway.drawbridge("router", "eval", str(labelled), "--workflow", "help", "--online")
    assert refused.returncode == 1
    assert "--key" in refused.stderr


async def test_doctor_warns_of_a_router_that_is_less_and_less_sure(gateway: Gateway) -> None:
    async with Caller(gateway, "ana") as ana:
        for word in ("money", "cash"):
            for number in range(6):
                await ana.call("workflows__help", message=f"{word}, for the {number}. time")
    measured = gateway.drawbridge("router", "eval", "--workflow", "help", "--recent", "12")
    assert measured.returncode == 1
    assert "Confidence is falling" in measured.stdout
    healthy = gateway.drawbridge("doctor")
    # Its window holds runs of the tests before this one as well.
    assert "router help: confidence of its decisions fell from 0.9 to 0.6" in healthy.stdout
