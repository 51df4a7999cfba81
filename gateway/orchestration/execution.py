"""The body of every run: its pattern, what it may use, how it ends. Runs in the engine's task, again after a crash."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import anyio
import structlog
from anyio.abc import TaskGroup

from gateway.core.content import Content, content_from_json, content_to_json, data_part, text_part
from gateway.core.errors import GatewayError, Internal
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.labels import CLEAN, Labels, join_all, labels_from_json
from gateway.core.limits import Usage, usage_from_json
from gateway.core.ports.gateway import Gateway
from gateway.core.ports.journal import RunInterrupted
from gateway.core.ports.orchestration import Gap, Outcome, Pattern, PatternType, StepResult
from gateway.core.ports.runs import Moved, Run, RunStep, Told
from gateway.core.task import Task, TaskState, Turn
from gateway.orchestration.records.events import artifact_body, status_body
from gateway.orchestration.records.spec import RunSpec
from gateway.orchestration.running.chronicle import Chronicle
from gateway.orchestration.running.context import Recap, RunContext
from gateway.orchestration.running.dead_letter_queue import DeadLetterQueue
from gateway.orchestration.running.ledger import Ledger, Ledgers
from gateway.orchestration.running.pauses import Gate, Gates
from gateway.orchestration.running.persistence import persistently
from gateway.orchestration.running.relaying import Floor
from gateway.orchestration.running.undoing import CANCELED, Undone
from gateway.orchestration.settings.workflow import keys_from, limits_from
from gateway.orchestration.step.own_calls import spent_on_own_calls
from gateway.orchestration.step.recaps import recapitulated
from gateway.orchestration.steps import RunSteps
from gateway.orchestration.wiring import Wiring

log = structlog.get_logger(__name__)

ANSWER = "answer"
"""Name of a run's one artifact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended: what its journal keeps, what its store shows, what its callers get."""

    state: TaskState
    content: Content
    error: str
    labels: Labels
    usage: Usage

    def to_json(self) -> JsonObject:
        return {
            "state": self.state.value,
            "content": content_to_json(self.content),
            "error": self.error,
            "labels": self.labels.to_json(),
            "usage": self.usage.to_json(),
        }


def ended_from_json(value: Json) -> Ended | None:
    """See `Ended.to_json`; None where there is no such thing."""
    fields = json_object(value)
    if "state" not in fields:
        return None
    return Ended(
        state=TaskState(json_text(fields["state"])),
        content=content_from_json(fields.get("content")),
        error=json_text(fields.get("error")),
        labels=labels_from_json(fields.get("labels")),
        usage=usage_from_json(fields.get("usage")),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Runs one run; made anew for each, and for each time one goes on."""

    wiring: Wiring
    gateway: Gateway
    patterns: Mapping[str, PatternType]
    spec: RunSpec
    leaving: anyio.Event
    gates: Gates
    ledgers: Ledgers
    dead_letter_queue: DeadLetterQueue
    may_end: Callable[[], bool]
    """Asked before the end is told: False if the run was canceled meanwhile."""

    async def run(self) -> JsonObject:
        """The run's outcome. Raises: RunInterrupted."""
        run = await persistently(lambda: self.wiring.runs.find(self.spec.tenant, self.spec.run_id))
        if run is None:
            raise Internal(f"nothing is kept of run {self.spec.run_id} but its journal")
        # It may wait for days: what it was asked is kept once, in its spec.
        run = replace(run, input=None, spec={"parent_run": self.spec.parent_run})
        rows: tuple[RunStep, ...] = ()
        # No step of it is opened before it is told that it is at work.
        if run.state != TaskState.SUBMITTED.value:
            rows = await persistently(lambda: self.wiring.runs.steps(self.spec.run_id))
            # Another process may have begun it, and steps of it.
            await persistently(lambda: self.wiring.open_steps.look_at_run(self.spec.run_id))
        # Whatever the body raises leaves the group as it is, not wrapped in a group of its own.
        ended: Ended | None = None
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            with Chronicle(self.wiring, self.spec.run_id, group) as chronicle:
                try:
                    ended = await self._to_the_end(run, self._context(run, chronicle, rows, group))
                except Exception as error:  # noqa: BLE001 - raised again below, outside the group
                    failure = error
                await chronicle.drained()
        if failure is not None:
            raise failure
        if ended is None:
            raise AssertionError("unreachable: it ended or failed")
        await self._finish(run, ended)
        return ended.to_json()

    def _context(self, run: Run, chronicle: Chronicle, rows: Iterable[RunStep], group: TaskGroup) -> RunContext:
        clock, spec = self.wiring.clock, self.spec
        ledger = Ledger(
            budget=spec.budget(clock.now_us() - run.held_us, clock.monotonic_s()),
            run_id=spec.run_id,
            parent_run=spec.parent_run,
            parent_step=spec.parent_step,
            others=self.ledgers,
            own_calls=partial(spent_on_own_calls, self.wiring.open_steps, spec.run_id),
        )
        self.ledgers.open(ledger)
        return RunContext(
            wiring=self.wiring,
            gateway=self.gateway,
            spec=self.spec,
            acting=self.spec.acting,
            limits=limits_from(self.spec.settings),
            keys=keys_from(self.spec.settings),
            ledger=ledger,
            chronicle=chronicle,
            rows={(row.id, row.attempt): row for row in rows},
            group=group,
            remote_tasks={},
            floor=Floor(),
            relays={},
            gate=self.gates.of(run),
            recap=Recap(text=self.spec.recap, labels=self.spec.older_labels if self.spec.recap else CLEAN),
            leaving=self.leaving,
        )

    async def _to_the_end(self, run: Run, context: RunContext) -> Ended:
        await self._announce(run)
        steps = RunSteps(context)
        ended = await self._worked(steps, context)
        if context.gate.canceled.is_set():
            ended = replace(ended, state=TaskState.CANCELED, error=CANCELED)
        if steps.asked:
            # Nobody has to answer any more.
            await persistently(lambda: self.wiring.approvals.withdraw(self.spec.run_id))
        return ended

    async def _worked(self, steps: RunSteps, context: RunContext) -> Ended:
        gate = context.gate
        try:
            await recapitulated(context, steps)
            outcome = await self._outcome(steps)
            await steps.dropped_all()
        except Internal as error:
            # The journal and the pattern do not agree: nothing this run does now, undoing included, can be relied on.
            return _ended(_failed(self.spec, error.message), steps, [], self.spec)
        finally:
            steps.abandon()
        if not outcome.error and not await self._is_canceled(gate):
            # From here on it is too late to cancel it.
            self.may_end()
            return _ended(outcome, steps, [], self.spec)
        undone = await steps.undo(CANCELED if gate.canceled.is_set() else f"the run failed: {outcome.error}")
        if gate.canceled.is_set():
            outcome = replace(outcome, error=CANCELED)
        return _ended(outcome, steps, undone, self.spec)

    async def _is_canceled(self, gate: Gate) -> bool:
        """Whether the run was, here or by another process, and has to undo what it has done."""
        if not gate.alone and not gate.canceled.is_set():
            await gate.look()
        return gate.canceled.is_set()

    async def _announce(self, run: Run) -> None:
        runs, run_id, at_us = self.wiring.runs, self.spec.run_id, self.wiring.clock.now_us()
        if TaskState(run.state) is TaskState.SUBMITTED:
            moved = Moved(state=TaskState.WORKING.value, at_us=at_us)
            told = Told(key="working", body=status_body(TaskState.WORKING), at_us=at_us)
            await persistently(lambda: runs.tell(run_id, events=(told,), moved=moved))

    async def _outcome(self, steps: RunSteps) -> Outcome:
        try:
            return await self._pattern().run(_task_of(self.spec), steps)
        except (Internal, RunInterrupted):
            raise
        except GatewayError as error:
            return _failed(self.spec, error.message)
        except Exception as error:
            # The pattern's own mistake: raised further, it would only be made again at each recovery.
            log.exception("a pattern failed", pattern=self.spec.pattern, run=self.spec.run_id)
            return _failed(self.spec, f"the pattern {self.spec.pattern} itself failed ({type(error).__name__})")

    def _pattern(self) -> Pattern:
        pattern_type = self.patterns.get(self.spec.pattern)
        if pattern_type is None:
            # No workflow of the present configuration needs it; this run began under an earlier one.
            pattern_type = self.wiring.load_pattern(self.spec.pattern)
        return pattern_type(self.spec.settings)

    async def _finish(self, run: Run, ended: Ended) -> None:
        """Tell the end. All of it may be told twice, by a run that crashed right after it."""
        if not self.may_end():
            await anyio.sleep_forever()  # until the cancellation under way arrives
        if not self.wiring.journal.holds():
            raise RunInterrupted
        if not self.wiring.alone and await self.wiring.journal.state(self.spec.run_id) != "pending":
            raise RunInterrupted  # canceled by another process
        runs, run_id, at_us = self.wiring.runs, self.spec.run_id, self.wiring.clock.now_us()
        state = ended.state
        await persistently(lambda: self.wiring.scratch.release_all(run_id))
        if state is TaskState.FAILED:
            await self.dead_letter_queue.receive(replace(run, error=ended.error), "failed")
        if await self._is_to_undo(state):
            raise RunInterrupted  # as it goes on, it finds that it was canceled
        moved = Moved(state=state.value, at_us=at_us, output=ended.to_json(), error=ended.error, usage=ended.usage)
        events = (
            Told(key=ANSWER, body=artifact_body(ANSWER, ended.content), at_us=at_us),
            Told(key="ended", body=status_body(state, ended.error), at_us=at_us),
        )
        await persistently(lambda: runs.tell(run_id, events=events, moved=moved))

    async def _is_to_undo(self, state: TaskState) -> bool:
        """Whether another process canceled it since it looked, and told its callers so."""
        if self.wiring.alone or state is TaskState.CANCELED:
            return False
        standing = await persistently(lambda: self.wiring.runs.standing(self.spec.run_id))
        return standing is not None and standing.state == TaskState.CANCELED.value


def _task_of(spec: RunSpec) -> Task:
    """The run as its pattern sees it; the same at each replay."""
    content = spec.task_content
    earlier = (
        turn
        for each in spec.history
        for turn in (
            Turn(id=f"{each.run_id}/0", role="user", content=Content(parts=(text_part(each.request),))),
            Turn(id=f"{each.run_id}/{ANSWER}", role="agent", content=Content(parts=(text_part(each.answer),))),
        )
    )
    return Task(
        id=spec.run_id,
        context_id=spec.context_id,
        state=TaskState.WORKING,
        updated_at_us=0,
        message=content,
        history=(*earlier, Turn(id=f"{spec.run_id}/0", role="user", content=content)),
    )


def _failed(spec: RunSpec, reason: str) -> Outcome:
    return Outcome(text=f"{spec.workflow} failed: {reason}", error=reason)


def _ended(outcome: Outcome, steps: RunSteps, undone: list[Undone], spec: RunSpec) -> Ended:
    structured: JsonObject = {
        "answer": outcome.text if outcome.value is None else outcome.value,
        "gaps": [_gap_to_json(gap) for gap in outcome.gaps],
        "steps": [_shown(name, result) for name, result in steps.results],
    }
    results = [result for _, result in steps.results]
    notices = (*steps.notices, *(each.quality for each in results if each.quality))
    structured |= _said_of_answer(replace(outcome, notices=(*outcome.notices, *notices)))
    if undone:
        structured["undone"] = [each.to_json() for each in undone]
    return Ended(
        state=TaskState.FAILED if outcome.error else TaskState.COMPLETED,
        content=Content(parts=(text_part(outcome.text), data_part(structured)), structured=structured),
        error=outcome.error,
        labels=join_all((spec.labels, steps.answers_labels, *(result.labels for result in results))),
        usage=steps.spent,
    )


def _said_of_answer(outcome: Outcome) -> JsonObject:
    """What is said of an answer beside it, where there is something to say."""
    said: JsonObject = {"error": outcome.error} if outcome.error else {}
    if outcome.notices:
        said["notices"] = [*dict.fromkeys(outcome.notices)]
    if outcome.confidence is not None:
        said["confidence"] = outcome.confidence
    if outcome.why:
        said["why"] = outcome.why
    return said


def _shown(name: str, result: StepResult) -> JsonObject:
    """A step in the answer. No times: the same run gives the same answer, however often it was interrupted."""
    shown: JsonObject = {"id": result.id, "name": name, "target": result.target, "ok": result.ok}
    for key, value in (("phase", result.phase), ("error", result.error), ("reason", result.reason)):
        if value:
            shown[key] = value
    if result.summary:
        shown["summary"] = result.summary
    if result.attempts > 1:
        shown["attempts"] = result.attempts
    return shown


def _gap_to_json(gap: Gap) -> JsonObject:
    return {"step": gap.step, "target": gap.target, "error": gap.error, "reason": gap.reason}
