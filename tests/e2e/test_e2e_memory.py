"""What one run's agent remembers, the next one is told: through a real gateway, with a step's token."""

import json
from collections.abc import Generator
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.from_thread import BlockingPortal

from tests.e2e.conftest import Serve
from tests.e2e.gateways import Caller, Gateway, eventually, text_of
from tests.fakes_a2a import Deeds, real_agent

pytestmark = pytest.mark.anyio

TOKEN = "urn:drawbridge:delegation:1"
TOOLS = {"run__memory_add", "run__memory_search"}


@pytest.fixture(scope="module")
def deeds() -> Deeds:
    return Deeds()


@pytest.fixture(scope="module")
def gateway(serve: Serve, portal: BlockingPortal, deeds: Deeds) -> Generator[Gateway]:
    stage = {"name": "ask", "agent": "helper", "input": {"instruction": "$task.message"}}
    with portal.wrap_async_context_manager(real_agent(deeds)) as agent:
        yield serve(
            {
                "agents": {"helper": {"card": agent, "delegation": True, "roles": ["all"]}},
                "memory": {"shop": {"days": 3}},
                "glossary": {"RMA": "a return we agreed to"},
                "workflows": {
                    "desk": {"pattern": "sequential", "stages": [stage], "memory": "shop", "recall": True},
                    "plain": {"pattern": "sequential", "stages": [stage]},
                },
                "roles": {"all": {"allow": ["*"]}},
                "principals": {"ana": {"roles": ["all"], "key": "env:ANA_KEY"}},
                "egress": {"allow": ["127.0.0.1"], "ports": []},
            }
        )
        portal.call(deeds.release.set)


async def test_what_one_run_remembers_the_next_is_told_and_others_do_not_see(
    gateway: Gateway, portal: BlockingPortal, deeds: Deeds
) -> None:
    async with Caller(gateway, "ana") as ana:
        assert not TOOLS & set(await ana.tools())

        first = await _begun(ana, deeds, "desk", "wait for the refund", "m1")
        async with Caller(gateway, "helper", _token(first)) as helper:
            assert set(await helper.tools()) >= TOOLS
            added = await helper.call("run__memory_add", text="A refund takes three days", tags=["refunds"])
            assert not added["result"].get("isError"), text_of(added)
            found = await helper.call("run__memory_search", query="refund")
            assert "three days" in text_of(found)
        assert "memory" not in _member(first)
        await _ended(ana, portal, deeds, "desk", "m1", "wait for the refund")

        second = await _begun(ana, deeds, "desk", "wait for another refund", "m2")
        [recalled] = _member(second)["memory"]
        assert (recalled["text"], recalled["by"]) == ("A refund takes three days", "agent:helper")
        assert _member(second)["glossary"] == {"RMA": "a return we agreed to"}
        assert _member(second)["history"][0]["request"] == "wait for the refund"
        await _ended(ana, portal, deeds, "desk", "m2", "wait for another refund")

        third = await _begun(ana, deeds, "plain", "wait for a refund", "m3")
        async with Caller(gateway, "helper", _token(third)) as helper:
            assert "run__scratchpad_get" in await helper.tools()
            assert not TOOLS & set(await helper.tools())
            denied = await helper.call("run__memory_search", query="refund")
            assert "three days" not in json.dumps(denied)
        await _ended(ana, portal, deeds, "plain", "m3", "wait for a refund")


async def test_an_operator_finds_and_forgets_it(gateway: Gateway) -> None:
    listed = await to_thread.run_sync(gateway.drawbridge, "memory", "search", "shop", "refunds", "--json")
    forgotten = await to_thread.run_sync(gateway.drawbridge, "memory", "forget", "shop", "--all", "--json")

    [entry] = json.loads(listed.stdout)["entries"]
    assert entry["agent"] == "agent:helper"
    assert entry["labels"] == {"untrusted": ["agent:helper"]}
    assert json.loads(forgotten.stdout)["forgotten"] == 1


def _message(said: str, message_id: str) -> dict[str, Any]:
    return {"messageId": message_id, "contextId": "ctx-refunds", "role": "ROLE_USER", "parts": [{"text": said}]}


async def _begun(ana: Caller, deeds: Deeds, workflow: str, said: str, message_id: str) -> dict[str, Any]:
    """The message the agent has got, and works on."""
    deeds.messages.clear()
    wanted = {"message": _message(said, message_id), "configuration": {"returnImmediately": True}}
    begun = await ana.a2a(workflow, "SendMessage", wanted)
    assert "result" in begun, begun
    await eventually(lambda: len(deeds.messages) == 1)
    return deeds.messages[0]


async def _ended(ana: Caller, portal: BlockingPortal, deeds: Deeds, workflow: str, message_id: str, said: str) -> None:
    portal.call(deeds.release.set)
    followed = await ana.a2a(workflow, "SendMessage", {"message": _message(said, message_id)})
    assert followed["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED", followed
    portal.call(_hold_again, deeds)


async def _hold_again(deeds: Deeds) -> None:
    deeds.working, deeds.release = anyio.Event(), anyio.Event()


def _token(message: dict[str, Any]) -> str:
    return message["metadata"][TOKEN]["token"]


def _member(message: dict[str, Any]) -> dict[str, Any]:
    return next(part["data"]["drawbridge"] for part in message["parts"] if "data" in part)
