"""From a call to the run it starts, or started before. Knows nothing of watching and ending."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

from gateway.core.content import content_to_json
from gateway.core.errors import Conflict, Exhausted, InvalidRequest
from gateway.core.json import Json, json_list, json_text
from gateway.core.limits import Budget, Limits
from gateway.core.model import Request
from gateway.core.ports.runs import Run
from gateway.core.task import TaskState
from gateway.orchestration.records.history import LOOKED_AT, RECAP_BYTES, earlier_turns, handed_down
from gateway.orchestration.records.spec import RunSpec, terms_from_json, turns_from_json
from gateway.orchestration.running.dead_letter_queue import DeadLetterQueue
from gateway.orchestration.runs.forks import start
from gateway.orchestration.runs.seen import owner_of
from gateway.orchestration.settings.nesting import depth_of
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.orchestration.step.recaps import NOTHING_YET, said_so_far
from gateway.orchestration.wiring import Wiring


class Admission:
    """Starts runs."""

    def __init__(self, wiring: Wiring, limits: Limits, dead_letter_queue: DeadLetterQueue) -> None:
        self._wiring = wiring
        self._dead_letter_queue = dead_letter_queue
        self._limits = limits

    async def drafted(self, request: Request, slug: str, settings: WorkflowSettings) -> Run:
        """The run this call starts unless it was made before; nothing is stored yet.

        Raises: InvalidRequest: it says nothing; Exhausted: no depth is left; Unavailable.
        """
        spec = await self._before(request, settings, self._spec(request, slug, settings))
        now_us = self._wiring.clock.now_us()
        return Run(
            id=spec.run_id,
            workflow=slug,
            tenant=spec.tenant,
            owner=owner_of(request.principal),
            state=TaskState.SUBMITTED.value,
            context_id=spec.context_id,
            created_at_us=now_us,
            updated_at_us=now_us,
            input=content_to_json(spec.task_content),
            key=_key(request, slug, spec.run_id),
            spec=spec.to_json(),
        )

    async def started(self, new: Run) -> Run:
        """The drafted run, under way, or the one the call started when it was made before: same caller, same workflow,
        same idempotency key or message id.

        Raises: Conflict: the key was used for something else; Exhausted: too many runs are under way; Unavailable.
        """
        run = await self._wiring.runs.open(new)
        if run.id != new.id and run.input != new.input:
            raise Conflict(
                f"this key was used before, for another request to {new.workflow}: use a new one",
                detail={"run": run.id},
            )
        await self.begun(run, known=run is not new)
        return run

    async def begun(self, run: Run, *, known: bool = True) -> None:
        """See to it that the engine has the run: it may have been stored right before a crash, or refused before.
        One that is not `known` was stored just now.

        Raises: Exhausted; Unavailable.
        """
        state = TaskState(run.state)
        if state not in (TaskState.SUBMITTED, TaskState.REJECTED):
            return
        if known and await self._wiring.journal.state(run.id):
            return
        at_us = self._wiring.clock.now_us()
        try:
            await start(self._wiring, run)
        except Exhausted as error:
            await self._wiring.runs.update(run.id, state=TaskState.REJECTED.value, at_us=at_us, error=error.message)
            await self._dead_letter_queue.receive(replace(run, error=error.message), "rejected")
            raise
        if state is TaskState.REJECTED:
            await self._wiring.runs.update(run.id, state=TaskState.WORKING.value, at_us=at_us)
            await self._dead_letter_queue.gone_on(run, by=run.owner)

    async def _before(self, request: Request, settings: WorkflowSettings, spec: RunSpec) -> RunSpec:
        """The spec with what came before it: earlier turns of its context, or what the outer run hands down."""
        own = settings.glossary
        if spec.parent_run:
            data, handed = handed_down(spec.data)
            glossary = {**terms_from_json(handed.get("glossary")), **own}
            return replace(
                spec,
                data=data,
                history=turns_from_json(handed.get("history")),
                left_out=tuple(map(str, json_list(handed.get("left_out")))),
                recap=json_text(handed.get("recap")),
                glossary=glossary,
            )
        spec = replace(spec, glossary=own)
        if not settings.history or not request.meta.get("context_id"):
            return spec
        limit = settings.history * LOOKED_AT
        found = await self._wiring.runs.list(
            spec.tenant,
            owner=owner_of(request.principal),
            workflow=spec.workflow,
            context_id=spec.context_id,
            limit=limit,
        )
        so_far = await said_so_far(self._wiring, found) if settings.summariser else NOTHING_YET
        before = earlier_turns(
            found,
            most=settings.history,
            most_bytes=settings.history_bytes,
            older_bytes=RECAP_BYTES if settings.summariser else 0,
            summed_up=so_far.covers,
        )
        least = "at least " if len(found) == limit else ""
        return replace(
            spec,
            history=before.turns,
            labels=spec.labels.join(before.labels),
            left_out=before.left_out_words(least),
            older=before.older,
            older_labels=before.older_labels.join(so_far.labels),
            recap=so_far.text if before.left_out else "",
        )

    def _spec(self, request: Request, slug: str, settings: WorkflowSettings) -> RunSpec:
        message, data = _said(request)
        limits, clock = settings.limits, self._wiring.clock
        nested = request.principal.kind == "workflow"
        deadline_s = self._limits.run_timeout_s if limits.deadline_s is None else limits.deadline_s
        # A caller's patience does not bound the run, but what is a step of another run ends with that step.
        if nested:
            deadline_s = min(deadline_s, request.budget.seconds_left(clock.monotonic_s()))
        if request.budget.depth <= 0:
            raise Exhausted(f"{slug} is nested too deeply: no further level is allowed here", detail={"limit": "depth"})
        # As a child of the caller's budget, except that calls, tokens and cost of the settings count as well.
        budget: Budget = request.budget.child(tokens=limits.tokens, cost_usd=limits.cost_usd)
        calls = [each for each in (limits.calls, budget.calls) if each is not None]
        run_id = self._wiring.ids.new("run")
        return RunSpec(
            run_id=run_id,
            workflow=slug,
            pattern=settings.pattern,
            settings=settings.to_json(),
            caller=request.principal,
            message=message,
            data=data,
            labels=request.labels,
            context_id=json_text(request.meta.get("context_id")) or self._wiring.ids.new("ctx"),
            traceparent=request.traceparent,
            phase=request.phase,
            parent_run=request.run_id if nested else "",
            parent_step=request.step_id if nested else "",
            deadline_at_us=clock.now_us() + int(deadline_s * 1e6),
            calls=min(calls, default=None),
            tokens=budget.tokens,
            cost_usd=budget.cost_usd,
            depth=min(request.budget.depth, depth_of(settings) - 1),
        )


def _said(request: Request) -> tuple[str, Json]:
    """The request in words and its data, whichever door they came by."""
    content = request.body.content()
    fields: Mapping[str, Json] = content.structured if isinstance(content.structured, dict) else {}
    words = fields.get("message")
    if isinstance(words, str) and fields.keys() <= {"message", "data"}:
        return words, fields.get("data")
    if not content.text and content.structured is None:
        raise InvalidRequest("a workflow has to be told something: give `message`, `data`, or both")
    return content.text, content.structured


def _key(request: Request, slug: str, run_id: str) -> str:
    """What finds the run again; without a key of the caller's nothing but its own id does."""
    if request.idempotency_key:
        named = f"key\n{request.idempotency_key}"
    elif message_id := json_text(request.meta.get("message_id")):
        named = f"message\n{message_id}"
    else:
        return run_id
    return sha256(f"{owner_of(request.principal)}\n{slug}\n{named}".encode()).hexdigest()
