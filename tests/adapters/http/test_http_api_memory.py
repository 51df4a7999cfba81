"""What agents remember, over REST: one tenant's, for operators only, and every forgetting recorded."""

import httpx2
import pytest

from gateway.core.labels import Labels
from gateway.orchestration.messages.memories import Source
from tests.fakes_api import ApiBench

pytestmark = pytest.mark.anyio

BY = Source(run_id="run_1", step_id="run_1/2", agent="agent:refunds")
WEB = Labels(untrusted=frozenset({"server:web"}))


async def filled() -> ApiBench:
    bench = ApiBench()
    for number, text in enumerate(("refunds take three days", "parcels take five days", "refunds above 50 ask")):
        bench.clock.advance(60)
        await bench.memories.add("default", "desk", text, [f"t{number}"], BY, WEB)
    await bench.memories.add("other", "desk", "refunds of another tenant", [], BY, WEB)
    return bench


async def test_operators_search_and_list_within_their_tenant() -> None:
    bench = await filled()
    async with bench.serving() as url, httpx2.AsyncClient(base_url=f"{url}/api/v1") as client:
        client.headers["authorization"] = "Bearer olga-key"
        names = (await client.get("/memory")).json()
        listed = (await client.get("/memory/desk")).json()["entries"]
        found = (await client.get("/memory/desk", params={"query": "refunds", "limit": 1})).json()["entries"]
        empty = (await client.get("/memory/else")).json()
    assert names == {"memories": [{"name": "desk", "entries": 3}]}
    assert [each["tags"] for each in listed] == [["t2"], ["t1"], ["t0"]]
    assert len(found) == 1
    assert {**found[0], "id": "", "at": ""} == {
        "id": "",
        "at": "",
        "text": "refunds above 50 ask",
        "tags": ["t2"],
        "agent": "agent:refunds",
        "run": "run_1",
        "step": "run_1/2",
        "labels": {"untrusted": ["server:web"]},
    }
    assert empty == {"memory": "else", "entries": []}


async def test_entries_are_forgotten_by_id_or_by_age_and_that_is_recorded() -> None:
    bench = await filled()
    async with bench.serving() as url, httpx2.AsyncClient(base_url=f"{url}/api/v1") as client:
        client.headers["authorization"] = "Bearer olga-key"
        newest = (await client.get("/memory/desk")).json()["entries"][0]
        said = [
            (await client.post("/memory/desk/forget", json=body)).json()
            for body in ({"ids": [newest["id"], "mem_none"]}, {"older_than_s": 90}, {"older_than_s": 0})
        ]
        wrong = [
            (await client.post("/memory/desk/forget", json=body)).status_code
            for body in ({}, {"ids": ["a"], "older_than_s": 0}, {"all": True})
        ]
    assert [each["forgotten"] for each in said] == [1, 1, 1]
    assert wrong == [400, 400, 400]
    assert await bench.memories.names("other") == {"desk": 1}
    noted = [(record.phase, record.operation) for record in bench.gateway.records]
    assert noted == [("intent", "memory.forget"), ("outcome", "memory.forget")] * 3


async def test_nobody_else_looks_into_it() -> None:
    bench = await filled()
    async with bench.serving() as url, httpx2.AsyncClient(base_url=f"{url}/api/v1") as client:
        client.headers["authorization"] = "Bearer bea-key"
        assert (await client.get("/memory/desk")).status_code == 403
        assert (await client.post("/memory/desk/forget", json={"older_than_s": 0})).status_code == 403
