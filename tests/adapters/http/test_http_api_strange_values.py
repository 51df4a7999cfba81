"""What strangers answer may be of any size and shape: operators can look at the runs it came from all the same."""

import json
from dataclasses import replace

import anyio
import httpx2
import pytest

from adapters.http.shown_json import LEFT_OUT
from gateway.core.json import Json
from tests.fakes_api import ApiBench, a_run, a_step

pytestmark = pytest.mark.anyio

HUGE = 10**200


def nested(levels: int) -> Json:
    value: Json = "core"
    for _ in range(levels):
        value = [value]
    return value


STRANGE: dict[str, tuple[Json, str]] = {
    "a number of 200 digits": (HUGE, str(HUGE)),
    "300 levels": (nested(300), LEFT_OUT),
    "half a character": ("\ud800", "?"),
}


@pytest.mark.parametrize("name", STRANGE)
async def test_a_run_with_a_strange_answer_in_it_is_shown_explained_and_followed(name: str) -> None:
    value, shown = STRANGE[name]
    bench = ApiBench()
    await bench.runs.open(a_run())
    await bench.runs.note_step(replace(a_step("run_1/1"), value={"said": value}))
    await bench.runs.append("run_1", "said", {"kind": "progress", "detail": {"said": value}}, 2)
    await bench.runs.update("run_1", state="completed", at_us=3, output={"said": value})
    async with bench.serving() as url, httpx2.AsyncClient(base_url=f"{url}/api/v1") as client:
        client.headers["authorization"] = "Bearer olga-key"
        with anyio.fail_after(60):
            found = await client.get("/runs/run_1")
            events = await client.get("/runs/run_1/events")
    assert (found.status_code, events.status_code) == (200, 200)
    assert shown in found.text
    assert shown in events.text
    assert "event: end" in events.text
    assert json.loads(found.text)["run"]["id"] == "run_1"
