"""Two gateways with data directories of their own on one PostgreSQL database: what one does counts at the other."""

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.from_thread import BlockingPortal

from tests.e2e import lying
from tests.e2e.conftest import Serve
from tests.e2e.gateways import Caller, Gateway, eventually, key_of, operator, text_of
from tests.fakes_a2a import Deeds, real_agent
from tests.fakes_upstreams import Exchange, RawServer, raw_server
from tests.postgres import PostgresServer

pytestmark = pytest.mark.anyio

SECRET = key_of("shared secret")
SEEN_WITHIN_S = 120.0
"""README says a second; the machine may be busy with other things."""


def says(words: str) -> dict[str, Any]:
    return {"agent": "helper", "input": {"instruction": words}}


def behave(exchange: Exchange) -> None:
    lying.behave(exchange)


@pytest.fixture(scope="module")
def upstream(portal: BlockingPortal) -> Generator[RawServer]:
    with portal.wrap_async_context_manager(raw_server(behave)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def deeds() -> Deeds:
    return Deeds()


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Generator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="module")
def configuration(portal: BlockingPortal, upstream: RawServer, deeds: Deeds) -> Generator[dict[str, Any]]:
    with portal.wrap_async_context_manager(real_agent(deeds)) as agent:
        yield {
            "storage": {"url": "env:STORAGE_URL", "secret": "env:STORAGE_SECRET"},
            "servers": {"shop": {"url": f"http://127.0.0.1:{upstream.port}/shop"}},
            "agents": {"helper": {"card": agent, "delegation": True, "roles": ["all"]}},
            "workflows": {
                "desk": {
                    "pattern": "sequential",
                    "stages": [{"name": "ask", "agent": "helper", "input": {"instruction": "$task.message"}}],
                },
                "tight": {
                    "pattern": "sequential",
                    "stages": [{"name": "ask", "agent": "helper", "input": {"instruction": "$task.message"}}],
                    "limits": {"calls": 3},
                },
                "order": {
                    "pattern": "sequential",
                    "stages": [
                        {"name": "reserve", **says("reserve"), "undo": says("give back")},
                        {"name": "charge", **says("wait for the bank")},
                    ],
                },
            },
            "roles": {"all": {"allow": ["*"]}},
            "principals": {"ana": {"roles": ["all"], "key": "env:ANA_KEY"}},
            "egress": {"allow": ["127.0.0.1"], "ports": []},
        }
        portal.call(deeds.release.set)


@pytest.fixture(scope="module")
def gateways(serve: Serve, configuration: dict[str, Any], database: str) -> tuple[Gateway, Gateway]:
    """Started at the same moment, on an empty database."""
    with ThreadPoolExecutor(2) as starting:
        started = [starting.submit(serve, configuration, STORAGE_URL=database, STORAGE_SECRET=SECRET) for _ in range(2)]
        first, second = (each.result() for each in started)
    return first, second


async def test_a_key_minted_at_one_works_at_the_other_and_revoked_there_is_refused_here(
    gateways: tuple[Gateway, Gateway],
) -> None:
    a, b = gateways
    async with operator(a) as at_a, operator(b) as at_b:
        order = {"subject": "ana", "kind": "client", "note": "laptop"}
        minted = (await at_a.api("/keys", method="POST", body=order)).json()
        async with Caller(b, "ana", minted["secret"]) as ana_at_b, Caller(a, "ana", minted["secret"]) as ana_at_a:
            assert "shop__look" in await ana_at_a.tools()
            await _until_status(ana_at_b, 200)

            assert (await at_b.api(f"/keys/{minted['key']['id']}", method="DELETE")).status_code == 204

            await _until_status(ana_at_b, 401, within_s=0)
            await _until_status(ana_at_a, 401)


async def test_a_run_begun_at_one_is_followed_and_read_at_the_other(
    gateways: tuple[Gateway, Gateway], portal: BlockingPortal, deeds: Deeds
) -> None:
    a, b = gateways
    async with Caller(a, "ana") as at_a, Caller(b, "ana") as at_b, operator(b) as operator_at_b:
        message = {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": "wait for it"}]}
        begun = await at_a.a2a(
            "desk", "SendMessage", {"message": message, "configuration": {"returnImmediately": True}}
        )
        task_id = begun["result"]["task"]["id"]
        await eventually(lambda: len(deeds.messages) == 1)
        read = await at_b.a2a("desk", "GetTask", {"id": task_id})
        assert read["result"]["status"]["state"] == "TASK_STATE_WORKING"

        followed: list[dict[str, Any]] = []

        async def follow() -> None:
            followed.append(await at_b.a2a("desk", "SubscribeToTask", {"id": task_id}))

        async def repeat() -> None:
            followed.append(await at_b.a2a("desk", "SendMessage", {"message": message}))

        with anyio.fail_after(120):
            async with anyio.create_task_group() as following:
                following.start_soon(follow)
                following.start_soon(repeat)
                await anyio.wait_all_tasks_blocked()
                portal.call(deeds.release.set)

        read = await at_b.a2a("desk", "GetTask", {"id": task_id})
        assert read["result"]["status"]["state"] == "TASK_STATE_COMPLETED"
        assert [task_id in json.dumps(each) for each in followed] == [True, True]
        assert "TASK_STATE_COMPLETED" in json.dumps(followed)
        assert len(deeds.messages) == 1
        shown = (await operator_at_b.api(f"/runs/{task_id}")).json()
        assert shown["run"]["state"] == "completed"


async def test_a_run_under_way_at_one_and_canceled_at_the_other_is_undone_once(
    gateways: tuple[Gateway, Gateway], portal: BlockingPortal, deeds: Deeds
) -> None:
    a, b = gateways
    deeds.messages.clear()
    portal.call(_hold_again, deeds)
    async with Caller(a, "ana") as at_a, Caller(b, "ana") as at_b, operator(b) as operator_at_b:
        message = {"messageId": "order-1", "role": "ROLE_USER", "parts": [{"text": "order it"}]}
        begun = await at_a.a2a(
            "order", "SendMessage", {"message": message, "configuration": {"returnImmediately": True}}
        )
        task_id = begun["result"]["task"]["id"]
        await eventually(lambda: len(deeds.messages) == 2)

        canceled = await at_b.a2a("order", "CancelTask", {"id": task_id})

        assert canceled["result"]["status"]["state"] == "TASK_STATE_CANCELED"
        run, steps = dict[str, Any](), list[str]()
        with anyio.fail_after(120):
            while steps != ["ok", "canceled", "ok"]:
                run = (await operator_at_b.api(f"/runs/{task_id}")).json()["run"]
                steps = [step["state"] for step in run["steps"]]
                await anyio.sleep(0.1)
        assert run["state"] == "canceled"
    assert [each["parts"][0]["text"] for each in deeds.messages] == ["reserve", "wait for the bank", "give back"]
    assert len(deeds.canceled) == 1
    portal.call(deeds.release.set)


async def test_a_delegation_token_of_one_is_good_at_the_other_while_its_step_is_open(
    gateways: tuple[Gateway, Gateway], portal: BlockingPortal, deeds: Deeds
) -> None:
    a, b = gateways
    deeds.messages.clear()
    portal.call(_hold_again, deeds)
    async with Caller(a, "ana") as at_a:
        message = {"messageId": "m2", "role": "ROLE_USER", "parts": [{"text": "wait once more"}]}
        begun = await at_a.a2a(
            "desk", "SendMessage", {"message": message, "configuration": {"returnImmediately": True}}
        )
        task_id = begun["result"]["task"]["id"]
        await eventually(lambda: len(deeds.messages) == 1)
        token = deeds.messages[0]["metadata"]["urn:drawbridge:delegation:1"]["token"]
        async with Caller(b, "helper", token) as helper, operator(b) as operator_at_b:
            assert "run__scratchpad_get" in await helper.tools()
            said = await helper.call("run__scratchpad_put", key="note", value="from b", expected_version=0)
            assert not said["result"].get("isError"), text_of(said)
            assert (await operator_at_b.records(run=task_id))[0]["subject"] == "agent:helper"

            portal.call(deeds.release.set)
            followed = await at_a.a2a("desk", "SendMessage", {"message": message})
            assert followed["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
            await _until_status(helper, 401)


async def test_what_an_agent_calls_by_its_token_spends_the_runs_budget_at_whichever_gateway(
    gateways: tuple[Gateway, Gateway], portal: BlockingPortal, deeds: Deeds
) -> None:
    a, b = gateways
    deeds.messages.clear()
    portal.call(_hold_again, deeds)
    async with Caller(a, "ana") as at_a, operator(a) as operator_at_a:
        message = {"messageId": "m3", "role": "ROLE_USER", "parts": [{"text": "wait for the last time"}]}
        begun = await at_a.a2a(
            "tight", "SendMessage", {"message": message, "configuration": {"returnImmediately": True}}
        )
        task_id = begun["result"]["task"]["id"]
        await eventually(lambda: len(deeds.messages) == 1)
        token = deeds.messages[0]["metadata"]["urn:drawbridge:delegation:1"]["token"]
        async with Caller(b, "helper", token) as at_one, Caller(a, "helper", token) as at_other:
            for helper in (at_one, at_other):
                said = await helper.call("shop__look")
                assert not said["result"].get("isError"), text_of(said)
            for helper in (at_one, at_other):
                assert "QUOTA_EXCEEDED" in json.dumps(await helper.call("shop__look"))
            assert "run__scratchpad_get" in await at_other.tools()

        portal.call(deeds.release.set)
        followed = await at_a.a2a("tight", "SendMessage", {"message": message})
        assert followed["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
        run = (await operator_at_a.api(f"/runs/{task_id}")).json()
        assert run["run"]["usage"]["calls"] == 3, run


async def test_an_agent_added_at_one_is_there_at_the_other_until_it_is_removed(
    gateways: tuple[Gateway, Gateway], portal: BlockingPortal
) -> None:
    a, b = gateways
    with portal.wrap_async_context_manager(real_agent(Deeds())) as url:
        async with operator(a) as at_a, operator(b) as at_b, Caller(b, "ana") as ana:
            added = await at_a.api("/agents", method="POST", body={"url": url, "slug": "extra"})
            assert added.status_code == 201, added.text
            await _until_listed(ana, "agents__extra", listed=True)
            # An entry of the database may be named in the configuration, and is known to `check`.
            assert b.drawbridge("check").returncode == 0

            assert (await at_b.api("/agents/extra", method="DELETE")).status_code == 204

        async with Caller(a, "ana") as ana_at_a:
            await _until_listed(ana_at_a, "agents__extra", listed=False)


async def test_a_gateway_with_other_keys_does_not_start(
    gateways: tuple[Gateway, Gateway], configuration: dict[str, Any], database: str, tmp_path_factory: Any
) -> None:
    for secret in (key_of("another secret"), ""):
        storage = {"url": "env:STORAGE_URL", **({"secret": "env:STORAGE_SECRET"} if secret else {})}
        stranger = Gateway(
            tmp_path_factory.mktemp("stranger"),
            {**configuration, "storage": storage},
            environment={"STORAGE_URL": database, "STORAGE_SECRET": secret},
        )
        refused = await to_thread.run_sync(stranger.drawbridge, "serve")

        assert refused.returncode != 0
        assert "storage.secret" in refused.stderr
        assert "127.0.0.1" not in refused.stderr


async def test_doctor_says_where_rows_are_kept(gateways: tuple[Gateway, Gateway]) -> None:
    said = await to_thread.run_sync(gateways[0].drawbridge, "doctor")

    assert "storage: PostgreSQL" in said.stdout


async def test_one_stopped_the_other_goes_on(gateways: tuple[Gateway, Gateway]) -> None:
    a, b = gateways
    assert await to_thread.run_sync(a.stop) == 0

    async with Caller(b, "ana") as ana:
        assert "shop__look" in await ana.tools()
    await to_thread.run_sync(a.start)
    assert not (a.data / "gateway.db").exists()
    assert not (a.data / "scratch.db").exists()


async def _until_status(caller: Caller, status: int, *, within_s: float = SEEN_WITHIN_S) -> None:
    """A call is answered so, at once or soon."""
    until_s = anyio.current_time() + within_s
    while True:
        answer = await caller.modern("tools/list", {})
        if answer.status_code == status:
            return
        assert anyio.current_time() < until_s, f"still {answer.status_code}: {answer.text}"
        await anyio.sleep(0.02)


async def _until_listed(caller: Caller, tool: str, *, listed: bool) -> None:
    until_s = anyio.current_time() + SEEN_WITHIN_S
    while (tool in await caller.tools()) is not listed:
        assert anyio.current_time() < until_s
        await anyio.sleep(0.02)


async def _hold_again(deeds: Deeds) -> None:
    deeds.working, deeds.release = anyio.Event(), anyio.Event()
