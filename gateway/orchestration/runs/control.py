"""What may be done to a run from outside: cancel it, let it go on, answer its question."""

from collections.abc import Sequence

import anyio
import structlog

from gateway.core.errors import Conflict, GatewayError, InvalidRequest, NotFound
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.limits import Budget
from gateway.core.model import Request, ignore_event
from gateway.core.ports.gateway import Gateway
from gateway.core.ports.runs import Moved, Run, RunEvent, RunStep, Told
from gateway.core.task import TaskState
from gateway.orchestration.records.events import ends, progress_body, status_body
from gateway.orchestration.records.spec import RunSpec, spec_from_json
from gateway.orchestration.running.dead_letter_queue import DeadLetterQueue
from gateway.orchestration.running.pauses import Gates
from gateway.orchestration.running.undoing import CANCELED, may_undo, says_that_it_undoes
from gateway.orchestration.runs.forks import Forks
from gateway.orchestration.runs.seen import RESUMED, Runs
from gateway.orchestration.step.asking_back import answer_body, answer_key
from gateway.orchestration.wiring import Wiring

log = structlog.get_logger(__name__)

TELL_S = 5.0
"""How long it may take to tell those who work for a canceled run."""
TAKE_BACK_S = 2.0
"""How long it may take to cancel a nested run whose opening was broken off."""


class Control:
    """Acts on runs, whoever has checked that the asker may."""

    def __init__(self, wiring: Wiring, runs: Runs, dead_letter_queue: DeadLetterQueue) -> None:
        self._wiring = wiring
        self._dead_letter_queue = dead_letter_queue
        self._runs = runs
        self._forks = Forks(wiring)
        self.gates = Gates(wiring)
        self._gateway: Gateway | None = None
        self._canceling: set[str] = set()
        self._ending: set[str] = set()
        # Told twice at once, the engine might begin a run twice.
        self._resuming = anyio.Lock()

    def attach(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def may_end(self, run_id: str) -> bool:
        """Asked by a run about to tell its end; once told yes, it can no longer be canceled."""
        if run_id in self._canceling:
            return False
        self._ending.add(run_id)
        return True

    def over(self, run_id: str) -> None:
        """The run's body has ended, one way or another."""
        self._ending.discard(run_id)
        self.gates.over(run_id)

    async def cancel(self, run_id: str) -> None:
        """Cancel a run by its id. Raises: NotFound; Conflict: it has ended."""
        await self.canceled(await self._run(run_id))

    async def canceled(self, run: Run) -> Run:
        """The run, canceled, with everything that works for it. One that has something to undo is canceled at once, and
        undoes it in its own time. Raises: Conflict: it has ended."""
        self._refuse_ended(run)
        if await self._has_to_undo(run):
            return await self._undone(run)
        self._canceling.add(run.id)
        try:
            await self._wiring.journal.cancel(run.id)
            # It may have come to its end while all this was looked up.
            self._refuse_ended(await self._latest(run))
            await self._tell_workers(run)
            await self._runs.stopped(run.id, TaskState.CANCELED, "the run was canceled")
        finally:
            self._canceling.discard(run.id)
        return await self._latest(run)

    async def _latest(self, run: Run) -> Run:
        return await self._wiring.runs.find(run.tenant, run.id) or run

    async def taken_back(self, new: Run) -> None:
        """Cancel a nested run whose opening was broken off, however far it had come. Bounded, and never raises."""
        journal, runs = self._wiring.journal, self._wiring.runs
        with anyio.move_on_after(TAKE_BACK_S, shield=True):
            try:
                if not journal.holds():
                    return  # the outer run goes on elsewhere, and finds it
                run = await runs.open(new)
                if await journal.state(run.id):
                    await self.canceled(run)
                    return
                await self._runs.stopped(run.id, TaskState.CANCELED, CANCELED)
                # The engine may have been accepting it: from here on it finds that nothing is to be done.
                if await journal.state(run.id) == "pending":
                    await journal.cancel(run.id)
            except GatewayError as error:
                log.warning("a nested run that nobody waits for may go on", workflow=new.workflow, reason=error.message)

    def _refuse_ended(self, run: Run) -> None:
        if TaskState(run.state).terminal or run.id in self._ending:
            raise Conflict(
                f"run {run.id} has ended and cannot be canceled",
                detail={"a2a": "TASK_NOT_CANCELABLE", "state": run.state},
            )

    async def _has_to_undo(self, run: Run) -> bool:
        undoes = may_undo(json_object(run.spec.get("settings"))) or self.gates.undoes(run.id)
        undoes = undoes or says_that_it_undoes(await self._wiring.runs.events(run.id))
        return undoes and await self._wiring.journal.state(run.id) == "pending"

    async def _undone(self, run: Run) -> Run:
        """The run, marked as canceled: wherever it is executed, now or after a crash, it stops and undoes."""
        self._refuse_ended(await self._latest(run))
        self.gates.cancel(run.id)
        runs, at_us = self._wiring.runs, self._wiring.clock.now_us()
        # Not told as the end it is for its callers: steps that undo it may be open.
        await runs.update(run.id, state=TaskState.CANCELED.value, at_us=at_us, error=CANCELED)
        await runs.append(run.id, f"canceled {at_us}", status_body(TaskState.CANCELED, CANCELED), at_us)
        return await self._latest(run)

    async def pause(self, run_id: str) -> None:
        """Let no further step of the run begin; those under way go on, and its clock stands still.

        Raises: NotFound; Conflict: it has ended.
        """
        run = await self._run(run_id)
        if TaskState(run.state).terminal:
            raise Conflict(f"run {run.id} has ended and cannot be paused", detail={"state": run.state})
        at_us = self._wiring.clock.now_us()
        await self._wiring.scratch.hold(run.id)
        if await self._wiring.runs.pause(run.id, at_us):
            self.gates.look_again(run.id)
            await self._wiring.runs.append(
                run.id, f"paused {at_us}", progress_body("paused", {"event": "paused"}), at_us
            )

    async def resume(self, run_id: str, *, by: str = "") -> None:
        """Let a run go on: one that is paused, or was canceled or given up, behind its last finished step. Its clock
        had stood still meanwhile.

        Raises: NotFound; Conflict: it has ended otherwise.
        """
        run = await self._run(run_id)
        runs, at_us = self._wiring.runs, self._wiring.clock.now_us()
        stopped, ended = TaskState(run.state).terminal, await self._wiring.journal.state(run.id)
        if stopped and ended == "pending":
            raise Conflict(f"run {run.id} was canceled and undoes what it has done", detail={"state": run.state})
        if stopped and ended in ("canceled", "dead"):
            # Before it goes on: what it still may do it reckons when it begins, and one that is canceled only undoes.
            await self._reopened(run, at_us)
        if stopped or ended in ("canceled", "dead"):
            # Whoever reopened it may not have come to this: the engine was away, or the process has died.
            async with self._resuming:
                await self._asks_again(run)
                await self._wiring.journal.resume(run.id)
            await self._dead_letter_queue.gone_on(run, by=by)
        if run.paused_at_us and await runs.unpause(run.id, at_us):
            await self._wiring.scratch.let_go_on(run.id, at_us - run.paused_at_us)
            self.gates.look_again(run.id)
            body = progress_body("goes on", {"event": "unpaused"})
            await runs.append(run.id, f"unpaused {at_us}", body, at_us)

    async def _reopened(self, run: Run, at_us: int) -> None:
        """Have a run that was stopped under way again, unless another process was first."""
        runs = self._wiring.runs
        worked_us = [step.started_at_us + step.duration_us for step in await runs.steps(run.id)]
        resumed_us = [each.at_us for each in await runs.events(run.id) if each.body == RESUMED]
        # A pause is counted for itself, when it ends. What it was resumed for before and did not use is its own.
        stood_still_us = (run.paused_at_us or at_us) - max((*worked_us, *resumed_us), default=run.created_at_us)
        told = Told(key=f"resumed {at_us}", body=RESUMED, at_us=at_us)
        await runs.reopen(run.id, told, by_us=max(0, stood_still_us))

    async def _asks_again(self, run: Run) -> None:
        """What the run waited for when it was stopped it will wait for again, and does not ask for anew."""
        await self._wiring.approvals.renew(run.id)
        events, at_us = await self._wiring.runs.events(run.id), self._wiring.clock.now_us()
        asked = _waits_for(events)
        if asked is not None:
            told = Told(key=f"asked again {events[-1].seq}", body=asked.body, at_us=at_us)
            moved = Moved(state=TaskState.INPUT_REQUIRED.value, at_us=at_us)
            await self._wiring.runs.tell(run.id, events=(told,), moved=moved)

    async def fork(self, run_id: str, step: str) -> Run:
        """See `Forks.fork`."""
        return await self._forks.fork(await self._run(run_id), step)

    async def retried(self, run_id: str, as_run: str) -> Run:
        """See `Forks.retried`."""
        return await self._forks.retried(await self._run(run_id), as_run)

    async def answered(self, run: Run, request: Request) -> int:
        """Give the run the answer it waits for; the place in its log where that was.

        Raises: Conflict: it has asked nothing.
        """
        events = await self._wiring.runs.events(run.id)
        asked = next((each for each in reversed(events) if _asks(each)), None)
        if run.state != TaskState.INPUT_REQUIRED.value or asked is None:
            raise Conflict(
                f"run {run.id} has asked nothing", detail={"a2a": "UNSUPPORTED_OPERATION", "state": run.state}
            )
        content = request.body.content()
        value: Json = content.text if content.structured is None else content.structured
        if value in (None, ""):
            raise InvalidRequest("an answer has to say something")
        detail = json_object(asked.body.get("detail"))
        number = detail.get("question")
        key = str(request.meta.get("message_id") or request.idempotency_key or request.id)
        if nested := json_text(detail.get("run")):
            await self._handed_down(run, nested, number, request)
            return asked.seq
        if detail.get("asks"):
            await self._kept_for_agent(run, answer_body(json_text(number), value, request.labels, key))
            return asked.seq
        message: JsonObject = {"value": value, "labels": request.labels.to_json()}
        await self._wiring.journal.send(run.id, f"answer {number}", message, f"{run.id} {key}")
        return asked.seq

    async def _handed_down(self, run: Run, nested: str, number: Json, request: Request) -> None:
        """Give the answer to whoever asked: a run nested in this one. Raises: Conflict: it has ended."""
        asking = await self._wiring.runs.find(run.tenant, nested)
        if asking is None or TaskState(asking.state).terminal:
            raise Conflict(f"run {run.id} does not wait for this answer any more", detail={"state": run.state})
        asked = sum(_asks(each) for each in await self._wiring.runs.events(nested))
        # Where it goes on already, or asks something else, it has had its answer: the first one counts.
        if asking.state == TaskState.INPUT_REQUIRED.value and asked == number:
            await self.answered(asking, request)

    async def _kept_for_agent(self, run: Run, answer: JsonObject) -> None:
        """Keep the answer to what an agent asked, where its step finds it. Raises: Conflict: there is another one."""
        runs, detail = self._wiring.runs, json_object(answer.get("detail"))
        question, by = json_text(detail.get("question")), detail.get("by")
        if await runs.append(run.id, answer_key(question), answer, self._wiring.clock.now_us()) is None:
            known = (json_object(each.body.get("detail")) for each in await runs.events(run.id))
            if not any(each.get("question") == question and each.get("by") == by for each in known):
                raise Conflict("this was answered already", detail={"a2a": "UNSUPPORTED_OPERATION", "state": run.state})

    async def _run(self, run_id: str) -> Run:
        kept = await self._wiring.journal.spec(run_id)
        run = None if kept is None else await self._wiring.runs.find(spec_from_json(kept).tenant, run_id)
        if run is None:
            raise NotFound(f"there is no run {run_id}")
        return await self._runs.settled(run)

    async def _tell_workers(self, run: Run) -> None:
        """Tell agents and nested runs at work on open steps to stop; who cannot be reached in time is left alone."""
        gateway = self._gateway
        if gateway is None:
            return
        spec, steps = spec_from_json(dict(run.spec)), await self._wiring.runs.steps(run.id)
        with anyio.move_on_after(TELL_S):
            for step in steps:
                if step.state == "running" and step.remote_task:
                    await self._tell_worker(gateway, spec, step)

    async def _tell_worker(self, gateway: Gateway, spec: RunSpec, step: RunStep) -> None:
        request = Request(
            id=self._wiring.ids.new("req"),
            principal=spec.acting,
            capability=step.target,
            operation="task.cancel",
            budget=Budget(deadline_s=self._wiring.clock.monotonic_s() + TELL_S),
            protocol="run",
            run_id=spec.run_id,
            step_id=step.id,
            meta={"task": step.remote_task},
        )
        try:
            await gateway.call(request, ignore_event)
        except GatewayError as error:
            log.info("a worker was not told that its run is canceled", target=step.target, reason=error.message)


def _waits_for(events: Sequence[RunEvent]) -> RunEvent | None:
    """The question of its own that a run waited with for its caller when it was stopped; None where there was none."""
    for each in reversed(events):
        if _asks(each):
            # Whoever asked through it was stopped with it, and asks anew.
            detail = json_object(each.body.get("detail"))
            return None if detail.get("run") or detail.get("asks") else each
        if each.body.get("kind") == "status" and not ends(each) and each.body != RESUMED:
            return None
    return None


def _asks(event: RunEvent) -> bool:
    return event.body.get("state") == TaskState.INPUT_REQUIRED.value
