"""`Steps` in memory, on a clock of its own: an hour of work takes no time, and the same script gives the same run.

What is different from a real run: nothing is journaled, so nothing can be interrupted; no policy judges; an effect is
not told from a read. What a pattern sees is the same, and one suite of tests holds both to it.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.core.errors import Internal, InvalidRequest
from gateway.core.json import Json, JsonObject
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Budget, Usage
from gateway.core.ports.orchestration import Answer, Node, Note, Offer, Question, StepResult, TaskView, Whose
from gateway.core.ports.scratchpad import Scratchpad
from gateway.orchestration.running.undoing import Undone, undone
from gateway.orchestration.step.graphs import in_order, is_step_name, usable
from gateway.orchestration.step.taking_over import taken_over
from gateway.testing.memory_scratchpad import MemoryScratchpad
from gateway.testing.work import Job, Started, Workshop

KEPT_BACK = 0.1
"""Share of tokens and cost that only a step which words the answer may spend; see `orchestration.ledger`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Something the pattern told whoever watches."""

    event: str
    detail: JsonObject
    text: str
    at_s: float


class MemorySteps:
    """See `Steps`."""

    def __init__(
        self,
        workshop: Workshop,
        scratchpad: MemoryScratchpad,
        *,
        budget: Budget,
        run_id: str = "run",
        answers: Sequence[Json] = (),
    ) -> None:
        """`answers`: what people say when they are asked, in order; nobody answers after the last."""
        self._workshop = workshop
        self._scratchpad = scratchpad
        self._budget = budget
        self._run_id = run_id
        self._answers = list(answers)
        self._under_way: dict[str, Started] = {}
        self._spent = Usage()
        self._attempts: dict[str, int] = {}
        self._undo: list[Node] = []
        self.drawn = 0
        self.now_s = 0.0
        """Virtual seconds since the run began."""
        self.notes: list[tuple[Note, float]] = []
        """What was noted, each with the virtual time until which it stands."""
        self.questions: list[Question] = []
        self.told: list[Told] = []
        self.parts: dict[str, Json] = {}
        self.results: list[tuple[str, StepResult]] = []
        """Every step's name and result, in the order in which the pattern got them."""

    @property
    def budget(self) -> Budget:
        return self._budget

    @property
    def spent(self) -> Usage:
        return self._spent

    @property
    def scratchpad(self) -> Scratchpad:
        return self._scratchpad

    async def call(self, node: Node) -> StepResult:
        name = node.target.rpartition(":")[2].rpartition("/")[2]
        started = self._start(self._job(node, name, node.again or f"{self._run_id}/{self.draw()}"))
        self.now_s = max(self.now_s, started.ends_s)
        result = self._over(started)
        other = taken_over(node, result)
        return result if other is None else await self.call(other)

    async def graph(
        self, nodes: Mapping[str, Node], *, limit: int, deadline_s: float | None = None
    ) -> Mapping[str, StepResult]:
        if not nodes:
            return {}
        names = in_order(nodes)
        until_s = self._budget.deadline_s
        if deadline_s is not None:
            until_s = min(until_s, await self.now() + deadline_s)
        place = f"{self._run_id}/{self.draw()}"
        for _ in names[1:]:
            self.draw()
        jobs = {
            name: replace(self._job(nodes[name], name, nodes[name].again or f"{place}/{name}"), until_s=until_s)
            for name in names
        }
        if len({job.id for job in jobs.values()}) != len(jobs):
            raise InvalidRequest("two nodes of one graph cannot be attempts at the same step")
        results = self._side_by_side(jobs, max(1, limit))
        return {name: results[name] for name in nodes}

    async def run(self, workflow: str, input: Json) -> StepResult:
        return await self.call(Node(target=f"workflow:{workflow}", input=input))

    async def begin(self, name: str, node: Node) -> None:
        if not is_step_name(name):
            raise InvalidRequest(f"{name!r} is no name of a step: letters, digits, _ and -, at most 40")
        if name in self._under_way:
            raise InvalidRequest(f"a step called {name} is under way already")
        self._under_way[name] = self._start(self._job(node, name, node.again or f"{self._run_id}/{self.draw()}"))

    async def finished(self, *, timeout_s: float | None = None) -> tuple[str, StepResult] | None:
        if not self._under_way:
            return None
        self.draw()
        # Of those that end at the same moment the one that was begun first: dictionaries keep the order.
        name = min(self._under_way, key=lambda each: self._under_way[each].ends_s)
        started = self._under_way[name]
        if timeout_s is not None and started.ends_s > self.now_s + timeout_s:
            self.now_s += timeout_s
            return None
        del self._under_way[name]
        self.now_s = max(self.now_s, started.ends_s)
        return name, self._over(started)

    async def drop(self, name: str, *, reason: str) -> StepResult:
        started = self._under_way.pop(name, None)
        if started is None:
            raise InvalidRequest(f"no step called {name} is under way")
        if started.ends_s <= self.now_s:
            return self._over(started)
        job = started.job
        canceled = StepResult(
            id=job.id, target=job.node.target, ok=False, phase=job.node.phase, error="canceled", reason=reason,
            attempts=job.first_attempt, usage=Usage(calls=1),
        )  # fmt: skip
        return self._accounted(job, canceled)

    async def offers(self, targets: Sequence[str]) -> Mapping[str, Offer]:
        self.draw()
        return {target: self._workshop.offer(target) for target in targets}

    async def ask(self, question: Question, *, timeout_s: float) -> Answer:
        self.draw()
        self.questions.append(question)
        if self._answers:
            return Answer(given=True, value=self._answers.pop(0))
        self.now_s += timeout_s
        return Answer(given=False)

    async def emit(self, event: str, detail: Mapping[str, Json], *, text: str = "") -> None:
        self.told.append(Told(event=event, detail=dict(detail), text=text or event, at_s=self.now_s))

    async def decided(self, what: str, chosen: Json, *, because: str, detail: Mapping[str, Json] | None = None) -> None:
        told: JsonObject = {"what": what, "chosen": chosen, "because": because, **(detail or {})}
        await self.emit("decided", told, text=f"{what}: {because}")

    async def part(self, name: str, value: Json, *, text: str = "") -> None:
        self.parts.setdefault(name, value)

    def compensate(
        self,
        target: str,
        input: Json,
        *,
        labels: Labels = CLEAN,
        because: str = "",
        task: TaskView | None = None,
        lacks: str = "",
    ) -> None:
        self._undo.append(Node(target=target, input=input, labels=labels, undoes=because, task=task, lacks=lacks))

    def undoable(self) -> None:
        """See `Steps.undoable`: nobody cancels a run in memory."""

    async def note(self, note: Note) -> None:
        self.draw()
        self.notes.append((note, self.now_s + note.ttl_s))

    async def recall(self, topic: str, key: str, *, whose: Whose = "workflow", limit: int = 1) -> tuple[Json, ...]:
        self.draw()
        found: dict[str, Json] = {}
        for note, until_s in self.notes:
            if (note.topic, note.key, note.whose) == (topic, key, whose) and until_s > self.now_s:
                found.pop(note.id, None)
                found[note.id] = note.value
        return tuple(value for value in reversed(found.values()) if value is not None)[:limit]

    async def now(self) -> float:
        self.draw()
        return self.now_s

    def draw(self) -> int:
        """The number of the next place in the journal, if there were one."""
        self.drawn += 1
        return self.drawn

    async def dropped_all(self) -> None:
        """Stop what the pattern began and did not wait for."""
        for name in tuple(self._under_way):
            await self.drop(name, reason="the run had its answer")

    async def undo(self, because: str) -> list[Undone]:
        """See `RunSteps.undo`."""
        nodes, self._undo = self._undo, []
        return await undone(nodes, self, because)

    def _job(self, node: Node, name: str, step_id: str) -> Job:
        if node.again and node.again not in self._attempts:
            raise InvalidRequest(f"there is no step {node.again} to try again")
        return Job(
            id=step_id,
            name=name,
            node=node,
            first_attempt=self._attempts.get(step_id, 0) + 1,
            until_s=max(self._budget.deadline_s, self.now_s + self._workshop.timeout_s(node) if node.undoes else 0.0),
            results=node.given,
        )

    def _start(self, job: Job, at_s: float | None = None) -> Started:
        at_s = self.now_s if at_s is None else at_s
        if not self._affords(job.node):
            reason = "the run's budget has no room for another step"
            result = StepResult(id=job.id, target=job.node.target, ok=False, error="budget", reason=reason)
            return Started(job=job, ends_s=at_s, result=replace(result, phase=job.node.phase))
        return self._workshop.start(job, at_s)

    def _affords(self, node: Node) -> bool:
        budget, spent = self._budget, self._spent
        if node.undoes:
            return True
        share = 1.0 if node.last else 1.0 - KEPT_BACK
        return (
            (budget.calls is None or spent.calls + len(self._under_way) < budget.calls)
            and (budget.tokens is None or spent.tokens < budget.tokens * share)
            and (budget.cost_usd is None or float(spent.cost_usd) < float(budget.cost_usd) * share)
        )

    def _over(self, started: Started) -> StepResult:
        result = self._accounted(started.job, self._workshop.end(started))
        if started.job.node.part and result.ok:
            self.parts.setdefault(started.job.node.part, result.value)
        return result

    def _accounted(self, job: Job, result: StepResult) -> StepResult:
        self._attempts[job.id] = result.attempts
        self._spent = self._spent + result.usage
        self.results.append((job.name, result))
        return result

    def _side_by_side(self, jobs: Mapping[str, Job], limit: int) -> dict[str, StepResult]:
        """Results of all jobs: those wait that come after others, and those for whom there is no room."""
        results: dict[str, StepResult] = {}
        waiting = list(jobs)
        running: list[tuple[float, int, str]] = []
        under_way: dict[str, Started] = {}
        while waiting or running:
            for name in [each for each in waiting if all(dep in results for dep in jobs[each].node.after)]:
                lacking = [dep for dep in jobs[name].node.after if not usable(results[dep], jobs[dep].node)]
                if not lacking and len(running) >= limit:
                    continue
                waiting.remove(name)
                if lacking:
                    results[name] = self._accounted(jobs[name], _skipped(jobs[name], lacking))
                    continue
                given = {**jobs[name].results, **{dep: results[dep] for dep in jobs[name].node.after}}
                started = under_way[name] = self._start(replace(jobs[name], results=given))
                heapq.heappush(running, (started.ends_s, len(under_way), name))
            if running:
                self.now_s, _, name = heapq.heappop(running)
                results[name] = self._over(under_way[name])
            elif waiting and not any(all(dep in results for dep in jobs[each].node.after) for each in waiting):
                raise Internal("unreachable: graphs are checked for cycles before")
        return results


def _skipped(job: Job, lacking: Sequence[str]) -> StepResult:
    return StepResult(
        id=job.id,
        target=job.node.target,
        ok=False,
        phase=job.node.phase,
        error="skipped",
        reason=f"it needed {', '.join(lacking)}",
        attempts=job.first_attempt - 1,
    )
