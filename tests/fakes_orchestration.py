"""A world for runs: stores that survive a crash, agents that know what they have been told, and a path between them."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio
from msgspec import structs

from adapters.durable.memory import Entry as JournalEntry
from adapters.durable.memory import MemoryJournal, Where, copied
from adapters.system import SortableIds, SystemClock
from gateway.core.content import Content, Plain, data_part, text_part
from gateway.core.errors import Conflict, GatewayError, InvalidRequest, NotFound
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.labels import Labels
from gateway.core.limits import Budget, Limits, Usage
from gateway.core.model import (
    Accepted,
    Capability,
    CapabilityKind,
    Complete,
    Emit,
    Event,
    Operation,
    Principal,
    Request,
    Result,
    TaskOpened,
    ignore_event,
    principal,
)
from gateway.core.ports.dead_letters import DeadLetter, DeadState
from gateway.core.ports.gateway import Gateway
from gateway.core.ports.journal import Journal, Write
from gateway.core.ports.orchestration import Entry, PatternType
from gateway.core.ports.runs import NOTES_AT_MOST, NotePlace, Run, RunEvent, RunStep
from gateway.core.ports.storage import OpenStep
from gateway.core.ports.world import Clock
from gateway.core.task import Task, TaskState
from gateway.orchestration.orchestrator import Orchestrator
from gateway.orchestration.settings import WorkflowSettings
from gateway.orchestration.wiring import Wiring
from tests.fakes_storage import MemoryApprovals

CAPABILITY_KINDS: dict[str, CapabilityKind] = {"agent": "agent", "tool": "tool"}
ANA = principal("ana", roles=frozenset({"support"}))


class MemoryRuns:
    """See `RunStore`."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.kept_steps: dict[tuple[str, str, int], RunStep] = {}
        self.log: dict[str, dict[str, RunEvent]] = {}
        self._changed = anyio.Event()

    async def open(self, run: Run) -> Run:
        for known in self.runs.values():
            if known.tenant == run.tenant and run.key and known.key == run.key:
                return known
        self.runs[run.id] = replace(run, spec=json.loads(json.dumps(dict(run.spec))))
        self.log[run.id] = {}
        return run

    async def update(
        self, run_id: str, *, state: str, at_us: int, output: Json = None, error: str = "", usage: Usage | None = None
    ) -> None:
        run = self._run(run_id)
        self.runs[run_id] = replace(
            run,
            state=state,
            updated_at_us=at_us,
            error=error,
            output=run.output if output is None else output,
            usage=run.usage if usage is None else usage,
        )

    async def pause(self, run_id: str, at_us: int) -> bool:
        run = self._run(run_id)
        if not run.paused_at_us:
            self.runs[run_id] = replace(run, paused_at_us=at_us)
        return not run.paused_at_us

    async def unpause(self, run_id: str, at_us: int) -> bool:
        run = self._run(run_id)
        if run.paused_at_us:
            self.runs[run_id] = replace(run, paused_at_us=0, held_us=run.held_us + at_us - run.paused_at_us)
        return bool(run.paused_at_us)

    async def hold(self, run_id: str, by_us: int) -> None:
        run = self._run(run_id)
        self.runs[run_id] = replace(run, held_us=run.held_us + by_us)

    async def find(self, tenant: str, run_id: str) -> Run | None:
        run = self.runs.get(run_id)
        return run if run is not None and run.tenant == tenant else None

    async def list(self, tenant: str, *, owner: str = "", workflow: str = "", limit: int = 50) -> tuple[Run, ...]:
        found = [
            run
            for run in self.runs.values()
            if run.tenant == tenant and owner in ("", run.owner) and workflow in ("", run.workflow)
        ]
        return tuple(sorted(found, key=lambda run: (run.created_at_us, run.id), reverse=True)[:limit])

    async def note_step(self, step: RunStep) -> None:
        self._run(step.run_id)
        self.kept_steps[step.run_id, step.id, step.attempt] = step

    async def steps(self, run_id: str) -> tuple[RunStep, ...]:
        found = [step for (of_run, _, _), step in self.kept_steps.items() if of_run == run_id]
        return tuple(sorted(found, key=lambda step: (step.started_at_us, step.id, step.attempt)))

    async def append(self, run_id: str, key: str, body: JsonObject, at_us: int) -> RunEvent | None:
        self._run(run_id)
        log = self.log[run_id]
        if key in log:
            return None
        event = log[key] = RunEvent(run_id=run_id, seq=len(log) + 1, at_us=at_us, body=json.loads(json.dumps(body)))
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        return event

    async def events(self, run_id: str, after: int = 0) -> tuple[RunEvent, ...]:
        return tuple(event for event in self.log.get(run_id, {}).values() if event.seq > after)

    async def wait_events(self, run_id: str, after: int, timeout_s: float) -> tuple[RunEvent, ...]:
        with anyio.move_on_after(timeout_s):
            while not await self.events(run_id, after):
                await self._changed.wait()
        return await self.events(run_id, after)

    def _run(self, run_id: str) -> Run:
        if run_id not in self.runs:
            raise NotFound("no such run")
        return self.runs[run_id]


class MemoryOpenSteps:
    """See `OpenSteps`."""

    def __init__(self) -> None:
        self.steps: dict[tuple[str, str], OpenStep] = {}
        self.ever: list[OpenStep] = []

    async def open(self, step: OpenStep) -> None:
        self.steps[step.run_id, step.step_id] = step
        self.ever.append(step)

    async def close(self, run_id: str, step_id: str) -> None:
        self.steps.pop((run_id, step_id), None)

    def find(self, run_id: str, step_id: str) -> OpenStep | None:
        return self.steps.get((run_id, step_id))

    def of_agent(self, tenant: str, agent: str) -> tuple[OpenStep, ...]:
        return tuple(step for step in self.steps.values() if (step.actor.tenant, step.agent) == (tenant, agent))

    async def load(self) -> None:
        """Nothing was left anywhere else."""

    async def look(self, agent: str) -> None:
        """There is no other process."""

    async def look_at_run(self, run_id: str) -> None:
        """There is no other process."""


class MemoryScratch:
    """See `ScratchStore`."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}
        self.outcomes: dict[tuple[str, str], Entry | Conflict] = {}
        self.claims: dict[tuple[str, str], tuple[str, int]] = {}

    async def get(self, run_id: str, key: str) -> Entry | None:
        return self.entries.get((run_id, key))

    async def all(self, run_id: str) -> Mapping[str, Entry]:
        return {key: entry for (of_run, key), entry in sorted(self.entries.items()) if of_run == run_id}

    async def put(self, run_id: str, entry: Entry, *, expected_version: int | None, once: str) -> Entry:
        outcome = self.outcomes.get((run_id, once)) if once else None
        if outcome is None:
            outcome = self._put(run_id, entry, expected_version)
            if once:
                self.outcomes[run_id, once] = outcome
        if isinstance(outcome, Conflict):
            raise Conflict(outcome.message, detail=outcome.detail)
        return outcome

    def _put(self, run_id: str, entry: Entry, expected_version: int | None) -> Entry | Conflict:
        known = self.entries.get((run_id, entry.key))
        actual = 0 if known is None else known.version
        if expected_version is not None and expected_version != actual:
            detail: JsonObject = {"key": entry.key, "expected": expected_version, "actual": actual}
            return Conflict(f"{entry.key} is at version {actual}", detail=detail)
        written = self.entries[run_id, entry.key] = replace(entry, version=actual + 1)
        return written

    async def writes(self, run_id: str) -> tuple[Write, ...]:
        return tuple(
            Write(once=once, key=made.key, version=made.version, writer=made.writer)
            for (of_run, once), made in self.outcomes.items()
            if of_run == run_id and isinstance(made, Entry)
        )

    async def copy(self, origin: str, run_id: str, once: Collection[str]) -> None:
        self.entries = {place: entry for place, entry in self.entries.items() if place[0] != run_id}
        self.outcomes = {place: outcome for place, outcome in self.outcomes.items() if place[0] != run_id}
        for (of_run, name), made in list(self.outcomes.items()):
            if of_run == origin and name in once and isinstance(made, Entry):
                self.outcomes[run_id, name] = made
                known = self.entries.get((run_id, made.key))
                if known is None or known.version < made.version:
                    self.entries[run_id, made.key] = made

    async def claim(self, tenant: str, run_id: str, resource: str, *, until_us: int, now_us: int) -> bool:
        holder, until = self.claims.get((tenant, resource), ("", 0))
        if holder not in ("", run_id) and until > now_us:
            return False
        self.claims[tenant, resource] = (run_id, until_us)
        return True

    async def release(self, tenant: str, run_id: str, resource: str) -> None:
        if self.claims.get((tenant, resource), ("", 0))[0] == run_id:
            del self.claims[tenant, resource]

    async def release_all(self, run_id: str) -> None:
        self.claims = {place: held for place, held in self.claims.items() if held[0] != run_id}

    async def forget(self, run_id: str) -> None:
        await self.release_all(run_id)
        self.entries = {place: entry for place, entry in self.entries.items() if place[0] != run_id}
        self.outcomes = {place: outcome for place, outcome in self.outcomes.items() if place[0] != run_id}


class MemoryNotes:
    """See `NoteStore`."""

    def __init__(self) -> None:
        self.notes: dict[NotePlace, dict[str, tuple[Json, int, int]]] = {}

    async def put(self, place: NotePlace, note_id: str, value: Json, *, at_us: int, until_us: int) -> None:
        there = self.notes.setdefault(place, {})
        there.pop(note_id, None)
        if value is not None:
            there[note_id] = (json.loads(json.dumps(value)), at_us, until_us)
        standing = [(each, note) for each, note in there.items() if note[2] > at_us]
        self.notes[place] = dict(standing[-NOTES_AT_MOST:])

    async def get(self, place: NotePlace, *, now_us: int, limit: int) -> tuple[Json, ...]:
        there = [(at_us, value) for value, at_us, until_us in self.notes.get(place, {}).values() if until_us > now_us]
        return tuple(value for _, value in reversed(there))[:limit]


class MemoryDeadLetters:
    """See `DeadLetters`."""

    def __init__(self) -> None:
        self.letters: dict[str, DeadLetter] = {}

    async def add(self, letter: DeadLetter) -> None:
        known = self.letters.get(letter.run_id)
        if known is None or known.state != "open":
            self.letters[letter.run_id] = letter

    async def find(self, tenant: str, run_id: str) -> DeadLetter | None:
        letter = self.letters.get(run_id)
        return letter if letter is not None and letter.tenant == tenant else None

    async def list(
        self, tenant: str, *, workflow: str = "", settled: bool = False, limit: int = 50
    ) -> tuple[DeadLetter, ...]:
        found = [
            letter
            for letter in self.letters.values()
            if letter.tenant == tenant and workflow in ("", letter.workflow) and (settled or letter.state == "open")
        ]
        return tuple(sorted(found, key=lambda letter: (letter.at_us, letter.run_id), reverse=True)[:limit])

    async def settle(
        self, tenant: str, run_id: str, state: DeadState, *, at_us: int, by: str, retried_as: str = ""
    ) -> bool:
        letter = await self.find(tenant, run_id)
        if letter is None or letter.state != "open":
            return False
        said = {"state": state, "settled_at_us": at_us, "settled_by": by, "retried_as": retried_as}
        self.letters[run_id] = replace(letter, **said)
        return True


def no_pattern(name: str) -> PatternType:
    raise InvalidRequest(f"there is no pattern {name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an agent or tool was asked, once."""

    target: str
    input: JsonObject
    text: str
    request: Request

    @property
    def member(self) -> JsonObject:
        return json_object(self.input.get("drawbridge"))

    @property
    def phase(self) -> str:
        return json_text(self.member.get("phase"))


Answering = Callable[[Asked], Awaitable["Json | Result"]]


def says(value: Json, **said: Json) -> Answering:
    """Always the same answer; `said` goes into the member `drawbridge`."""

    async def answer(asked: Asked) -> "Json | Result":
        if not said:
            return value
        return {**json_object(value), "drawbridge": {**said}}

    return answer


def answer(value: Json, *, text: str = "", usage: Usage | None = None, labels: Labels | None = None) -> Complete:
    parts = [text_part(text)] if text else []
    structured = None if isinstance(value, str) else value
    parts.append(text_part(value) if isinstance(value, str) else data_part(value))
    return Complete(
        body=Plain(Content(parts=tuple(parts), structured=structured)),
        usage=usage or Usage(),
        labels=labels or Labels(),
    )


def failing(text: str) -> Complete:
    return replace(answer(text), is_error=True)


@dataclass(slots=True)
class Agents:
    """Everybody a run may call. They remember what they were asked under each message id, and do it once."""

    answers: dict[str, Answering] = field(default_factory=dict[str, Answering])
    skills: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Tags of the skills on an agent's card, by its slug."""
    asked: list[Asked] = field(default_factory=list[Asked])
    """Everything that was done, in order; a repeated message id is not done again."""
    deliveries: list[Request] = field(default_factory=list[Request])
    canceled: list[str] = field(default_factory=list[str])
    done: dict[str, Result | GatewayError] = field(default_factory=dict[str, Result | GatewayError])

    def asked_of(self, target: str) -> list[Asked]:
        return [each for each in self.asked if each.target == target]

    async def call(self, request: Request, emit: Emit) -> Result:
        answering = self.answers.get(request.capability)
        if answering is None:
            raise NotFound(f"there is nothing called {request.capability}")
        if request.operation == "task.cancel":
            self.canceled.append(json_text(request.meta.get("task")))
            return answer({})
        self.deliveries.append(request)
        message_id = json_text(request.meta.get("message_id"))
        known = self.done.get(message_id)
        is_agent = request.capability.startswith("agent:")
        if is_agent:
            task = Task(id=f"task {message_id}", context_id="", state=TaskState.WORKING, updated_at_us=0)
            await emit(TaskOpened(task=task))
        if known is None:
            content = request.body.content()
            asked = Asked(
                target=request.capability, input=json_object(content.structured), text=content.text, request=request
            )
            self.asked.append(asked)
            known = await self._answered(answering, asked)
            self.done[message_id] = known
        if isinstance(known, GatewayError):
            raise known
        return known

    async def _answered(self, answering: Answering, asked: Asked) -> Result | GatewayError:
        try:
            said = await answering(asked)
        except GatewayError as error:
            return error
        result = said if isinstance(said, Complete | Accepted) else None
        if result is None:
            result = answer(said) if isinstance(said, str | dict) else said
        if isinstance(result, Complete):
            result = replace(result, labels=result.labels.join(asked.request.labels))
        return result if isinstance(result, Complete | Accepted) else answer(None)


class StraightPath:
    """The part of `ports.gateway.Gateway` that runs use: no policy, no record."""

    def __init__(self, agents: Agents, orchestrator: Orchestrator) -> None:
        self._agents = agents
        self._orchestrator = orchestrator
        self.version = "1"

    def find(self, principal: Principal, name: str) -> Capability | None:
        if name not in self._agents.answers:
            return None
        kind = CAPABILITY_KINDS[name.partition(":")[0]]
        slug = name.partition(":")[2]
        tags = frozenset(f"skill:{tag}" for tag in self._agents.skills.get(slug, ()))
        return Capability(name=name, kind=kind, owner=slug, local=slug, title=slug.title(), tags=tags)

    def about(self, owner: str) -> Mapping[str, Json]:
        return {"skills": [{"id": f"{owner}-skill"}]}

    async def call(self, request: Request, emit: Emit) -> Result:
        if not request.capability.startswith("workflow:"):
            return await self._agents.call(request, emit)
        listing = await self._orchestrator.capabilities()
        found = next((each for each in listing.capabilities if each.name == request.capability), None)
        if found is None:
            raise NotFound(f"there is nothing called {request.capability}")
        return await self._orchestrator.call(request, found, emit)


@dataclass(slots=True)
class World:
    """Everything outside the orchestrator. It stays when the gateway crashes."""

    patterns: Mapping[str, PatternType]
    workflows: dict[str, WorkflowSettings]
    agents: Agents = field(default_factory=Agents)
    runs: MemoryRuns = field(default_factory=MemoryRuns)
    open_steps: MemoryOpenSteps = field(default_factory=MemoryOpenSteps)
    scratch: MemoryScratch = field(default_factory=MemoryScratch)
    notes: MemoryNotes = field(default_factory=MemoryNotes)
    approvals: MemoryApprovals = field(default_factory=MemoryApprovals)
    dead_letters: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)
    load_pattern: Callable[[str], PatternType] = no_pattern
    clock: Clock = field(default_factory=SystemClock)
    limits: Limits = field(default_factory=Limits)
    entries: dict[str, JournalEntry] = field(default_factory=dict[str, JournalEntry])
    orchestrator: Orchestrator | None = None

    def wiring(self, journal: Journal) -> Wiring:
        return Wiring(
            journal=journal,
            runs=self.runs,
            open_steps=self.open_steps,
            scratch=self.scratch,
            notes=self.notes,
            approvals=self.approvals,
            dead_letters=self.dead_letters,
            load_pattern=self.load_pattern,
            clock=self.clock,
            ids=SortableIds(),
            mint=lambda step: f"token of {step.step_id}",
            agent_roles=lambda tenant, slug: frozenset({f"{slug}-role"}),
        )

    @asynccontextmanager
    async def up(
        self, *, on_slot: Callable[[str, int, Where], bool] | None = None, pending_limit: int = 1000
    ) -> AsyncGenerator[tuple[Orchestrator, MemoryJournal]]:
        """A gateway process, from its start to its end; whatever it left goes on in the next."""
        journal = MemoryJournal(copied(self.entries), on_slot=on_slot, pending_limit=pending_limit)
        orchestrator = Orchestrator(
            self.wiring(journal), patterns=self.patterns, workflows=self.workflows, limits=self.limits
        )
        self.orchestrator = orchestrator
        path: Gateway = StraightPath(self.agents, orchestrator)  # pyright: ignore[reportAssignmentType]
        await orchestrator.launch(path)
        try:
            with anyio.fail_after(10):
                yield orchestrator, journal
        finally:
            await journal.aclose()
            self.entries = journal.entries

    async def ask(
        self,
        message: str = "do it",
        *,
        workflow: str = "help",
        data: Json = None,
        who: Principal = ANA,
        emit: Emit = ignore_event,
        seconds: float = 5.0,
        **others: object,
    ) -> Result:
        """Call the workflow as a door would."""
        orchestrator = self.orchestrator
        assert orchestrator is not None
        structured: JsonObject = {"message": message} if data is None else {"message": message, "data": data}
        body = Plain(Content(structured=structured))
        return await self.request("call", workflow, body=body, who=who, emit=emit, seconds=seconds, **others)

    async def request(
        self,
        operation: Operation,
        workflow: str = "help",
        *,
        body: Plain | None = None,
        who: Principal = ANA,
        emit: Emit = ignore_event,
        seconds: float = 5.0,
        **others: object,
    ) -> Result:
        orchestrator = self.orchestrator
        assert orchestrator is not None
        request = Request(
            id="req",
            principal=who,
            capability=f"workflow:{workflow}",
            operation=operation,
            budget=Budget(deadline_s=self.clock.monotonic_s() + seconds),
            body=body or Plain(Content()),
        )
        request = structs.replace(request, **others)
        capability = Capability(name=request.capability, kind="workflow", owner=workflow, local=workflow)
        return await orchestrator.call(request, capability, emit)


def told(result: Result) -> JsonObject:
    """The structured answer of a run that ended."""
    assert isinstance(result, Complete), result
    return json_object(result.body.content().structured)


def keep(events: list[Event]) -> Emit:
    async def emit(event: Event) -> None:
        events.append(event)

    return emit
