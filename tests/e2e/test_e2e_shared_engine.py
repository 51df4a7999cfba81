"""Three gateways on one PostgreSQL database: one is killed in the middle of its runs, and they finish elsewhere."""

from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal

from tests.e2e.conftest import Serve
from tests.e2e.gateways import Caller, Gateway, eventually, key_of, operator
from tests.fakes_a2a import Deeds, real_agent
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

RUNS = 9
TAKEN_OVER_WITHIN_S = 120.0
"""A lease lasts 10 s; the machine may be busy with other things."""


@pytest.fixture(scope="module")
def deeds() -> Deeds:
    return Deeds()


@pytest.fixture(scope="module")
def gateways(serve: Serve, portal: BlockingPortal, deeds: Deeds, postgres: PostgresServer) -> Generator[list[Gateway]]:
    stages = [{"name": "ask", "agent": "helper", "input": {"instruction": "$task.message"}}]
    with postgres.database() as url, portal.wrap_async_context_manager(real_agent(deeds)) as agent:
        configuration: dict[str, Any] = {
            "storage": {"url": "env:STORAGE_URL", "secret": "env:STORAGE_SECRET"},
            "agents": {"helper": {"card": agent}},
            "workflows": {"desk": {"pattern": "sequential", "stages": stages}},
            "roles": {"all": {"allow": ["*"]}},
            "principals": {"ana": {"roles": ["all"], "key": "env:ANA_KEY"}},
            "egress": {"allow": ["127.0.0.1"], "ports": []},
        }
        secret = key_of("shared engine")
        with ThreadPoolExecutor(3) as starting:
            started = [starting.submit(serve, configuration, STORAGE_URL=url, STORAGE_SECRET=secret) for _ in range(3)]
            yield [each.result() for each in started]
        portal.call(deeds.release.set)


async def test_runs_of_a_killed_gateway_finish_at_the_others_and_nobody_is_asked_twice(
    gateways: list[Gateway], portal: BlockingPortal, deeds: Deeds
) -> None:
    runs: list[str] = []
    for number in range(RUNS):
        async with Caller(gateways[number % 3], "ana") as caller:
            message = {"messageId": f"m{number}", "role": "ROLE_USER", "parts": [{"text": f"wait for {number}"}]}
            params = {"message": message, "configuration": {"returnImmediately": True}}
            begun = await caller.a2a("desk", "SendMessage", params)
            runs.append(begun["result"]["task"]["id"])
    await eventually(lambda: len(deeds.messages) == RUNS)

    gateways[0].kill()
    portal.call(deeds.release.set)

    states: list[str] = []
    with anyio.fail_after(TAKEN_OVER_WITHIN_S):
        async with Caller(gateways[1], "ana") as caller:
            while states.count("TASK_STATE_COMPLETED") < RUNS:
                read = [await caller.a2a("desk", "GetTask", {"id": run}) for run in runs]
                states = [each["result"]["status"]["state"] for each in read]
                await anyio.sleep(0.25)
    assert len(deeds.messages) == RUNS
    async with operator(gateways[2]) as api:
        shown = [(await api.api(f"/runs/{run}")).json()["run"] for run in runs]
    assert Counter(step["state"] for run in shown for step in run["steps"]) == {"ok": RUNS}
