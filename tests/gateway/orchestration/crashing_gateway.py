"""A gateway process on real files that asks its workflow one question, and may be killed at any time.

Its agents live in another process, behind a line-based socket: `crashing_gateway.py DIRECTORY PORT`.
"""

import json
import sys
from pathlib import Path

import anyio

from adapters.durable.dbos_journal import DbosJournal
from adapters.storage.approvals import SqlApprovals
from adapters.storage.database import Database
from adapters.storage.dead_letters import SqlDeadLetters
from adapters.storage.notes import SqlNotes
from adapters.storage.opensteps import SqlOpenSteps
from adapters.storage.runs import SqlRunStore
from adapters.storage.scratch import SqlScratchStore
from adapters.storage.tables import GATEWAY_SCHEMA
from adapters.system import SortableIds, SystemClock
from gateway.core.content import Content, Plain
from gateway.core.errors import Unavailable
from gateway.core.json import JsonObject, json_object
from gateway.core.limits import Budget, Limits
from gateway.core.model import Complete, Emit, Request, Result, TaskOpened, ignore_event
from gateway.core.task import Task, TaskState
from gateway.orchestration.orchestrator import Orchestrator
from gateway.orchestration.settings import WorkflowSettings
from gateway.orchestration.wiring import Wiring
from gateway.patterns.supervisor import Supervisor
from tests.fakes_orchestration import ANA, Agents, StraightPath, answer, no_pattern, told

SETTINGS = WorkflowSettings.model_validate(
    {
        "pattern": "supervisor",
        "propose": True,
        "agents": ["refunds", "replacements", "scheduling"],
        "plan": [
            {"id": "refund", "agent": "refunds", "reads": ["substitute"]},
            {"id": "replace", "agent": "replacements"},
            {"id": "call", "agent": "scheduling", "reads": ["substitute", "refund"]},
        ],
    }
)


class RemoteAgents(Agents):
    """Agents that survive the gateway, because they are elsewhere."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    async def call(self, request: Request, emit: Emit) -> Result:
        content = request.body.content()
        asked: JsonObject = {
            "target": request.capability,
            "message_id": request.meta.get("message_id"),
            "resume": request.meta.get("resume"),
            "input": content.structured,
        }
        task_id = f"task {request.meta.get('message_id')}"
        await emit(TaskOpened(task=Task(id=task_id, context_id="", state=TaskState.WORKING, updated_at_us=0)))
        try:
            stream = await anyio.connect_tcp("127.0.0.1", self._port)
        except OSError as error:
            raise Unavailable("nobody listens") from error
        async with stream:
            await stream.send(json.dumps(asked).encode() + b"\n")
            said = b""
            while not said.endswith(b"\n"):
                said += await stream.receive()
        return answer(json_object(json.loads(said)))


async def main(directory: Path, port: int) -> None:
    database = await Database.open(directory / "gateway.db", GATEWAY_SCHEMA)
    open_steps = SqlOpenSteps(database)
    await open_steps.load()
    scratch = await SqlScratchStore.open(directory / "scratch.db")
    wiring = Wiring(
        journal=DbosJournal(directory / "runs.db"),
        runs=SqlRunStore(database),
        open_steps=open_steps,
        approvals=SqlApprovals(database),
        scratch=scratch,
        notes=SqlNotes(database),
        dead_letters=SqlDeadLetters(database),
        load_pattern=no_pattern,
        clock=SystemClock(),
        ids=SortableIds(),
        mint=lambda step: f"token of {step.step_id}",
        agent_roles=lambda tenant, slug: frozenset({slug}),
    )
    orchestrator = Orchestrator(
        wiring, patterns={"supervisor": Supervisor}, workflows={"help": SETTINGS}, limits=Limits()
    )
    await orchestrator.launch(StraightPath(RemoteAgents(port), orchestrator))  # pyright: ignore[reportArgumentType]
    [capability] = (await orchestrator.capabilities()).capabilities
    request = Request(
        id="req",
        principal=ANA,
        capability=capability.name,
        operation="call",
        budget=Budget(deadline_s=wiring.clock.monotonic_s() + 60),
        body=Plain(Content(structured={"message": "refund, replace, call"})),
        idempotency_key="the customer's one request",
    )
    result = await orchestrator.call(request, capability, ignore_event)
    assert isinstance(result, Complete)
    run_id = str(result.meta["run"])
    print(json.dumps(told(result)).replace(run_id, "RUN"), flush=True)  # noqa: T201 - the answer to the test
    await orchestrator.aclose()
    await scratch.aclose()
    await database.aclose()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
