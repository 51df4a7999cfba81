"""kill -9 on a whole gateway with real files, every pattern at work in it, while agents elsewhere go on."""

import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from gateway.core.content import Content, Plain
from gateway.core.errors import Unavailable
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.limits import Budget
from gateway.core.model import Complete, Request, Result
from tests.crashes import Scene
from tests.fakes_orchestration import ANA, Answering, Asked, answer, says
from tests.gateway.orchestration.test_orchestration_crashes import failing_stages, shipping
from tests.gateway.patterns import test_patterns_event_driven as event_driven
from tests.gateway.patterns import test_patterns_mesh as mesh
from tests.gateway.patterns import test_patterns_plan_undoing as plan_undoing
from tests.gateway.patterns import test_patterns_reflection as reflection
from tests.gateway.patterns import test_patterns_router as router
from tests.gateway.patterns.test_patterns_concurrent_crashes import due_diligence
from tests.gateway.patterns.test_patterns_consensus import risk_decision
from tests.gateway.patterns.test_patterns_plan_execute import climbing

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

GATEWAY = Path(__file__).with_name("crashing_gateway.py")
ROOT = Path(__file__).parents[3]
CANARY = Scene(
    settings={
        "pattern": "canary",
        "canary": {"baseline": {"agent": "old"}, "candidate": {"workflow": "inner"}, "share": 1},
    },
    others={"inner": {"pattern": "sequential", "stages": [{"agent": "new"}]}},
    agents=lambda: {"agent:new": says({"by": "new"})},
)
SCENES: Mapping[str, Scene] = {
    "router": router.rich(),
    "sequential": failing_stages(),
    "concurrent": due_diligence(),
    "supervisor": shipping(),
    "plan_execute": climbing(),
    "consensus": risk_decision(),
    "mesh": mesh.SCENE,
    "reflection": reflection.rich(),
    "event_driven": event_driven.SCENE,
    "canary": CANARY,
    "undone-commits": plan_undoing.scene("supervisor", propose=True),
    "undone-steps": plan_undoing.scene("plan_execute"),
}


def patient(settings: Mapping[str, Any]) -> dict[str, Any]:
    """With time for a gateway that has to come back again and again."""
    return {**settings, "limits": {**settings.get("limits", {}), "deadline_s": 600}}


class AgentServer:
    """All agents of all scenes behind one socket. A message id they have seen gets the answer it got before."""

    def __init__(self) -> None:
        self.agents: dict[str, Mapping[str, Answering]] = {name: scene.agents() for name, scene in SCENES.items()}
        self.answers: dict[str, JsonObject] = {}
        self.done: Counter[tuple[str, str, str]] = Counter()
        """What was really done: scene, target and phase."""
        self.deliveries = 0
        self._awaited: tuple[int, anyio.Event] = (0, anyio.Event())

    def after(self, deliveries: int) -> anyio.Event:
        """Set once so many messages have come in."""
        self._awaited = (deliveries, anyio.Event())
        return self._awaited[1]

    async def handle(self, stream: ByteStream) -> None:
        async with stream:
            # A gateway that is killed breaks its connections off.
            with suppress(anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                line = await BufferedByteReceiveStream(stream).receive_until(b"\n", 1_000_000)
                reply = await self.reply(json_object(json.loads(line)))
                await stream.send(json.dumps(reply).encode() + b"\n")

    async def reply(self, said: JsonObject) -> JsonObject:
        message_id, target = json_text(said["message_id"]), json_text(said["target"])
        self.deliveries += 1
        if self.deliveries >= self._awaited[0]:
            self._awaited[1].set()
        if message_id not in self.answers:
            [scene] = SCENES.keys() & set(map(str, json_list(said["workflows"])))
            asked = asked_by(target, said)
            self.done[scene, target, asked.phase] += 1
            try:
                self.answers[message_id] = on_the_wire(await self.agents[scene][target](asked))
            except Unavailable as error:
                self.answers[message_id] = {"unavailable": error.message}
        return self.answers[message_id]


def asked_by(target: str, said: JsonObject) -> Asked:
    given = json_object(said["input"])
    request = Request(
        id="req",
        principal=ANA,
        capability=target,
        operation="call",
        budget=Budget(deadline_s=0),
        body=Plain(Content(structured=given)),
    )
    return Asked(target=target, input=given, text=json_text(said["text"]), request=request)


def on_the_wire(said: "Json | Result") -> JsonObject:
    result = said if isinstance(said, Complete) else answer(said if isinstance(said, str | dict) else None)
    content = result.body.content()
    return {"value": content.structured, "text": content.text, "failed": result.is_error}


async def run_until_done(directory: Path, port: int, agents: AgentServer, kills: list[int]) -> JsonObject:
    """Start the gateway, kill it right after so many more messages have left it, and let the last one finish."""
    chance = random.Random(7)
    command = [sys.executable, str(GATEWAY), str(directory), str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for kill_after in [*kills, 0]:
        with anyio.fail_after(120):
            async with await anyio.open_process(command, env=environment, stderr=None) as process:
                if kill_after:
                    await agents.after(agents.deliveries + kill_after).wait()
                    # From before the answer is on its way to after it is recorded: a step takes some milliseconds.
                    with anyio.move_on_after(chance.uniform(0.0, 0.006)):
                        await process.wait()
                    with suppress(ProcessLookupError):
                        process.send_signal(signal.SIGKILL)
                    continue
                assert process.stdout is not None
                said = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 1_000_000)
                assert await process.wait() == 0
                return json_object(json.loads(said))
    raise AssertionError("unreachable: the last one returns")


def everything() -> dict[str, Any]:
    """What the gateway is told of the scenes."""
    workflows: dict[str, Any] = {name: patient(scene.settings) for name, scene in SCENES.items()}
    for scene in SCENES.values():
        workflows |= {name: patient(settings) for name, settings in scene.others.items()}
    questions = {
        name: {"message": scene.message, **({} if scene.data is None else {"data": scene.data})}
        for name, scene in SCENES.items()
    }
    targets = sorted({target for scene in SCENES.values() for target in scene.agents()})
    return {"workflows": workflows, "questions": questions, "targets": targets}


def without_order(said: Json) -> Json:
    """The answer without the order in which steps side by side came to be done, and without their ids for it."""
    steps = [json_object(each) for each in json_list(json_object(said)["steps"])]
    counted = Counter((str(step["name"]), str(step["target"]), str(step["ok"])) for step in steps)
    told: list[Json] = [[*each, times] for each, times in sorted(counted.items())]
    return {**json_object(said), "steps": told}


async def test_killed_again_and_again_each_pattern_gives_the_answer_it_would_have_given(tmp_path: Path) -> None:
    answers: dict[str, JsonObject] = {}
    done: dict[str, Counter[tuple[str, str, str]]] = {}
    for name, kills in {"calm": [], "killed": [4, 9, 14, 9, 5]}.items():
        agents = AgentServer()
        directory = tmp_path / name
        directory.mkdir()
        (directory / "scenes.json").write_text(json.dumps(everything()))
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(SocketAttribute.local_port)
            async with anyio.create_task_group() as group:
                group.start_soon(listener.serve, agents.handle)
                answers[name] = await run_until_done(directory, port, agents, kills)
                group.cancel_scope.cancel()
        done[name] = agents.done
    assert answers["calm"].keys() == SCENES.keys()
    for pattern, scene in SCENES.items():
        assert json_object(answers["calm"][pattern])["failed"] is scene.fails, pattern
        assert without_order(answers["killed"][pattern]) == without_order(answers["calm"][pattern]), pattern
    assert done["killed"] == done["calm"]
