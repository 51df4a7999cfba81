"""A world for runs: stores that survive a crash, agents that know what they have been told, and a path between them."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio
from msgspec import structs

from adapters.durable.memory import Entry as JournalEntry
from adapters.durable.memory import MemoryJournal, Where, copied
from adapters.system import SortableIds, SystemClock
from gateway.core.content import Content, Plain, data_part, text_part
from gateway.core.errors import DeadlineExceeded, GatewayError, InvalidRequest, NotFound
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Budget, Limits, Usage
from gateway.core.model import (
    Accepted,
    Capability,
    CapabilityKind,
    Complete,
    Emit,
    Event,
    InputRequired,
    Operation,
    Principal,
    Request,
    Result,
    TaskOpened,
    ignore_event,
    principal,
)
from gateway.core.ports.gateway import Gateway
from gateway.core.ports.journal import Journal
from gateway.core.ports.memory import Memory, MemoryType
from gateway.core.ports.orchestration import PatternType
from gateway.core.ports.world import Clock
from gateway.core.task import Task, TaskState
from gateway.orchestration.messages.memories import Memories
from gateway.orchestration.orchestrator import Orchestrator
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.orchestration.wiring import Wiring
from gateway.testing.stores.approvals import MemoryApprovals
from gateway.testing.stores.around_runs import MemoryDeadLetters, MemoryNotes, MemoryOpenSteps
from gateway.testing.stores.memory import MemoryInMemory
from gateway.testing.stores.runs import MemoryRuns
from gateway.testing.stores.scratch import MemoryScratch

CAPABILITY_KINDS: dict[str, CapabilityKind] = {"agent": "agent", "tool": "tool"}
ANA = principal("ana", roles=frozenset({"support"}))


def no_engine(name: str) -> MemoryType:
    raise InvalidRequest(f"there is no engine {name}")


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


def asking(text: str) -> InputRequired:
    """An agent that asks back."""
    return InputRequired(body=Plain(Content(parts=(text_part(text),))), state="parked")


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
            if request.budget.deadline_s <= anyio.current_time():
                raise DeadlineExceeded("there was no time to say it")
            self.canceled.append(json_text(request.meta.get("task")))
            return answer({})
        self.deliveries.append(request)
        message_id = json_text(request.meta.get("message_id"))
        known = self.done.get(message_id)
        is_agent = request.capability.startswith("agent:")
        # A further message to a task that asked back: what comes of it is what comes of the task.
        begun_by = json_text(request.meta.get("task")).removeprefix("task ") or message_id
        if is_agent:
            task = Task(id=f"task {begun_by}", context_id="", state=TaskState.WORKING, updated_at_us=0)
            await emit(TaskOpened(task=task))
        if known is None:
            content = request.body.content()
            asked = Asked(
                target=request.capability, input=json_object(content.structured), text=content.text, request=request
            )
            self.asked.append(asked)
            known = await self._answered(answering, asked)
            self.done[message_id] = self.done[begun_by] = known
        if isinstance(known, GatewayError):
            raise known
        return known

    async def _answered(self, answering: Answering, asked: Asked) -> Result | GatewayError:
        try:
            said = await answering(asked)
        except GatewayError as error:
            return error
        result = said if isinstance(said, Complete | Accepted | InputRequired) else None
        if result is None:
            result = answer(said) if isinstance(said, str | dict) else said
        if isinstance(result, Complete):
            result = replace(result, labels=result.labels.join(asked.request.labels))
        return result if isinstance(result, Complete | Accepted | InputRequired) else answer(None)


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
    memory: Memory = field(default_factory=MemoryInMemory)
    load_pattern: Callable[[str], PatternType] = no_pattern
    on_versions: Callable[[], None] = lambda: None
    agent_labels: Callable[[str, str], Labels] = lambda tenant, slug: CLEAN
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
            agent_labels=self.agent_labels,
            memories=Memories(self.memory, self.clock, no_engine),
        )

    @asynccontextmanager
    async def up(
        self, *, on_slot: Callable[[str, int, Where], bool] | None = None, pending_limit: int = 1000
    ) -> AsyncGenerator[tuple[Orchestrator, MemoryJournal]]:
        """A gateway process, from its start to its end; whatever it left goes on in the next."""
        journal = MemoryJournal(copied(self.entries), on_slot=on_slot, pending_limit=pending_limit)
        orchestrator = Orchestrator(
            self.wiring(journal),
            patterns=self.patterns,
            workflows=self.workflows,
            limits=self.limits,
            on_versions=self.on_versions,
        )
        self.orchestrator = orchestrator
        path: Gateway = StraightPath(self.agents, orchestrator)  # pyright: ignore[reportAssignmentType]
        await orchestrator.launch(path)
        try:
            with anyio.fail_after(120):
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
        seconds: float = 25.0,
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
        seconds: float = 25.0,
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
