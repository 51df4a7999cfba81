"""What became of chaos, over a real socket."""

import httpx2
import pytest

from adapters.http.api_contract import PREFIX
from gateway.core.json import JsonObject
from tests.fakes_api import ApiBench

pytestmark = pytest.mark.anyio


async def test_a_report_on_chaos_asks_the_log_by_label_and_by_name_and_the_runs_once() -> None:
    bench = ApiBench()
    chaos: JsonObject = {"id": "c1", "fault": "empty"}
    struck: JsonObject = {"seq": 1, "id": "r1", "phase": "outcome", "capability": "agent:a", "outcome": "ok"}
    detail: JsonObject = {"chaos": [chaos]}
    record: JsonObject = {**struck, "run_id": "run_9", "detail": detail}
    bench.audit.records = [record]
    headers = {"authorization": "Bearer olga-key"}
    async with bench.serving() as url, httpx2.AsyncClient(base_url=url + PREFIX, headers=headers) as client:
        said = (await client.get("/chaos/c1/report")).json()["report"]
    assert [(each.tenant, each.label, each.text) for each in bench.audit.asked] == [
        ("default", "chaos:c1", ""),
        ("default", "", "c1"),
    ]
    assert [each["record"] for each in said["struck"]] == ["r1"]
    assert [each["run"] for each in said["runs"]] == ["run_9"]
