"""The whole PostgreSQL server is taken away while runs are under way, and brought back: they finish, and nobody is
asked twice; meanwhile callers are told, and nobody is sent there."""

import urllib.error
import urllib.request
from collections.abc import Generator
from typing import Any

import anyio
import orjson
import pytest
from anyio import to_thread
from anyio.from_thread import BlockingPortal

from tests.e2e.conftest import Serve
from tests.e2e.gateways import Caller, Gateway, key_of, operator
from tests.fakes_a2a import Deeds, real_agent
from tests.postgres import UnsteadyPostgres, unsteady_postgres

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

RUNS = 4
STAGES = 2
UNAVAILABLE = 1503
WITHIN_S = 120.0
"""The machine may be busy with other things."""


@pytest.fixture
def postgres() -> Generator[UnsteadyPostgres]:
    with unsteady_postgres() as unsteady:
        yield unsteady


@pytest.fixture
def deeds() -> Deeds:
    return Deeds()


@pytest.fixture
def gateway(serve: Serve, portal: BlockingPortal, deeds: Deeds, postgres: UnsteadyPostgres) -> Generator[Gateway]:
    stages = [{"name": f"ask-{number}", "agent": "helper"} for number in range(STAGES)]
    with portal.wrap_async_context_manager(real_agent(deeds)) as agent:
        configuration: dict[str, Any] = {
            "storage": {"url": "env:STORAGE_URL", "secret": "env:STORAGE_SECRET"},
            "agents": {"helper": {"card": agent}},
            "workflows": {"desk": {"pattern": "sequential", "stages": stages}},
            "roles": {"all": {"allow": ["*"]}},
            "principals": {"ana": {"roles": ["all"], "key": "env:ANA_KEY"}},
            "egress": {"allow": ["127.0.0.1"], "ports": []},
        }
        yield serve(configuration, STORAGE_URL=postgres.server.url(), STORAGE_SECRET=key_of("unsteady"))
        portal.call(deeds.release.set)


async def test_runs_outlive_the_storage_and_nobody_is_asked_twice(
    gateway: Gateway, postgres: UnsteadyPostgres, portal: BlockingPortal, deeds: Deeds
) -> None:
    async with Caller(gateway, "ana") as ana, operator(gateway) as api:
        with anyio.fail_after(WITHIN_S):
            begun = [await ana.a2a("desk", "SendMessage", message(number)) for number in range(RUNS)]
            runs = [each["result"]["task"]["id"] for each in begun]
            while len(deeds.messages) < RUNS:  # noqa: ASYNC110 - another process gets there
                await anyio.sleep(0.02)

            await to_thread.run_sync(postgres.take_away)
            await until_ready(gateway, "the storage does not answer")
            refused = await ana.a2a("desk", "SendMessage", message(RUNS))
            # Answers come while there is nowhere to write them down.
            portal.call(deeds.release.set)
            unread = await ana.a2a("desk", "GetTask", {"id": runs[0]})
            assert await to_thread.run_sync(postgres.start)
            await until_ready(gateway, "ready")

            states: list[str] = []
            while states.count("TASK_STATE_COMPLETED") < RUNS:
                read = [await ana.a2a("desk", "GetTask", {"id": run}) for run in runs]
                states = [each["result"]["status"]["state"] for each in read if "result" in each]
                await anyio.sleep(0.1)
        for answer in (refused, unread):
            assert answer["error"]["code"] == UNAVAILABLE
            assert answer["error"]["message"].startswith("the storage ")
            assert "127.0.0.1" not in str(answer)
        assert len(deeds.messages) == RUNS * STAGES
        assert len({each["messageId"] for each in deeds.messages}) == RUNS * STAGES
        shown = [(await api.api(f"/runs/{run}")).json()["run"] for run in runs]
        assert [[step["state"] for step in run["steps"]] for run in shown] == [["ok"] * STAGES] * RUNS


def message(number: int) -> dict[str, Any]:
    said = {"messageId": f"m{number}", "role": "ROLE_USER", "parts": [{"text": f"wait for {number}"}]}
    return {"message": said, "configuration": {"returnImmediately": True}}


async def until_ready(gateway: Gateway, status: str) -> None:
    """Until the probe says so."""
    while (said := await to_thread.run_sync(readiness, gateway))["status"] != status:
        assert said["status"] in ("ready", "the storage does not answer")
        await anyio.sleep(0.02)


def readiness(gateway: Gateway) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{gateway.url}/readyz", timeout=WITHIN_S) as answer:
            return orjson.loads(answer.read())
    except urllib.error.HTTPError as error:
        return orjson.loads(error.read())
