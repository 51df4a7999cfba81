"""A gateway process on real files that asks workflows one question each, at once, and may be killed at any time.

`crashing_gateway.py DIRECTORY PORT`: `DIRECTORY/scenes.json` has workflows and questions; the agents live in another
process, behind a line-based socket.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import replace
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
from gateway.core.json import JsonObject, json_list, json_object, json_text
from gateway.core.limits import Budget, Limits
from gateway.core.model import Capability, Complete, Emit, Request, Result, TaskOpened, ignore_event
from gateway.core.task import Task, TaskState
from gateway.orchestration.orchestrator import Orchestrator
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.orchestration.wiring import Wiring
from gateway.plugins import load_patterns
from tests.fakes_orchestration import ANA, Agents, StraightPath, answer, no_pattern, says, told


class RemoteAgents(Agents):
    """Agents that survive the gateway, because they are elsewhere."""

    def __init__(self, port: int, targets: Iterable[str] = ()) -> None:
        super().__init__(answers={target: says({}) for target in targets})
        self._port = port

    async def call(self, request: Request, emit: Emit) -> Result:
        content = request.body.content()
        asked: JsonObject = {
            "workflows": [each.removeprefix("workflow:") for each in request.principal.chain],
            "target": request.capability,
            "text": content.text,
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
        reply = json_object(json.loads(said))
        if "unavailable" in reply:
            raise Unavailable(json_text(reply["unavailable"]))
        return replace(answer(reply["value"], text=json_text(reply.get("text"))), is_error=bool(reply.get("failed")))


async def main(directory: Path, port: int) -> None:
    scenes = json_object(json.loads((directory / "scenes.json").read_text()))
    workflows = {name: WorkflowSettings.model_validate(said) for name, said in json_object(scenes["workflows"]).items()}
    agents = RemoteAgents(port, map(str, json_list(scenes["targets"])))
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
    patterns = load_patterns({each.pattern for each in workflows.values()})
    orchestrator = Orchestrator(wiring, patterns=patterns, workflows=workflows, limits=Limits())
    await orchestrator.launch(StraightPath(agents, orchestrator))  # pyright: ignore[reportArgumentType]
    answers: JsonObject = {}

    async def ask(capability: Capability, question: JsonObject) -> None:
        request = Request(
            id=f"req of {capability.local}",
            principal=ANA,
            capability=capability.name,
            operation="call",
            budget=Budget(deadline_s=wiring.clock.monotonic_s() + 300),
            body=Plain(Content(structured=question)),
            idempotency_key=f"the one question to {capability.local}",
        )
        result = await orchestrator.call(request, capability, ignore_event)
        assert isinstance(result, Complete)
        said = json.dumps(told(result)).replace(str(result.meta["run"]), "RUN")
        answers[capability.local] = {**json_object(json.loads(said)), "failed": result.is_error}

    questions = json_object(scenes["questions"])
    async with anyio.create_task_group() as group:
        for capability in (await orchestrator.capabilities()).capabilities:
            if capability.local in questions:
                group.start_soon(ask, capability, json_object(questions[capability.local]))
    print(json.dumps(answers), flush=True)  # noqa: T201 - the answer to the test
    await orchestrator.aclose()
    await scratch.aclose()
    await database.aclose()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
