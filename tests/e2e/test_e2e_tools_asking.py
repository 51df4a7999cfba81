"""A tool that asks back while it works for a run: whoever started the run answers, by A2A and by MCP, also after a
crash. The servers are the official SDK's, of both eras."""

import json
from collections.abc import Generator
from typing import Any
from uuid import uuid4

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitRequestParams, ElicitResult

from tests.e2e.conftest import Serve
from tests.e2e.gateways import META, Caller, Gateway, answer_in, key_of
from tests.fakes_mcp_servers import LegacyOnly, sdk_server, served

pytestmark = pytest.mark.anyio

TITLE = {"title": "$task.title"}
ERAS = ("new", "old")
ASKED = "reserve: How many copies? (copies: Copies, integer)"
ASKABLE: dict[str, Any] = {f"{META}clientCapabilities": {"elicitation": {"form": {}}}}


def workflow(era: str, **limits: Any) -> dict[str, Any]:
    stage = {"tool": f"shop-{era}/reserve", "input": TITLE}
    return {"pattern": "sequential", "stages": [stage], "limits": {"max_rounds": 1, **limits}}


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Generator[Gateway]:
    with (
        served(sdk_server().streamable_http_app()) as new_url,
        served(LegacyOnly(sdk_server().streamable_http_app())) as old_url,
    ):
        yield serve(
            {
                "servers": {"shop-new": {"url": new_url}, "shop-old": {"url": old_url}},
                "workflows": {
                    **{era: workflow(era) for era in ERAS},
                    "hurried": workflow("new", ask_timeout_s=0.5),
                    "outer": {
                        "pattern": "sequential",
                        "stages": [{"workflow": "new", "input": {"title": "$task.title"}}],
                    },
                },
                "roles": {"all": {"allow": ["workflow:*"]}},
                "principals": {"ana": {"roles": ["all"], "key": "env:ANA_KEY"}},
            }
        )


async def begun(ana: Caller, slug: str, message_id: str) -> str:
    """Id of a run that is at work."""
    parts = [{"text": "Reserve it"}, {"data": {"title": "Dune"}}]
    message = {"messageId": message_id, "role": "ROLE_USER", "parts": parts}
    params = {"message": message, "configuration": {"returnImmediately": True}}
    said = await ana.a2a(slug, "SendMessage", params)
    return str(said["result"]["task"]["id"])


async def task(ana: Caller, slug: str, task_id: str, *states: str) -> dict[str, Any]:
    """The task once it is in one of these states."""
    with anyio.fail_after(120):
        while True:
            said: dict[str, Any] = (await ana.a2a(slug, "GetTask", {"id": task_id}))["result"]
            if said["status"]["state"].removeprefix("TASK_STATE_") in states:
                return said
            await anyio.sleep(0.05)


async def answer(ana: Caller, slug: str, task_id: str, *parts: dict[str, Any]) -> None:
    message = {"messageId": uuid4().hex, "role": "ROLE_USER", "taskId": task_id, "parts": [*parts]}
    said = await ana.a2a(slug, "SendMessage", {"message": message, "configuration": {"returnImmediately": True}})
    assert "result" in said, said


def words(said: dict[str, Any]) -> str:
    return str(said["status"]["message"]["parts"][0]["text"])


def answered(said: dict[str, Any]) -> str:
    return json.dumps(said["artifacts"])


@pytest.mark.parametrize("slug", [*ERAS, "outer"])
async def test_what_a_tool_asks_is_answered_by_whoever_started_the_run(slug: str, gateway: Gateway) -> None:
    async with Caller(gateway, "ana") as ana:
        run_id = await begun(ana, slug, uuid4().hex)
        asked = await task(ana, slug, run_id, "INPUT_REQUIRED")
        assert ASKED in words(asked)
        await answer(ana, slug, run_id, {"text": "a few"})
        again = await task(ana, slug, run_id, "INPUT_REQUIRED", "COMPLETED", "FAILED")
        with anyio.fail_after(120):
            while "does not fit" not in words(again):
                await anyio.sleep(0.05)
                again = await task(ana, slug, run_id, "INPUT_REQUIRED")
        await answer(ana, slug, run_id, {"data": {"copies": 3}})
        assert "3 of Dune" in answered(await task(ana, slug, run_id, "COMPLETED", "FAILED"))


async def test_after_kill_9_the_same_question_stands_and_its_answer_arrives(gateway: Gateway) -> None:
    open_runs: dict[str, str] = {}
    async with Caller(gateway, "ana") as ana:
        for slug in ERAS:
            open_runs[slug] = await begun(ana, slug, uuid4().hex)
            await task(ana, slug, open_runs[slug], "INPUT_REQUIRED")
    await anyio.to_thread.run_sync(gateway.kill)
    await anyio.to_thread.run_sync(gateway.start)
    async with Caller(gateway, "ana") as ana:
        for slug, run_id in open_runs.items():
            assert ASKED in words(await task(ana, slug, run_id, "INPUT_REQUIRED"))
            await answer(ana, slug, run_id, {"text": "2"})
            assert "2 of Dune" in answered(await task(ana, slug, run_id, "COMPLETED", "FAILED"))


async def test_a_question_nobody_answers_in_time_ends_the_step_with_a_clear_error(gateway: Gateway) -> None:
    async with Caller(gateway, "ana") as ana:
        run_id = await begun(ana, "hurried", uuid4().hex)
        said = answered(await task(ana, "hurried", run_id, "FAILED"))
    assert "nobody answered it in time" in said
    assert "input_required" in said


@pytest.mark.parametrize("slug", ERAS)
async def test_a_modern_client_is_asked_by_the_answer_to_its_call(slug: str, gateway: Gateway) -> None:
    arguments = {"message": "Reserve it", "data": {"title": "Dune"}}
    async with Caller(gateway, "ana") as ana:
        tool = next(each for each in await ana.tools() if each.endswith(slug))
        params: dict[str, Any] = {"name": tool, "arguments": arguments, "_meta": ASKABLE}
        first = answer_in(await ana.modern("tools/call", params))["result"]
        assert first["resultType"] == "input_required"
        (question,) = first["inputRequests"].values()
        assert question["method"] == "elicitation/create"
        assert "How many copies?" in question["params"]["message"]
        assert "copies" in question["params"]["requestedSchema"]["properties"]
        reply = {"action": "accept", "content": {"copies": 4}}
        more = {"requestState": first["requestState"], "inputResponses": dict.fromkeys(first["inputRequests"], reply)}
        done = answer_in(await ana.modern("tools/call", {**params, **more}))["result"]
        assert "4 of Dune" in json.dumps(done)
        # The answer arrived: what comes of repeating it is what came of it.
        repeated = answer_in(await ana.modern("tools/call", {**params, **more}))["result"]
        assert "4 of Dune" in json.dumps(repeated)


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_the_official_client_is_asked_for_what_a_tool_of_the_run_wants(mode: Any, gateway: Gateway) -> None:
    asked: list[str] = []

    async def elicited(context: Any, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"copies": 5})

    headers = {"authorization": f"Bearer {key_of('ana')}"}
    with anyio.fail_after(120):
        async with httpx2.AsyncClient(headers=headers, timeout=120) as http:
            link = streamable_http_client(f"{gateway.url}/mcp", http_client=http)
            async with Client(link, mode=mode, elicitation_callback=elicited) as client:
                tool = next(each.name for each in (await client.list_tools()).tools if each.name.endswith("outer"))
                result = await client.call_tool(tool, {"message": "Reserve it", "data": {"title": "Dune"}})
    assert "5 of Dune" in result.model_dump_json()
    assert len(asked) == 1
    assert "How many copies?" in asked[0]
