"""In-memory twins of the storage ports. The contract suites hold them and the SQL stores to the same words."""

from collections.abc import Sequence
from dataclasses import replace

import anyio

from gateway.core.errors import Conflict, NotFound
from gateway.core.json import Json, JsonObject
from gateway.core.labels import Labels
from gateway.core.limits import Usage
from gateway.core.ports.runs import Moved, Run, RunEvent, RunStep, Standing, Told
from gateway.core.ports.storage import (
    ApiKey,
    OpenStep,
    OwnedTask,
    RegisteredAgent,
)
from gateway.core.task import TaskState


class MemoryKeyStore:
    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}

    async def add(self, key: ApiKey) -> None:
        if key.id in self._keys:
            raise Conflict("a key with this id exists")
        self._keys[key.id] = key

    async def all(self) -> tuple[ApiKey, ...]:
        return tuple(sorted(self._keys.values(), key=lambda key: (key.created_at_us, key.id)))

    async def revoke(self, key_id: str, at_us: int) -> bool:
        key = self._keys.get(key_id)
        if key is None or key.revoked_at_us is not None:
            return False
        self._keys[key_id] = replace(key, revoked_at_us=at_us)
        return True


class MemoryAgentRegistry:
    def __init__(self) -> None:
        self._agents: dict[str, RegisteredAgent] = {}
        self._first: dict[str, str] = {}

    async def add(self, agent: RegisteredAgent) -> None:
        if agent.slug in self._agents:
            raise Conflict("the name is taken")
        self._agents[agent.slug] = agent

    async def all(self) -> tuple[RegisteredAgent, ...]:
        return tuple(self._agents[slug] for slug in sorted(self._agents))

    async def remove(self, slug: str) -> bool:
        if self._agents.pop(slug, None) is None:
            return False
        self._first.pop(slug, None)
        return True

    async def seen(self, slug: str, digest: str, card: bytes, at_us: int) -> str:
        return self._first.setdefault(slug, digest)


class MemoryTaskOwners:
    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str, str], OwnedTask] = {}

    async def claim(self, task: OwnedTask) -> bool:
        return self._tasks.setdefault((task.tenant, task.agent, task.task_id), task).subject == task.subject

    async def find(self, tenant: str, agent: str, task_id: str) -> OwnedTask | None:
        return self._tasks.get((tenant, agent, task_id))

    async def of(self, tenant: str, agent: str, subject: str) -> frozenset[str]:
        mine = (
            task for task in self._tasks.values() if (task.tenant, task.agent, task.subject) == (tenant, agent, subject)
        )
        return frozenset(task.task_id for task in mine)


class MemoryOpenSteps:
    """Give a second one the first's `rows` to play a restart."""

    def __init__(self, rows: dict[tuple[str, str], OpenStep] | None = None) -> None:
        self.rows = {} if rows is None else rows
        self._steps: dict[tuple[str, str], OpenStep] = {}

    async def open(self, step: OpenStep) -> None:
        self._steps[(step.run_id, step.step_id)] = self.rows[(step.run_id, step.step_id)] = step

    async def close(self, run_id: str, step_id: str) -> None:
        self._steps.pop((run_id, step_id), None)
        self.rows.pop((run_id, step_id), None)

    def shut(self, run_id: str, step_id: str) -> None:
        self._steps.pop((run_id, step_id), None)
        self.rows.pop((run_id, step_id), None)

    def swept(self, run_id: str, step_id: str) -> None:
        """Nothing was left."""

    async def learn(self, run_id: str, step_id: str, labels: Labels) -> None:
        if (step := self.find(run_id, step_id)) is not None:
            await self.open(replace(step, labels=step.labels.join(labels)))

    def find(self, run_id: str, step_id: str) -> OpenStep | None:
        return self._steps.get((run_id, step_id))

    def of_agent(self, tenant: str, agent: str) -> tuple[OpenStep, ...]:
        return tuple(
            each for each in self._steps.values() if each.agent == agent and tenant in (each.actor.tenant, "*")
        )

    def of_run(self, run_id: str) -> tuple[OpenStep, ...]:
        return tuple(step for step in self._steps.values() if step.run_id == run_id)

    async def load(self) -> None:
        self._steps = {**self.rows, **self._steps}

    async def look(self, agent: str) -> None:
        self._steps = dict(self.rows)

    async def look_at_run(self, run_id: str) -> None:
        self._steps = dict(self.rows)


def _ended(state: str) -> bool:
    return TaskState(state).terminal


class MemoryRunStore:
    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._steps: dict[tuple[str, str, int], RunStep] = {}
        self._events: dict[str, list[RunEvent]] = {}
        self._keys: set[tuple[str, str]] = set()
        self._appended = anyio.Event()

    async def open(self, run: Run) -> Run:
        for known in self._runs.values():
            if known.tenant == run.tenant and run.key and known.key == run.key:
                return known
        if run.id in self._runs:
            if self._runs[run.id].tenant != run.tenant:
                raise Conflict("a run with this id exists")
            return self._runs[run.id]
        self._runs[run.id] = run
        return run

    async def update(
        self, run_id: str, *, state: str, at_us: int, output: Json = None, error: str = "", usage: Usage | None = None
    ) -> None:
        run = self._existing(run_id)
        self._runs[run_id] = replace(
            run,
            state=state,
            updated_at_us=at_us,
            output=run.output if output is None else output,
            error=error,
            usage=run.usage if usage is None else usage,
        )

    async def pause(self, run_id: str, at_us: int) -> bool:
        run = self._existing(run_id)
        if not run.paused_at_us:
            self._runs[run_id] = replace(run, paused_at_us=at_us)
        return not run.paused_at_us

    async def unpause(self, run_id: str, at_us: int) -> bool:
        run = self._existing(run_id)
        if run.paused_at_us:
            self._runs[run_id] = replace(run, paused_at_us=0, held_us=run.held_us + at_us - run.paused_at_us)
        return bool(run.paused_at_us)

    async def reopen(self, run_id: str, told: Told, *, by_us: int) -> bool:
        run = self._existing(run_id)
        if not TaskState(run.state).terminal:
            return False
        await self.hold(run_id, by_us)
        await self.update(run_id, state=TaskState.WORKING.value, at_us=told.at_us)
        await self.append(run_id, told.key, told.body, told.at_us)
        return True

    async def hold(self, run_id: str, by_us: int) -> None:
        run = self._existing(run_id)
        self._runs[run_id] = replace(run, held_us=run.held_us + by_us)

    async def standing(self, run_id: str) -> Standing | None:
        run = self._runs.get(run_id)
        return run and Standing(state=run.state, paused=run.paused_at_us > 0, held_us=run.held_us)

    async def find(self, tenant: str, run_id: str) -> Run | None:
        run = self._runs.get(run_id)
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
        wanted = [
            run
            for run in self._runs.values()
            if run.tenant == tenant
            and owner in ("", run.owner)
            and workflow in ("", run.workflow)
            and context_id in ("", run.context_id)
            and (before is None or (run.created_at_us, run.id) < before)
        ]
        return tuple(sorted(wanted, key=lambda run: (run.created_at_us, run.id), reverse=True)[:limit])

    async def note_step(self, step: RunStep) -> None:
        self._existing(step.run_id)
        known = self._steps.get((step.run_id, step.id, step.attempt))
        if known is None or (known.state, step.state) != ("ok", "running"):
            self._steps[(step.run_id, step.id, step.attempt)] = step

    async def tell(
        self,
        run_id: str,
        *,
        steps: Sequence[RunStep] = (),
        events: Sequence[Told] = (),
        moved: Moved | None = None,
        closed: Sequence[str] = (),
    ) -> None:
        if moved is not None and (_ended(moved.state) or not _ended(self._existing(run_id).state)):
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
        mine = [step for step in self._steps.values() if step.run_id == run_id]
        return tuple(sorted(mine, key=lambda step: (step.started_at_us, step.id, step.attempt)))

    async def append(self, run_id: str, key: str, body: JsonObject, at_us: int) -> RunEvent | None:
        self._existing(run_id)
        if (run_id, key) in self._keys:
            return None
        self._keys.add((run_id, key))
        log = self._events.setdefault(run_id, [])
        event = RunEvent(run_id=run_id, seq=len(log) + 1, at_us=at_us, body=body)
        log.append(event)
        self._appended.set()
        self._appended = anyio.Event()
        return event

    async def events(self, run_id: str, after: int = 0) -> tuple[RunEvent, ...]:
        return tuple(self._events.get(run_id, [])[after:])

    async def wait_events(self, run_id: str, after: int, timeout_s: float) -> tuple[RunEvent, ...]:
        with anyio.move_on_after(timeout_s):
            while not await self.events(run_id, after):
                await self._appended.wait()
        return await self.events(run_id, after)

    def _existing(self, run_id: str) -> Run:
        run = self._runs.get(run_id)
        if run is None:
            raise NotFound("no such run")
        return run
