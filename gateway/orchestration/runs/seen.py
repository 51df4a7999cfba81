"""Runs as their owners and operators see them: found, listed, drawn as a tree. Starts and ends none."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from gateway.core.errors import InvalidRequest, NotFound
from gateway.core.json import Json
from gateway.core.model import Principal
from gateway.core.ports.runs import Moved, Run, RunStep, Told
from gateway.core.ports.storage import OpenStep
from gateway.core.task import Task, TaskPage, TaskState
from gateway.orchestration.records.events import status_body, task_of
from gateway.orchestration.running.dead_letter_queue import DeadLetterQueue
from gateway.orchestration.wiring import Wiring

RESUMED = status_body(TaskState.WORKING, "resumed")
"""The event of a run that was stopped and goes on."""
RESUMING_US = 10_000_000
"""How long that may take: after this, whoever was to tell the engine has died."""
LISTED_AT_MOST = 1000
PAGE_SIZE = 50
_STOPPED = {
    "failed": (TaskState.FAILED, "the run could not be brought to an end; the gateway's log has the rest"),
    "dead": (TaskState.FAILED, "the run was under way at too many crashes and is not tried again by itself"),
    "canceled": (TaskState.CANCELED, "the run was canceled"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTree:
    """One step with all its attempts, and the run it was, if it was one."""

    id: str
    target: str
    attempts: tuple[RunStep, ...]
    """In order; the last one counts."""
    runs: "Mapping[int, RunTree]" = field(default_factory=dict[int, "RunTree"])
    """The runs that attempts were, by their numbers, if the step called a workflow."""

    @property
    def nested(self) -> "RunTree | None":
        """The run that the last attempt was."""
        return self.runs.get(self.attempts[-1].attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTree:
    """Who called what, how long it took, what became of it."""

    run: Run
    steps: tuple[StepTree, ...]
    """In the order in which they first began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which runs to list; empty fields do not narrow."""

    workflow: str = ""
    context_id: str = ""
    status: str = ""
    changed_after_us: int = 0
    page_size: int = PAGE_SIZE
    page_token: str = ""
    history_length: int | None = None


class Runs:
    """What is kept of runs, by owner."""

    def __init__(self, wiring: Wiring, dead_letter_queue: DeadLetterQueue) -> None:
        self._wiring = wiring
        self._dead_letter_queue = dead_letter_queue

    async def find(self, who: Principal, run_id: str, workflow: str = "") -> Run:
        """A run of the caller's own, or, for an operator, of the tenant. Raises: NotFound: also if it is another's."""
        run = await self._wiring.runs.find(who.tenant, run_id)
        if run is None or not may_see(who, run) or (workflow and run.workflow != workflow):
            raise NotFound(f"there is no run {run_id}")
        return await self.settled(run)

    async def task(self, run: Run, history_length: int | None = None) -> Task:
        """The run as it stands now."""
        events = await self._wiring.runs.events(run.id)
        return task_of(run, events, history_length=history_length)

    async def page(self, who: Principal, wanted: Wanted) -> tuple[TaskPage, Sequence[Run]]:
        """Latest change first, and the runs on it. Raises: InvalidRequest: no such page, or no such state."""
        owner = "" if who.kind == "operator" else who.subject
        found = await self._wiring.runs.list(
            who.tenant, owner=owner, workflow=wanted.workflow, context_id=wanted.context_id, limit=LISTED_AT_MOST
        )
        if wanted.status and wanted.status not in {state.value for state in TaskState}:
            raise InvalidRequest(f"there is no state {wanted.status}")
        runs = [await self.settled(run) for run in found]
        runs = [run for run in runs if not wanted.status or run.state == wanted.status]
        runs = [run for run in runs if run.updated_at_us >= wanted.changed_after_us]
        runs.sort(key=lambda run: (run.updated_at_us, run.id), reverse=True)
        start = _start_of_page(wanted.page_token, runs)
        size = max(1, min(wanted.page_size, 100))
        shown = runs[start : start + size]
        tasks = [await self.task(run, wanted.history_length) for run in shown]
        more = start + size < len(runs)
        return TaskPage(tasks=tuple(tasks), next_token=shown[-1].id if more else "", total=len(runs)), shown

    async def tree(self, who: Principal, run_id: str) -> RunTree:
        """Raises: NotFound."""
        return await self._tree(await self.find(who, run_id))

    async def settled(self, run: Run) -> Run:
        """The run, its state set right where the engine knows that it ended without saying so."""
        if TaskState(run.state).terminal:
            return run
        ended = await self._wiring.journal.state(run.id)
        stopped = _STOPPED.get(ended)
        if stopped is None:
            return run
        state, reason = stopped
        if await self._is_being_resumed(run):
            return run
        # It may have told its end between the two looks.
        latest = await self._wiring.runs.find(run.tenant, run.id)
        if latest is None or TaskState(latest.state).terminal:
            return latest or run
        if state is TaskState.FAILED:
            await self._dead_letter_queue.receive(
                replace(latest, error=reason), "dead" if ended == "dead" else "failed"
            )
        await self.stopped(run.id, state, reason)
        return await self._wiring.runs.find(run.tenant, run.id) or run

    async def _is_being_resumed(self, run: Run) -> bool:
        """Whether somebody lets it go on at this moment, and the engine is still to be told."""
        events = await self._wiring.runs.events(run.id)
        newest = events[-1] if events else None
        now_us = self._wiring.clock.now_us()
        return newest is not None and newest.body == RESUMED and now_us - newest.at_us < RESUMING_US

    async def stopped(self, run_id: str, state: TaskState, reason: str) -> None:
        """Take back what a run had open that was ended from outside, and write that down: last, so that
        whoever looks at it after a crash does the rest."""
        wiring, at_us = self._wiring, self._wiring.clock.now_us()
        await wiring.open_steps.look_at_run(run_id)
        opened = wiring.open_steps.of_run(run_id)
        if state is TaskState.CANCELED:
            await self._steps_canceled(run_id, opened, reason)
        for each in opened:
            await wiring.open_steps.close(run_id, each.step_id)
        await wiring.scratch.release_all(run_id)
        await wiring.approvals.withdraw(run_id)
        told = Told(key=f"stopped {at_us}", body=status_body(state, reason), at_us=at_us)
        await wiring.runs.tell(run_id, events=(told,), moved=Moved(state=state.value, at_us=at_us, error=reason))

    async def _steps_canceled(self, run_id: str, opened: Collection[OpenStep], reason: str) -> None:
        """Write down that whoever was at work was told to stop, of steps too that had begun a moment ago: what is begun
        anew is known by that."""
        runs, at_us = self._wiring.runs, self._wiring.clock.now_us()
        steps = await runs.steps(run_id)
        known = {step.id for step in steps}
        for step in steps:
            if step.state == "running":
                await runs.note_step(replace(step, state="canceled", reason=reason))
        for each in opened:
            if each.step_id not in known:
                step = RunStep(
                    run_id=run_id,
                    id=each.step_id,
                    parent=run_id,
                    target=f"agent:{each.agent}",
                    state="canceled",
                    attempt=1,
                    started_at_us=at_us,
                    duration_us=0,
                    phase=each.phase,
                    reason=reason,
                )
                await runs.note_step(step)

    async def _runs_of(self, run: Run, attempts: Sequence[RunStep], depth: int) -> dict[int, RunTree]:
        """The runs that attempts at a step were; one that several waited for is shown with the last of them."""
        last = {step.remote_task: step.attempt for step in attempts if step.remote_task}
        found: dict[int, RunTree] = {}
        for remote, attempt in last.items():
            inner = await self._wiring.runs.find(run.tenant, remote) if depth else None
            if inner is not None:
                found[attempt] = await self._tree(inner, depth - 1)
        return found

    async def _tree(self, run: Run, depth: int = 8) -> RunTree:
        attempts: dict[str, list[RunStep]] = {}
        for step in await self._wiring.runs.steps(run.id):
            attempts.setdefault(step.id, []).append(step)
        trees: list[StepTree] = []
        for step_id, steps in attempts.items():
            steps.sort(key=lambda step: step.attempt)
            inner = await self._runs_of(run, steps, depth) if steps[-1].target.startswith("workflow:") else {}
            trees.append(StepTree(id=step_id, target=steps[-1].target, attempts=tuple(steps), runs=inner))
        trees.sort(key=lambda tree: (tree.attempts[0].started_at_us, tree.id))
        return RunTree(run=run, steps=tuple(trees))


def may_see(who: Principal, run: Run) -> bool:
    """Its owner may, operators of the tenant may, and a workflow may on its caller's behalf."""
    if who.kind == "operator" or who.subject == run.owner:
        return True
    return who.kind == "workflow" and owner_of(who) == run.owner


def owner_of(who: Principal) -> str:
    """Whose a run is that this principal starts: a nested run belongs to whoever started the outermost."""
    return who.first.subject if who.kind == "workflow" else who.subject


def wanted_from(meta: Mapping[str, Json], workflow: str) -> Wanted:
    """What a door asks for, under the names A2A gives it."""
    size, history = meta.get("page_size"), meta.get("history_length")
    texts = {name: value for name in ("context_id", "status", "page_token") if isinstance(value := meta.get(name), str)}
    return Wanted(
        workflow=workflow,
        page_size=size if isinstance(size, int) and size > 0 else PAGE_SIZE,
        history_length=history if isinstance(history, int) else None,
        changed_after_us=_moment(meta.get("status_after")),
        **texts,
    )


def _moment(value: Json) -> int:
    """RFC 3339 as UTC microseconds; 0 for none. Raises: InvalidRequest: it is no such time."""
    if not isinstance(value, str) or not value:
        return 0
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise InvalidRequest(f"{value[:40]!r} is no time") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)


def _start_of_page(token: str, runs: list[Run]) -> int:
    if not token:
        return 0
    for place, run in enumerate(runs):
        if run.id == token:
            return place + 1
    raise InvalidRequest("there is no such page any more; begin again without a token")
