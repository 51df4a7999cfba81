"""A judge that is an agent, compared with people through a running gateway."""

import functools
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from a2a.server.agent_execution import RequestContext
from a2a.server.tasks import TaskUpdater
from a2a.types import Part
from anyio.from_thread import BlockingPortal
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value

from gateway.cli.failure import FINDING, OK
from gateway.cli.main import main
from tests.e2e.conftest import Serve
from tests.e2e.gateways import Gateway, key_of
from tests.fakes_a2a import Deeds, real_agent

pytestmark = pytest.mark.anyio


class GoesByPlace(Deeds):
    """A judge that prefers whatever it is shown first."""

    async def _echo(self, updater: TaskUpdater, context: RequestContext) -> None:
        assert context.message is not None
        parts: list[dict[str, Any]] = MessageToDict(context.message)["parts"]
        given = next(each["data"] for each in parts if "data" in each)
        scores = {each["answer"]: {"sound": 1 if n == 0 else 0.25} for n, each in enumerate(given["answers"])}
        await updater.add_artifact([Part(data=ParseDict({"scores": scores, "because": "A leads"}, Value()))])
        await updater.complete()


@pytest.fixture(scope="module")
def judge(portal: BlockingPortal) -> Generator[str]:
    with portal.wrap_async_context_manager(real_agent(GoesByPlace())) as url:
        yield url


@pytest.fixture(scope="module")
def gateway(serve: Serve, judge: str) -> Gateway:
    return serve(
        {
            "agents": {name: {"card": judge} for name in ("a", "b", "judge")},
            "workflows": {
                "risk": {
                    "pattern": "consensus",
                    "agents": ["a", "b"],
                    "judge": "judge",
                    "consensus": {"rubric": {"sound": {"about": "Does it follow?"}}},
                }
            },
            "roles": {"all": {"allow": ["agent:judge"]}},
            "principals": {name: {"roles": roles, "key": f"env:{name.upper()}_KEY"} for name, roles in PEOPLE.items()},
            "egress": {"allow": ["127.0.0.0/8"], "ports": []},
        }
    )


PEOPLE = {"ana": ["all"], "ben": list[str]()}


async def judged(gateway: Gateway, folder: Path, who: str) -> int:
    cases = [{"id": str(n), "answers": {"x": n, "y": -n}, "best": "x", "scores": {"x": {"sound": 1}}} for n in (1, 2)]
    (folder / "gold.jsonl").write_text("\n".join(map(json.dumps, cases)))
    (folder / "key").write_text(f"{key_of(who)}\n")
    place = ["--config", str(gateway.config), "--data", str(gateway.data)]
    how = ["--workflow", "risk", "--online", "--key", str(folder / "key"), "--json"]
    given = ["judge", "eval", str(folder / "gold.jsonl"), *how, *place]
    return await anyio.to_thread.run_sync(functools.partial(main, given))


async def test_a_judge_that_goes_by_the_place_of_an_answer_is_found_out(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in gateway.environment.items():
        monkeypatch.setenv(name, value)
    assert await judged(gateway, tmp_path, "ana") == OK
    said = json.loads(capsys.readouterr().out)
    assert said["accuracy"] == 0.5
    assert said["position"] == {"changed": 1.0, "firstWins": 1.0, "expected": 0.5}
    assert said["criteria"] == [{"criterion": "sound", "weight": 1.0, "scores": 4, "bias": -0.375, "error": 0.375}]


async def test_who_may_not_call_the_judge_learns_nothing_of_it(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in gateway.environment.items():
        monkeypatch.setenv(name, value)
    assert await judged(gateway, tmp_path, "ben") == FINDING
    assert "accuracy" not in capsys.readouterr().out
