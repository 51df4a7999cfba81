"""Runs, their steps and event logs, in memory."""

import json
from collections.abc import Sequence
from dataclasses import replace

import anyio

from gateway.core.errors import Conflict, NotFound
from gateway.core.json import Json, JsonObject
from gateway.core.limits import Usage
from gateway.core.ports.runs import Moved, Run, RunEvent, RunStep, Standing, Told
from gateway.core.task import TaskState


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
        if (known := self.runs.get(run.id)) is not None:
            if known.tenant != run.tenant:
                raise Conflict("a run with this id exists")
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

    async def reopen(self, run_id: str, told: Told, *, by_us: int) -> bool:
        run = self._run(run_id)
        if not TaskState(run.state).terminal:
            return False
        state, held_us = TaskState.WORKING.value, run.held_us + by_us
        self.runs[run_id] = replace(run, state=state, updated_at_us=told.at_us, error="", held_us=held_us)
        await self.append(run_id, told.key, told.body, told.at_us)
        return True

    async def hold(self, run_id: str, by_us: int) -> None:
        run = self._run(run_id)
        self.runs[run_id] = replace(run, held_us=run.held_us + by_us)

    async def standing(self, run_id: str) -> Standing | None:
        run = self.runs.get(run_id)
        return run and Standing(state=run.state, paused=run.paused_at_us > 0, held_us=run.held_us)

    async def find(self, tenant: str, run_id: str) -> Run | None:
        run = self.runs.get(run_id)
        return run if run is not None and run.tenant == tenant else None

    async def list(
        self,
        tenant: str,
        *,
        owner: str = "",
        workflow: str = "",
        context_id: str = "",
        before: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> tuple[Run, ...]:
        found = [
            run
            for run in self.runs.values()
            if run.tenant == tenant
            and owner in ("", run.owner)
            and workflow in ("", run.workflow)
            and context_id in ("", run.context_id)
            and (before is None or (run.created_at_us, run.id) < before)
        ]
        return tuple(sorted(found, key=lambda run: (run.created_at_us, run.id), reverse=True)[:limit])

    async def note_step(self, step: RunStep) -> None:
        self._run(step.run_id)
        known = self.kept_steps.get((step.run_id, step.id, step.attempt))
        if known is None or (known.state, step.state) != ("ok", "running"):
            self.kept_steps[step.run_id, step.id, step.attempt] = step

    async def tell(
        self,
        run_id: str,
        *,
        steps: Sequence[RunStep] = (),
        events: Sequence[Told] = (),
        moved: Moved | None = None,
        closed: Sequence[str] = (),
    ) -> None:
        if moved is not None and (TaskState(moved.state).terminal or not TaskState(self._run(run_id).state).terminal):
            await self.update(
                run_id,
                state=moved.state,
                at_us=moved.at_us,
                output=moved.output,
                error=moved.error,
                usage=moved.usage,
            )
        for step in steps:
            await self.note_step(step)
        for event in events:
            await self.append(run_id, event.key, event.body, event.at_us)

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
