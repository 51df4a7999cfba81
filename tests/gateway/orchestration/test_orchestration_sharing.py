"""Several gateway processes on one PostgreSQL: what one leaves behind, killed or frozen, goes on elsewhere."""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import psycopg
import pytest
from anyio.abc import ByteStream, Process, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from adapters.durable.places import SCHEMA
from gateway.core.json import Json, JsonObject, json_list, json_object

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

GATEWAY = Path(__file__).with_name("sharing_gateway.py")
ROOT = Path(__file__).parents[3]
RUNS = 4
STAGES = 4


@dataclass(slots=True)
class SlowAgents:
    """Agents elsewhere, in no hurry. A message id they have seen is done, and gets the answer it got before."""

    done: Counter[str] = field(default_factory=Counter[str])
    """How often each thing was really done, by message id."""
    answer_within_s: float = 0.2
    may_answer: anyio.Event = field(default_factory=anyio.Event)
    asked: set[str] = field(default_factory=set[str])
    """What has come in, by message id: what is taken up elsewhere comes again."""
    _awaited: list[tuple[int, anyio.Event]] = field(default_factory=list[tuple[int, anyio.Event]])

    def after(self, messages: int) -> anyio.Event:
        """Set once so many different messages have come in."""
        event = anyio.Event()
        self._awaited.append((messages, event))
        return event

    async def handle(self, stream: ByteStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                line = await BufferedByteReceiveStream(stream).receive_until(b"\n", 1_000_000)
                asked = json_object(json.loads(line))
                message_id = str(asked["message_id"])
                self.asked.add(message_id)
                for messages, event in self._awaited:
                    if len(self.asked) >= messages:
                        event.set()
                await self.may_answer.wait()
                await anyio.sleep(self.answer_within_s)
                self.done[message_id] = 1
                await stream.send(json.dumps({"value": {"by": asked["target"]}}).encode() + b"\n")


@dataclass(slots=True)
class Gateway:
    process: Process
    said: BufferedByteReceiveStream

    async def hear(self) -> Json:
        return json.loads(await self.said.receive_until(b"\n", 10_000_000))

    async def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send(f"{command}\n".encode())
        assert await self.hear() == f"{command.split()[0]} done"


@asynccontextmanager
async def gateways(url: str, agents: SlowAgents, count: int) -> AsyncGenerator[list[Gateway]]:
    """So many processes with `RUNS` runs each under way."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    async with AsyncExitStack() as stack:
        listener = await stack.enter_async_context(await anyio.create_tcp_listener(local_host="127.0.0.1"))
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        group.start_soon(listener.serve, agents.handle)
        port = listener.extra(SocketAttribute.local_port)
        started: list[Gateway] = []
        with anyio.fail_after(90):
            for number in range(count):
                command = [sys.executable, str(GATEWAY), url, str(port), f"g{number}", str(RUNS), str(count * RUNS)]
                process = await anyio.open_process(command, env=environment, stderr=None)
                stack.push_async_callback(ended, process)
                assert process.stdout is not None
                started.append(Gateway(process, BufferedByteReceiveStream(process.stdout)))
                assert await started[-1].hear() == "ready"
            yield started


async def ended(process: Process) -> None:
    with anyio.CancelScope(shield=True), suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
        await process.wait()


def expected(count: int) -> Mapping[str, tuple[str, list[str]]]:
    steps = [f"RUN/{number}" for number in range(1, STAGES + 1)]
    return {f"g{gateway} {number}": ("completed", steps) for gateway in range(count) for number in range(RUNS)}


def summed_up(said: Json) -> Mapping[str, tuple[str, list[str]]]:
    return {
        key: (str(state), [str(json_object(step)["id"]) for step in json_list(answer.get("steps"))])
        for key, each in json_object(said).items()
        for state, answer in [(json_list(each)[0], json_object(json_list(each)[1]))]
    }


async def test_one_of_three_is_killed_and_its_runs_finish_elsewhere(postgres_url: str) -> None:
    agents = SlowAgents()
    agents.may_answer.set()
    async with gateways(postgres_url, agents, 3) as (first, second, third):
        await agents.after(len(agents.asked) + 5).wait()
        second.process.send_signal(signal.SIGKILL)
        answers = [await first.hear(), await third.hear()]
    assert summed_up(answers[0]) == expected(3)
    assert answers[0] == answers[1]
    assert len(agents.done) == 3 * RUNS * STAGES
    assert set(agents.done.values()) == {1}


async def test_a_frozen_process_that_wakes_up_does_no_harm(postgres_url: str) -> None:
    agents = SlowAgents()
    agents.may_answer.set()
    async with gateways(postgres_url, agents, 2) as (alive, frozen):
        await agents.after(len(agents.asked) + 3).wait()
        frozen.process.send_signal(signal.SIGSTOP)
        before = await alive.hear()
        rows = _rows(postgres_url)
        frozen.process.send_signal(signal.SIGCONT)
        after = await frozen.hear()
        assert frozen.process.stdin is not None
        await frozen.process.stdin.aclose()
        assert await frozen.process.wait() == 0
    assert summed_up(before) == expected(2)
    assert after == before
    assert _rows(postgres_url) == rows
    assert len(agents.done) == 2 * RUNS * STAGES


async def test_a_run_is_paused_let_go_on_and_canceled_from_another_process(postgres_url: str) -> None:
    agents = SlowAgents()
    async with gateways(postgres_url, agents, 2) as (first, second):
        await agents.after(2 * RUNS).wait()
        await first.tell("pause g1 0")
        await first.tell("cancel g1 1")
        agents.may_answer.set()
        others = 2 * RUNS - 2
        await agents.after(2 * RUNS + others * (STAGES - 1)).wait()
        # Had the paused run or the canceled one begun another step, there would be more.
        assert len(agents.asked) == 2 * RUNS + others * (STAGES - 1)
        states = _states(postgres_url)
        await first.tell("resume g1 0")
        said = summed_up(await second.hear())
    assert states["g1 0"] == "working"
    assert said["g1 1"] == ("canceled", [])
    assert {key: value for key, value in said.items() if key != "g1 1"} == {
        key: value for key, value in expected(2).items() if key != "g1 1"
    }


def _rows(url: str) -> list[JsonObject]:
    """Everything that is shown of runs, and what the engine has of them."""
    queries = (
        "SELECT id, state, updated_at_us, output FROM drawbridge.runs ORDER BY id",
        "SELECT run_id, id, attempt, state FROM drawbridge.run_steps ORDER BY 1, 2, 3",
        "SELECT run_id, seq, key FROM drawbridge.run_events ORDER BY 1, 2",
        f"SELECT workflow_uuid, status FROM {SCHEMA}.workflow_status ORDER BY 1",
    )
    with psycopg.connect(url) as connection:
        return [{"rows": [[*map(str, row)] for row in connection.execute(query.encode())]} for query in queries]


def _states(url: str) -> dict[str, str]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT spec, state FROM drawbridge.runs").fetchall()
    return {str(json.loads(spec)["message"]): str(state) for spec, state in found}
