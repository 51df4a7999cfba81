"""The orchestrator as one more upstream: a workflow is called like a tool or an agent, and becomes a run.

Runs belong to the engine. Whoever calls starts one, or finds the one it started before, and watches it; going away, or
running out of time, changes nothing for the run.
"""

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256

import anyio

from gateway.core.content import Content, Plain, text_part
from gateway.core.errors import Conflict, DeadlineExceeded, InvalidRequest, NotFound
from gateway.core.json import JsonObject, canonical_json, json_text
from gateway.core.labels import Labels
from gateway.core.limits import Limits
from gateway.core.model import Accepted, Capability, Complete, Emit, InputRequired, Request, Result, TaskOpened
from gateway.core.ports.bus import Bus
from gateway.core.ports.gateway import Gateway
from gateway.core.ports.journal import Journal
from gateway.core.ports.orchestration import PatternType
from gateway.core.ports.own_calls import OwnCalls
from gateway.core.ports.retention import RunArchive
from gateway.core.ports.runs import Run
from gateway.core.ports.starts import StartStore
from gateway.core.ports.upstream import Listing
from gateway.core.task import TaskState
from gateway.orchestration.execution import Execution, ended_from_json
from gateway.orchestration.records.events import opened, task_of
from gateway.orchestration.records.spec import spec_from_json
from gateway.orchestration.running.dead_letter_queue import DeadLetterQueue
from gateway.orchestration.running.ledger import Ledgers
from gateway.orchestration.runs.admission import Admission
from gateway.orchestration.runs.advising import Advising
from gateway.orchestration.runs.approving import Approving
from gateway.orchestration.runs.asking_callers import Callers, run_of
from gateway.orchestration.runs.control import Control
from gateway.orchestration.runs.dead_letters import DeadLetterOffice
from gateway.orchestration.runs.endings import Endings
from gateway.orchestration.runs.explaining import Explaining
from gateway.orchestration.runs.labels import labels_told
from gateway.orchestration.runs.retention import Retention, RetentionSettings
from gateway.orchestration.runs.seen import Runs, wanted_from
from gateway.orchestration.runs.versions import Versions
from gateway.orchestration.runs.watching import Watching
from gateway.orchestration.settings.doubts import refuse_dead
from gateway.orchestration.settings.nesting import with_depth
from gateway.orchestration.settings.unfit_limits import refuse_unfit_limits
from gateway.orchestration.settings.unused import refuse_unused
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.orchestration.step.own_calls import StepsOwnCalls
from gateway.orchestration.wiring import Wiring

NAME = "workflows"
INPUT_SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "What is wanted, in words."},
        "data": {"type": "object", "description": "Structured input beside the words."},
    },
    "required": ["message"],
}


class Orchestrator:
    """See `ports.upstream.Upstream`. Launch it when the path is complete; runs under way before go on from there."""

    def __init__(
        self,
        wiring: Wiring,
        *,
        patterns: Mapping[str, PatternType],
        workflows: Mapping[str, WorkflowSettings],
        limits: Limits,
        on_versions: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_versions` is called when `grants` has changed. Raises: InvalidRequest: see `configure`."""
        self._wiring = wiring
        self._gateway: Gateway | None = None
        self._leaving = anyio.Event()
        self._ledgers = Ledgers()
        self.own_calls: OwnCalls = StepsOwnCalls(wiring.open_steps, self._ledgers)
        self.approving = Approving(wiring)
        self._dead_letter_queue = DeadLetterQueue(wiring)
        self.runs = Runs(wiring, self._dead_letter_queue)
        self.control = Control(wiring, self.runs, self._dead_letter_queue)
        self.explaining = Explaining(wiring, self.runs)
        self.dead_letters = DeadLetterOffice(wiring, self.control, self._dead_letter_queue)
        self._admission = Admission(wiring, limits, self._dead_letter_queue)
        self.advising = Advising(wiring, self.runs)
        self._watching = Watching(wiring, self.runs)
        self._callers = Callers(wiring=wiring, watching=self._watching)
        self._versions = Versions(on_versions)
        self._patterns: Mapping[str, PatternType] = {}
        self._workflows: Mapping[str, WorkflowSettings] = {}
        self.configure(patterns, workflows)

    def configure(self, patterns: Mapping[str, PatternType], workflows: Mapping[str, WorkflowSettings]) -> None:
        """Offer these workflows from now on. Runs under way keep what they began with.

        Raises: InvalidRequest: a workflow names no known pattern, or its pattern refuses its settings; nothing changed.
        """
        check(patterns, workflows)
        self._patterns, self._workflows = dict(patterns), with_depth(workflows)
        self._versions.configure(self._workflows)

    def grants(self, workflows: Mapping[str, WorkflowSettings]) -> dict[str, tuple[str, ...]]:
        """What runs under way may call that began with other versions than these."""
        return self._versions.grants(with_depth(workflows))

    @property
    def name(self) -> str:
        return NAME

    def retention(self, archive: RunArchive, settings: Callable[[], RetentionSettings]) -> Retention:
        """The job that forgets runs; whoever asks for it runs it."""
        return Retention(self._wiring, self.runs, archive, settings)

    def endings(self, starts: StartStore, gateway: Gateway, bus: Callable[[str], Bus | None]) -> Endings:
        """Who tells how runs ended that messages started; whoever asks for it runs it."""
        return Endings(self._wiring, self._watching, starts=starts, gateway=gateway, bus=bus)

    async def launch(self, gateway: Gateway) -> None:
        """Begin to run runs; their steps go through `gateway`."""
        self._gateway = gateway
        self.control.attach(gateway)
        await self._wiring.journal.launch(self._execute)
        await self.approving.deliver_rest()

    def leave(self) -> None:
        """The gateway is going down: call before upstreams are closed, so that their end is not taken for an answer."""
        self._leaving.set()

    async def aclose(self) -> None:
        """Stop; runs under way go on at the next launch. Bounded; idempotent."""
        self.leave()
        await self._wiring.journal.aclose()

    async def capabilities(self) -> Listing:
        offered = tuple(_capability(slug, settings) for slug, settings in sorted(self._workflows.items()))
        return Listing(capabilities=offered, about={"title": "Workflows"})

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        slug = capability.local
        match request.operation:
            case "call":
                return await self._call(request, slug, emit)
            case "task.get":
                run = await self._asked_for(request, slug)
                return await self._shown(request, run, wanted_from(request.meta, slug).history_length)
            case "task.list":
                page, shown = await self.runs.page(request.principal, wanted_from(request.meta, slug))
                return Complete(body=page, labels=await self._told(request, *shown))
            case "task.cancel":
                run = await self._asked_for(request, slug)
                return await self._shown(request, await self.control.canceled(run))
            case "task.subscribe":
                return await self._subscribed(request, slug, emit)
            case _:
                raise InvalidRequest(f"a workflow has no operation {request.operation}")

    async def _call(self, request: Request, slug: str, emit: Emit) -> Result:
        settings = self._workflows.get(slug)
        if settings is None:
            raise NotFound(f"there is no workflow called {slug}")
        asked_for = json_text(request.meta.get("task"))
        if request.continuation:
            run, after = await self._answered(request, slug)
        elif asked_for:
            run = await self._asked_for(request, slug)
            after = await self.control.answered(run, request)
        else:
            run, after = await self._started(request, slug, settings, emit), 0
        if request.meta.get("return_immediately") is True:
            return await self._shown(request, await self.runs.find(request.principal, run.id))
        if asked_for or request.continuation:
            await emit(TaskOpened(task=await self.runs.task(run)))
        ended = await self._callers.followed(run, after, emit, request)
        if isinstance(ended, InputRequired):
            return ended
        if ended is None:
            raise DeadlineExceeded(
                f"run {run.id} is still at work, and goes on: ask for task {run.id}, or repeat the same call under the "
                "same idempotency key or message id, for its answer",
                detail={"run": run.id, "task": run.id},
                sources=(await self._told(request, run)).untrusted,
            )
        if not TaskState(ended.state).terminal:
            return Accepted(task=await self.runs.task(ended), labels=request.labels)
        return _complete(ended)

    async def _started(self, request: Request, slug: str, settings: WorkflowSettings, emit: Emit) -> Run:
        """The run that this call starts, or has started before, and whoever waits for it has learned of it."""
        new = await self._admission.drafted(request, slug, settings)
        try:
            run = await self._admission.started(new)
            if request.meta.get("return_immediately") is not True:
                await emit(opened(run))
        except anyio.get_cancelled_exc_class():
            # The outer run gives it up, and nobody but this call may know that it is there.
            if new.spec["parent_run"] and not self._leaving.is_set():
                await self.control.taken_back(new)
            raise
        return run

    async def _answered(self, request: Request, slug: str) -> tuple[Run, int]:
        """The run whose question is answered by this call, and the place in its log where that was."""
        run = await self.runs.find(request.principal, run_of(request.continuation), slug)
        answer = await self._callers.answer_in(run, request)
        if answer is None:
            events = await self._wiring.runs.events(run.id)
            return run, events[-1].seq if events else 0
        return run, await self.control.answered(run, answer)

    async def _subscribed(self, request: Request, slug: str, emit: Emit) -> Result:
        run = await self._asked_for(request, slug)
        events = await self._wiring.runs.events(run.id)
        if TaskState(run.state).terminal:
            # No stream: A2A 1.0, section 3.1.6, has no subscription to a task that has ended.
            return await self._shown(request, run)
        await emit(TaskOpened(task=task_of(run, events)))
        after = events[-1].seq if events else 0
        ended = await self._watching.follow(run, after, emit, request.budget.deadline_s)
        if ended is None:
            said = f"run {run.id} is still at work; subscribe again"
            sources = (await self._told(request, run)).untrusted
            raise DeadlineExceeded(said, detail={"task": run.id}, sources=sources)
        return await self._shown(request, ended)

    async def _shown(self, request: Request, run: Run, history_length: int | None = None) -> Accepted:
        """The run as it stands, as a task of the caller's."""
        labels = await self._told(request, run)
        return Accepted(task=await self.runs.task(run, history_length), labels=labels)

    async def _told(self, request: Request, *runs: Run) -> Labels:
        """Of what the caller is told of these runs."""
        return request.labels.join(await labels_told(self._wiring.runs, request.principal, runs))

    async def _asked_for(self, request: Request, slug: str) -> Run:
        run_id = json_text(request.meta.get("task"))
        run = await self.runs.find(request.principal, run_id, slug)
        await self._admission.begun(run)
        return run

    async def _execute(self, journal: Journal, run_id: str, kept: JsonObject) -> JsonObject:
        gateway = self._gateway
        if gateway is None:
            raise Conflict("the orchestrator was not launched")
        spec = spec_from_json(kept)
        execution = Execution(
            wiring=self._wiring,
            gateway=gateway,
            patterns=self._patterns,
            spec=spec,
            leaving=self._leaving,
            gates=self.control.gates,
            ledgers=self._ledgers,
            dead_letter_queue=self._dead_letter_queue,
            may_end=partial(self.control.may_end, run_id),
        )
        try:
            with self._versions.under_way(spec):
                return await execution.run()
        finally:
            self.control.over(run_id)
            self._ledgers.over(run_id)


def check(patterns: Mapping[str, PatternType], workflows: Mapping[str, WorkflowSettings]) -> None:
    """Set up every workflow's pattern once. Raises: InvalidRequest: names the first workflow that is wrong, and why."""
    for slug, settings in with_depth(workflows).items():
        pattern_type = patterns.get(settings.pattern)
        if pattern_type is None:
            known = ", ".join(sorted(patterns)) or "none"
            raise InvalidRequest(
                f"workflow {slug}: there is no pattern {settings.pattern}; known: {known}",
                detail={"path": ["workflows", slug, "pattern"]},
            )
        try:
            refuse_unused(pattern_type, settings.to_json())
            refuse_unfit_limits(settings)
            refuse_dead(pattern_type(settings.to_json()))
        except InvalidRequest as error:
            raise InvalidRequest(
                f"workflow {slug}: {error.message}", detail={"path": ["workflows", slug], **error.detail}
            ) from error


def _capability(slug: str, settings: WorkflowSettings) -> Capability:
    title = settings.title or slug
    definition: JsonObject = {
        "name": slug,
        "title": title,
        "description": settings.description,
        "pattern": settings.pattern,
        "inputSchema": INPUT_SCHEMA,
    }
    return Capability(
        name=f"workflow:{slug}",
        kind="workflow",
        owner=slug,
        local=slug,
        tenant=settings.tenant,
        title=title,
        description=settings.description,
        definition=definition,
        input_schema=INPUT_SCHEMA,
        effect="sink",
        digest=sha256(canonical_json(definition)).hexdigest(),
    )


def _complete(run: Run) -> Complete:
    """The answer of a run that has ended, one that was canceled included."""
    ended = ended_from_json(run.output)
    meta: JsonObject = {"run": run.id, "task": run.id, "context": run.context_id, "state": run.state}
    if ended is None:
        said = run.error or f"run {run.id} ended without an answer"
        return Complete(body=Plain(Content(parts=(text_part(said),))), is_error=True, usage=run.usage, meta=meta)
    return Complete(
        body=Plain(ended.content),
        is_error=run.state != TaskState.COMPLETED.value,
        usage=ended.usage,
        labels=ended.labels,
        meta=meta,
    )
