"""One of several gateway processes on one PostgreSQL database: `sharing_gateway.py URL PORT NAME RUNS ALL`.

Starts RUNS runs, waits until ALL of everybody's have ended, wherever they ran, and prints their answers. Its agents
live in another process, behind a line-based socket. Reads commands from its input until then: `pause KEY`,
`resume KEY`, `cancel KEY`, each about a run that may be anybody's.
"""

import json
import sys

import anyio
import structlog
from anyio import to_thread

from adapters.durable.dbos_journal import DbosJournal
from adapters.durable.places import PostgresServer
from adapters.storage.approvals import SqlApprovals
from adapters.storage.dead_letters import SqlDeadLetters
from adapters.storage.notes import SqlNotes
from adapters.storage.opensteps import SqlOpenSteps
from adapters.storage.postgres import PostgresDatabase
from adapters.storage.runs import SqlRunStore
from adapters.storage.scratch import SCRATCH_SCHEMA, SqlScratchStore
from adapters.storage.tables import GATEWAY_SCHEMA
from adapters.system import SortableIds, SystemClock
from gateway.core.content import Content, Plain
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.limits import Budget, Limits
from gateway.core.model import Request, ignore_event
from gateway.core.ports.runs import Run
from gateway.core.ports.world import Secret
from gateway.core.task import TaskState
from gateway.orchestration.orchestrator import Orchestrator
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.orchestration.wiring import Wiring
from gateway.patterns.sequential.pattern import Sequential
from tests.fakes_orchestration import ANA, StraightPath, no_pattern
from tests.gateway.orchestration.crashing_gateway import RemoteAgents

LEASE_S = 3.0
SETTINGS = WorkflowSettings.model_validate(
    {
        "pattern": "sequential",
        "stages": [{"agent": "a"}, {"agent": "b"}, {"agent": "c"}, {"agent": "d"}],
        "limits": {"deadline_s": 120},
    }
)


async def main(url: str, port: int, name: str, count: int, everybodys: int) -> None:
    database = await PostgresDatabase.open(Secret(url), (GATEWAY_SCHEMA, SCRATCH_SCHEMA), connections=5)
    open_steps = SqlOpenSteps(database)
    await open_steps.load()
    wiring = Wiring(
        journal=DbosJournal(PostgresServer(Secret(url), connections=5), poll_s=0.2, lease_s=LEASE_S),
        runs=SqlRunStore(database),
        open_steps=open_steps,
        scratch=SqlScratchStore(database),
        notes=SqlNotes(database),
        approvals=SqlApprovals(database),
        dead_letters=SqlDeadLetters(database),
        load_pattern=no_pattern,
        clock=SystemClock(),
        ids=SortableIds(),
        mint=lambda step: f"token of {step.step_id}",
        agent_roles=lambda tenant, slug: frozenset({slug}),
        alone=False,
    )
    orchestrator = Orchestrator(
        wiring, patterns={"sequential": Sequential}, workflows={"help": SETTINGS}, limits=Limits()
    )
    await orchestrator.launch(StraightPath(RemoteAgents(port), orchestrator))  # pyright: ignore[reportArgumentType]
    for number in range(count):
        await start(orchestrator, wiring, f"{name} {number}")
    say("ready")
    async with anyio.create_task_group() as group:
        group.start_soon(obey, orchestrator, wiring)
        runs = await all_ended(wiring, everybodys)
        say({run_key(run): [run.state, answer_of(run)] for run in runs})
        group.cancel_scope.cancel()
    await orchestrator.aclose()
    await database.aclose()


async def start(orchestrator: Orchestrator, wiring: Wiring, message: str) -> None:
    [capability] = (await orchestrator.capabilities()).capabilities
    request = Request(
        id="req",
        principal=ANA,
        capability=capability.name,
        operation="call",
        budget=Budget(deadline_s=wiring.clock.monotonic_s() + 300),
        body=Plain(Content(structured={"message": message})),
        idempotency_key=message,
        meta={"return_immediately": True},
    )
    await orchestrator.call(request, capability, ignore_event)


async def all_ended(wiring: Wiring, everybodys: int) -> tuple[Run, ...]:
    while True:
        runs = await wiring.runs.list("default", limit=1000)
        if len(runs) >= everybodys and all(TaskState(run.state).terminal for run in runs):
            return runs
        await anyio.sleep(0.1)


async def obey(orchestrator: Orchestrator, wiring: Wiring) -> None:
    while line := await to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        verb, _, key = line.strip().partition(" ")
        [run] = [run for run in await wiring.runs.list("default", limit=1000) if run_key(run) == key]
        control = orchestrator.control
        await {"pause": control.pause, "resume": control.resume, "cancel": control.cancel}[verb](run.id)
        say(f"{verb} done")


def run_key(run: Run) -> str:
    return str(run.spec["message"])


def answer_of(run: Run) -> Json:
    structured = json_object(json_object(json_object(run.output).get("content")).get("structured"))
    return json.loads(json.dumps(structured).replace(run.id, "RUN"))


def say(what: "str | JsonObject") -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - the answer to the test


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    anyio.run(main, sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
