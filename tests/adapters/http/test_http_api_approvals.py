"""Approvals over REST: open to people with the role, answered once, recorded."""

import httpx2
import pytest

from tests.fakes_api import ApiBench

pytestmark = pytest.mark.anyio


async def test_people_see_what_waits_for_their_roles_and_operators_everything() -> None:
    bench = ApiBench()
    async with bench.serving() as url, httpx2.AsyncClient(base_url=f"{url}/api/v1") as client:
        seen = {}
        for who in ("olga", "bea"):
            said = await client.get("/approvals", headers={"authorization": f"Bearer {who}-key"})
            seen[who] = [each["id"] for each in said.json()["approvals"]]
        unknown = await client.get("/approvals")
        hidden = await client.get("/approvals/run_1.q1", headers={"authorization": "Bearer bea-key"})
    assert seen == {"olga": ["run_1.q1", "run_1.q2"], "bea": ["run_1.q2"]}
    assert (unknown.status_code, hidden.status_code) == (401, 404)


async def test_an_answer_is_given_and_recorded() -> None:
    bench = ApiBench()
    async with bench.serving() as url, httpx2.AsyncClient(base_url=f"{url}/api/v1") as client:
        client.headers["authorization"] = "Bearer bea-key"
        said = await client.post("/approvals/run_1.q2/approve", json={"value": {"amount": 3}, "comment": "once"})
        wrong = await client.post("/approvals/run_1.q2/deny", json={"reason": "x"})
    shown = said.json()["approval"]
    assert (shown["state"], shown["answeredBy"], shown["value"]) == ("approved", "bea", {"amount": 3})
    assert wrong.status_code == 400
    noted = [(record.phase, record.operation, record.outcome) for record in bench.gateway.records]
    assert noted == [("intent", "approvals.answer", ""), ("outcome", "approvals.answer", "ok")]
