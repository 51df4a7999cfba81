"""What became of chaos, over a real socket."""

import httpx2
import pytest

from adapters.http.api_contract import PREFIX
from gateway.core.json import JsonObject
from tests.fakes_api import ApiBench

pytestmark = pytest.mark.anyio


async def test_a_report_on_chaos_reads_the_log_a_page_at_a_time_and_asks_each_run_once() -> None:
    bench = ApiBench()
    chaos: JsonObject = {"id": "c1", "fault": "empty"}
    struck: JsonObject = {"seq": 1, "id": "r1", "phase": "outcome", "capability": "agent:a", "outcome": "ok"}
    detail: JsonObject = {"chaos": [chaos]}
    record: JsonObject = {**struck, "run_id": "run_9", "detail": detail}
    bench.audit.records = [record, *({**record, "seq": seq, "id": f"r{seq}"} for seq in range(2, 1103))]
    headers = {"authorization": "Bearer olga-key"}
    async with bench.serving() as url, httpx2.AsyncClient(base_url=url + PREFIX, headers=headers) as client:
        said = (await client.get("/chaos/c1/report")).json()["report"]
    asked = [(each.tenant, each.text, each.after) for each in bench.audit.asked]
    assert asked == [("default", "c1", after) for after in (-1, 500, 1000, 1102)]
    assert [each["record"] for each in said["struck"][:2]] == ["r1", "r2"]
    assert said["far"]["struck"] == 1102
    assert [each["run"] for each in said["runs"]] == ["run_9"]
