"""kill -9 on a whole gateway with real files, while agents elsewhere go on: one answer, and every effect once."""

import json
import os
import random
import signal
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from gateway.core.json import Json, JsonObject, json_object

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

GATEWAY = Path(__file__).with_name("crashing_gateway.py")
ROOT = Path(__file__).parents[3]


class AgentServer:
    """Three agents behind one socket. A message id they have seen gets the answer it got before."""

    def __init__(self) -> None:
        self.answers: dict[str, JsonObject] = {}
        self.effects: Counter[str] = Counter()
        """What was really done, by agent: only what was committed counts."""
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
                asked = json_object(json.loads(line))
                await stream.send(json.dumps(self.answer(asked)).encode() + b"\n")

    def answer(self, asked: JsonObject) -> JsonObject:
        message_id = str(asked["message_id"])
        self.deliveries += 1
        if self.deliveries >= self._awaited[0]:
            self._awaited[1].set()
        if message_id not in self.answers:
            given = json_object(asked["input"])
            member = json_object(given["drawbridge"])
            if member["phase"] == "commit":
                self.effects[str(asked["target"])] += 1
            self.answers[message_id] = propose(str(asked["target"]), json_object(member["scratchpad"]))
        return self.answers[message_id]


def propose(target: str, pad: JsonObject) -> JsonObject:
    def seen(key: str) -> Json:
        return json_object(pad.get(key)).get("value")

    match target:
        case "agent:replacements":
            return {"sku": "B2", "drawbridge": {"writes": {"substitute": {"price": 40}}, "summary": "B2"}}
        case "agent:refunds":
            amount = 50 if seen("substitute") is None else 10
            return {"amount": amount, "drawbridge": {"writes": {"refund": amount}, "summary": f"{amount} back"}}
        case _:
            return {"topic": f"refund of {seen('refund')}", "drawbridge": {"summary": "booked"}}


async def run_until_done(directory: Path, port: int, agents: AgentServer, kills: list[int]) -> JsonObject:
    """Start the gateway, kill it right after so many more messages have left it, and let the last one finish."""
    chance = random.Random(7)
    command = [sys.executable, str(GATEWAY), str(directory), str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for kill_after in [*kills, 0]:
        with anyio.fail_after(60):
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


async def test_killed_again_and_again_a_run_gives_the_answer_it_would_have_given(tmp_path: Path) -> None:
    answers: dict[str, JsonObject] = {}
    for name, kills in {"calm": [], "killed": [2, 3, 2, 1]}.items():
        agents = AgentServer()
        directory = tmp_path / name
        directory.mkdir()
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(SocketAttribute.local_port)
            async with anyio.create_task_group() as group:
                group.start_soon(listener.serve, agents.handle)
                answers[name] = await run_until_done(directory, port, agents, kills)
                group.cancel_scope.cancel()
        assert agents.effects == {"agent:refunds": 1, "agent:replacements": 1, "agent:scheduling": 1}
        assert len(agents.answers) == 5 + 3
    assert answers["calm"]["answer"] == {
        "refund": {"amount": 10},
        "replace": {"sku": "B2"},
        "call": {"topic": "refund of 10"},
    }
    assert answers["killed"] == answers["calm"]
