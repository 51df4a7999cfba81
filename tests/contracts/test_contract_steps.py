"""What a pattern sees of `Steps` is the same on every engine, live and after an orderly restart."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from adapters.durable.dbos_journal import DbosJournal
from adapters.durable.memory import Entry, MemoryJournal, copied
from adapters.durable.places import PostgresServer
from adapters.storage.database import Database
from adapters.storage.notes import SqlNotes
from adapters.storage.opensteps import SqlOpenSteps
from adapters.storage.postgres import PostgresDatabase
from adapters.storage.runs import SqlRunStore
from adapters.storage.scratch import SCRATCH_SCHEMA, SqlScratchStore
from adapters.storage.tables import GATEWAY_SCHEMA
from adapters.system import SortableIds, SystemClock
from gateway.core.content import Content, Plain
from gateway.core.errors import Conflict, InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.limits import Budget, Limits
from gateway.core.model import Accepted, Complete, Request, Result, ignore_event
from gateway.core.ports.journal import Journal
from gateway.core.ports.orchestration import Node, Outcome, StepResult, Steps
from gateway.core.ports.runs import RunEvent
from gateway.core.ports.world import Secret
from gateway.core.task import Task
from gateway.orchestration.orchestrator import Orchestrator
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.orchestration.wiring import Wiring
from gateway.testing.agents import Agent, Reply, hangs
from gateway.testing.agents import says as replies
from gateway.testing.rehearsal import Stage, rehearse
from gateway.testing.stores.approvals import MemoryApprovals
from tests.fakes_orchestration import (
    ANA,
    Agents,
    Asked,
    MemoryDeadLetters,
    MemoryNotes,
    MemoryOpenSteps,
    MemoryRuns,
    MemoryScratch,
    StraightPath,
    no_pattern,
    told,
)

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class Everything:
    """Uses each part of `Steps` once, and waits in the middle when it is told to."""

    settings: JsonObject

    async def run(self, task: Task, steps: Steps) -> Outcome:
        pad = steps.scratchpad
        seen: list[Json] = []
        first = await steps.call(Node(target="agent:a", input={"n": 1}))
        written = await pad.put("key", first.value, expected_version=0, writer=first.id)
        seen.append([first.value, written.version, await pad.claim("account:1", ttl_s=60)])
        results = await steps.graph(
            {
                "left": Node(target="agent:a", input={"n": 2}, reads=("key",)),
                "right": Node(target="agent:a", input={"n": 3}),
                "both": Node(target="agent:a", input={"n": 4}, after=("left", "right")),
            },
            limit=2,
            deadline_s=30,
        )
        seen.append({name: [result.value, dict(result.reads)] for name, result in results.items()})
        try:
            await pad.put("key", 2, expected_version=0)
        except Conflict as conflict:
            seen.append(conflict.detail)
        found = await pad.get("key")
        seen.append(None if found is None else [found.value, found.version, found.writer.endswith("/1")])
        seen.append([*(await pad.all())])
        await pad.release("account:1")
        await steps.emit("half way", {"n": 1}, text="half way")
        for name, target in (("one", "agent:a"), ("two", "agent:a"), ("three", "agent:never")):
            await steps.begin(name, Node(target=target, input={"n": name}, part=name))
        ended = [await steps.finished(), await steps.finished()]
        seen.append([[name, result.ok, result.value] for name, result in sorted(filter(None, ended), key=first_of)])
        dropped = await steps.drop("three", reason="enough")
        seen.append([dropped.ok, dropped.error, dropped.reason])
        seen.append(await steps.finished() is None)
        try:
            await steps.drop("three", reason="gone")
        except InvalidRequest as refused:
            seen.append(refused.message)
        await steps.decided("route", "a", because="it was asked first", detail={"score": 1})
        await steps.part("half", {"done": 0.5})
        await steps.call(Node(target="agent:gate", input={}))
        seen.append(steps.spent.calls)
        seen.append(await steps.now() > 0)
        return Outcome(text="done", value=seen)


def first_of(pair: tuple[str, StepResult]) -> str:
    return pair[0]


class Engines:
    """Opens orchestrators that find what the ones before them left."""

    def __init__(self, kind: str, directory: Path, url: str) -> None:
        self._url = url
        self._kind = kind
        self._directory = directory
        self._entries: dict[str, Entry] = {}
        self._memory = (MemoryRuns(), MemoryOpenSteps(), MemoryScratch(), MemoryNotes())
        self.agents = Agents()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[tuple[Orchestrator, Wiring]]:
        kinds = {"memory": self._in_memory, "sqlite": self._on_disk, "postgres": self._on_a_server}
        opening = kinds[self._kind]()
        async with opening as wiring:
            orchestrator = Orchestrator(
                wiring,
                patterns={"everything": Everything},
                workflows={"help": WorkflowSettings(pattern="everything")},
                limits=Limits(),
            )
            await orchestrator.launch(StraightPath(self.agents, orchestrator))  # pyright: ignore[reportArgumentType]
            try:
                with anyio.fail_after(60):
                    yield orchestrator, wiring
            finally:
                await orchestrator.aclose()

    @asynccontextmanager
    async def _in_memory(self) -> AsyncGenerator[Wiring]:
        journal = MemoryJournal(copied(self._entries))
        runs, open_steps, scratch, notes = self._memory
        yield wired(journal, runs, open_steps, scratch, notes)
        self._entries = journal.entries

    @asynccontextmanager
    async def _on_disk(self) -> AsyncGenerator[Wiring]:
        database = await Database.open(self._directory / "gateway.db", GATEWAY_SCHEMA)
        open_steps = SqlOpenSteps(database)
        await open_steps.load()
        scratch = await SqlScratchStore.open(self._directory / "scratch.db")
        runs, notes = SqlRunStore(database), SqlNotes(database)
        yield wired(DbosJournal(self._directory / "runs.db"), runs, open_steps, scratch, notes)
        await scratch.aclose()
        await database.aclose()

    @asynccontextmanager
    async def _on_a_server(self) -> AsyncGenerator[Wiring]:
        url = Secret(self._url)
        database = await PostgresDatabase.open(url, (GATEWAY_SCHEMA, SCRATCH_SCHEMA), connections=5)
        open_steps = SqlOpenSteps(database)
        await open_steps.load()
        runs, notes, scratch = SqlRunStore(database), SqlNotes(database), SqlScratchStore(database)
        journal = DbosJournal(PostgresServer(url, connections=5), lease_s=120.0)
        yield replace(wired(journal, runs, open_steps, scratch, notes), alone=False)
        await database.aclose()


def wired(
    journal: Journal,
    runs: SqlRunStore | MemoryRuns,
    open_steps: SqlOpenSteps | MemoryOpenSteps,
    scratch: SqlScratchStore | MemoryScratch,
    notes: SqlNotes | MemoryNotes,
) -> Wiring:
    return Wiring(
        journal=journal,
        runs=runs,
        open_steps=open_steps,
        scratch=scratch,
        notes=notes,
        approvals=MemoryApprovals(),
        dead_letters=MemoryDeadLetters(),
        load_pattern=no_pattern,
        clock=SystemClock(),
        ids=SortableIds(),
        mint=lambda step: "",
        agent_roles=lambda tenant, slug: frozenset(),
    )


@dataclass(slots=True)
class Gate:
    """An agent that answers everything, but for one thing it holds back until it may."""

    reached: anyio.Event = field(default_factory=anyio.Event)
    may_pass: anyio.Event = field(default_factory=anyio.Event)

    async def count(self, asked: Asked) -> Json:
        return {"n": asked.input["n"]}

    async def never(self, asked: Asked) -> Json:
        await anyio.sleep_forever()
        return {}

    async def hold(self, asked: Asked) -> Json:
        self.reached.set()
        await self.may_pass.wait()
        return {}


async def ask(orchestrator: Orchestrator, *, wait: bool) -> Result:
    [capability] = (await orchestrator.capabilities()).capabilities
    request = Request(
        id="req",
        principal=ANA,
        capability=capability.name,
        operation="call",
        budget=Budget(deadline_s=SystemClock().monotonic_s() + 120),
        body=Plain(Content(structured={"message": "go"})),
        meta={"message_id": "m", "return_immediately": not wait},
    )
    return await orchestrator.call(request, capability, ignore_event)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def engines(request: pytest.FixtureRequest, tmp_path: Path) -> Engines:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    return Engines(request.param, tmp_path, url)


CALLS = 8
"""Made by the pattern before it looks, the one that was dropped included."""
EXPECTED: Json = [
    [{"n": 1}, 1, True],
    {"left": [{"n": 2}, {"key": 1}], "right": [{"n": 3}, {}], "both": [{"n": 4}, {}]},
    {"key": "key", "expected": 0, "actual": 1},
    [{"n": 1}, 1, True],
    ["key"],
    [["one", True, {"n": "one"}], ["two", True, {"n": "two"}]],
    [False, "canceled", "enough"],
    True,
    "no step called three is under way",
    CALLS,
    True,
]


async def test_a_pattern_sees_the_same_live_and_after_a_restart(engines: Engines) -> None:
    gate = Gate()
    engines.agents.answers |= {"agent:a": gate.count, "agent:gate": gate.hold, "agent:never": gate.never}
    async with engines.open() as (orchestrator, _):
        accepted = await ask(orchestrator, wait=False)
        assert isinstance(accepted, Accepted)
        await gate.reached.wait()
        orchestrator.leave()
    gate.may_pass.set()
    async with engines.open() as (orchestrator, wiring):
        result = await ask(orchestrator, wait=True)
        events = await wiring.runs.events(accepted.task.id)
        rows = await wiring.runs.steps(accepted.task.id)
    assert isinstance(result, Complete)
    assert told(result)["answer"] == EXPECTED
    assert [asked.input.get("n") for asked in engines.agents.asked if asked.target == "agent:a"].count(1) == 1
    assert len(engines.agents.asked_of("agent:a")) == 6
    assert {(row.target, row.state) for row in rows} == {
        ("agent:a", "ok"),
        ("agent:gate", "ok"),
        ("agent:never", "canceled"),
    }
    parts = {json_text(body.get("name")) for body in (event.body for event in events) if body["kind"] == "artifact"}
    assert parts == {"part-one", "part-two", "part-half", "answer"}
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert sum(said_in(event) == "half way" for event in events) == 1
    assert events[-1].body == {"kind": "status", "state": "completed", "text": ""}


async def test_steps_in_memory_show_a_pattern_the_same() -> None:
    agents: dict[str, Agent] = {
        "agent:a": lambda asked: Reply(value={"n": asked.fields["n"]}, takes_s=1),
        "agent:gate": replies({}),
        "agent:never": hangs(),
    }
    seen = await rehearse(Everything({}), Stage(agents=agents))
    # In virtual time the run has just begun when it looks at the clock for the first time.
    assert seen.outcome.value == EXPECTED
    assert set(seen.parts) == {"one", "two", "half"}
    assert seen.decisions() == [{"what": "route", "chosen": "a", "because": "it was asked first", "score": 1}]


def said_in(event: RunEvent) -> Json:
    return json_object(event.body).get("text")
