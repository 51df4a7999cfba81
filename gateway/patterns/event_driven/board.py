"""Where an event-driven run stands: its queue, who works on what, what was found out, and whether it is over."""

from collections.abc import Mapping
from dataclasses import replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject
from gateway.core.labels import Labels, join_all
from gateway.core.ports.orchestration import Gap, Node, Offer, StepError, StepResult, Steps
from gateway.patterns.event_driven.goals import FindingsVerdict
from gateway.patterns.event_driven.publications import publication_in, tasks_in
from gateway.patterns.event_driven.rounds import FindingRounds
from gateway.patterns.event_driven.rules import EventRules, subscribed
from gateway.patterns.event_driven.task_queue import DeadTask, QueuedTask, TaskQueue
from gateway.patterns.shared.failures import STOPPED, WANTING, another_way
from gateway.patterns.shared.roles import Role
from gateway.patterns.shared.settings import slug_of
from gateway.patterns.shared.tries import Tries, choice_about

AGAIN: frozenset[StepError] = frozenset({*WANTING, "conflict"})
"""Failures after which a task is handed out again; a conflict means that the work was done on something outdated."""


class Board:
    """Where a run stands: its queue, its findings, and whether it is over."""

    def __init__(
        self, rules: EventRules, tries: Tries, told: FindingRounds, offers: Mapping[str, Offer], steps: Steps
    ) -> None:
        self._rules, self._tries, self._offers = rules, tries, offers
        self._told, self.findings, self.steps = told, told.findings, steps
        self.queue = TaskQueue(most_waiting=rules.queue, most_tasks=rules.tasks, most_deliveries=rules.deliveries)
        self.ended = ""
        """What ended the run: `goal`, `empty`, `deadline`, `budget`, `failed`; empty while it goes on."""
        self.over = False
        """Nothing more is waited for."""
        self.verdict = FindingsVerdict(reached=False, because="")
        self.checked: StepResult | None = None
        """What whoever checks the goal said last."""
        self.reflections = 0
        self.error = ""
        self.notices: list[str] = []
        self._at_work: dict[str, str] = {}
        """Who works on each delivery."""

    async def publish(self, tasks: tuple[QueuedTask, ...]) -> int:
        """How many of the tasks wait now; what is refused, and why, is told."""
        queued = 0
        for task in tasks:
            takers = subscribed(self._rules, task.topic, self._offers)
            if not takers:
                self.queue.dead.append(_dead(task, "skipped", f"nobody subscribes to {task.topic}"))
                continue
            each = [replace(task, to=taker.target) for taker in takers]
            for one in each if self._rules.is_for_each(task.topic) else [task]:
                what = self.queue.publish(one)
                queued += what == "queued"
                if what == "full":
                    self.queue.dead.append(_dead(one, "budget", "the queue is full"))
                    await self.steps.decided("refused", task.topic, because="the queue is full")
        return queued

    async def publish_gaps(self, verdict: FindingsVerdict) -> int:
        """Make tasks of what whoever checks the goal says is lacking; how many are new."""
        checked = self.checked
        if checked is None:
            return 0
        try:
            tasks = tasks_in([*verdict.gaps], checked)
        except InvalidRequest as error:
            await self.steps.decided("refused", "gaps", because=error.message)
            return 0
        topics: list[Json] = [task.topic for task in tasks]
        await self.steps.decided("reflection", topics, because=verdict.because)
        return await self.publish(tasks)

    async def hand_out(self) -> None:
        """Begin as many waiting tasks as there is room for, in their order; none once the run has to end."""
        for task in () if self.ended else tuple(self.queue.waiting):
            if len(self.queue.leased) >= self._tries.concurrency:
                return
            worker = self._free_worker(task)
            if worker:
                name = self.queue.lease(task, worker)
                self._at_work[name] = worker
                await self.steps.begin(name, self._node(self.queue.leased[name], worker))

    async def take_in(self, name: str, result: StepResult) -> None:
        """What came of a delivery: findings and tasks, or a task that waits again."""
        worker, task = self._at_work.pop(name), self.queue.leased[name]
        problem = result
        if result.ok:
            try:
                publication = publication_in(result, task.key)
            except InvalidRequest as error:
                problem = replace(result, ok=False, error="schema", reason=error.message)
            else:
                self.queue.done(name)
                stand_in = self._tries.stand_ins.get(task.failed_at)
                self.notices += [stand_in.notice] if stand_in is not None and stand_in.target == worker else []
                await self.findings.keep(publication.findings, result, self.steps)
                await self._told.turn(self.steps)
                await self.publish(publication.tasks)
                return
        await self._back(name, worker, task, problem)

    def end(self, what: str, verdict: FindingsVerdict | None = None) -> None:
        self.ended = what
        self.verdict = verdict or self.verdict

    async def drop_the_rest(self) -> None:
        """Nobody waits any longer for what is under way, and what waits is not begun."""
        reached = self.verdict.reached
        because = "the goal is reached" if reached else f"the run ended: {self.ended}"
        for name in tuple(self._at_work):
            await self.steps.drop(name, reason=because)
            task = self.queue.done(name)
            if not reached:
                self.queue.dead.append(_dead(task, "canceled", because))
        if not reached:
            self.queue.give_up(self.queue.waiting, "skipped", because)

    def gaps(self, goal: Role | None) -> list[Gap]:
        """What the answer lacks; where the goal is reached, nothing."""
        if goal is not None and self.verdict.reached:
            return []
        lacking = [_gap(each) for each in self.queue.dead]
        if goal is not None and self.verdict.because:
            target = goal.target or f"rule:{goal.rule}"
            lacking.append(Gap(step="goal", target=target, error="skipped", reason=self.verdict.because))
        return lacking

    @property
    def labels_of_gaps(self) -> Labels:
        """Of the reasons for which tasks were not done, and of whoever checked the goal."""
        checked = () if self.checked is None else (self.checked.labels,)
        return join_all((*(each.task.labels for each in self.queue.dead), *checked))

    @property
    def why(self) -> JsonObject:
        return {
            "ended": self.ended,
            "because": self.verdict.because,
            "tasks": self.queue.published,
            "delivered": self.queue.delivered,
            "dead": len(self.queue.dead),
            "replaced": [*self.findings.replaced],
        }

    async def _back(self, name: str, worker: str, task: QueuedTask, result: StepResult) -> None:
        """A task whose worker was not done with it."""
        # Why it failed may be in the worker's own words.
        labels = task.labels.join(result.labels)
        back = replace(task, note=another_way(result), labels=labels, step=result.id, failed_at=worker)
        dead = DeadTask(task=back, error=result.error, reason=result.reason)
        if result.error in STOPPED:
            # Nothing more is begun; who is at work may still be done in time.
            self.queue.back(name, dead, last=True)
            return self.end(result.error)
        told: JsonObject = {
            "topic": task.topic,
            "key": task.key,
            "worker": slug_of(worker),
            "delivery": task.deliveries,
        }
        if self.queue.back(name, dead, last=result.error not in AGAIN):
            return await self.steps.decided("retry", task.key, because=result.because, detail=told)
        await self.steps.decided("dead", task.key, because=result.because, detail=told)
        if self._tries.on_failure == "fail":
            return self._fail(worker, result)
        if self._tries.on_failure == "ask":
            match await choice_about(result, self._tries.ask_timeout_s, self.steps):
                case "retry":
                    self.queue.revive(dead)
                case "fail":
                    self._fail(worker, result)
                case _:
                    pass
        return None

    def _fail(self, worker: str, result: StepResult) -> None:
        self.error = f"{slug_of(worker)} failed: {result.because}"
        self.over = True
        self.end("failed")

    def _free_worker(self, task: QueuedTask) -> str:
        """Who gets the task now: somebody else than the last that failed at it, where there is; empty for nobody."""
        stand_in = self._tries.stand_ins.get(task.failed_at)
        if stand_in is not None:
            return stand_in.target
        busy = [*self._at_work.values()]
        takers = [
            each
            for each in subscribed(self._rules, task.topic, self._offers)
            if task.to in ("", each.target) and busy.count(each.target) < each.concurrency
        ]
        best = min(takers, key=lambda each: (each.target == task.failed_at, busy.count(each.target)), default=None)
        return "" if best is None else best.target

    def _node(self, task: QueuedTask, worker: str) -> Node:
        event: JsonObject = {
            "topic": task.topic,
            "key": task.key,
            "delivery": task.deliveries,
            "published_by": task.published_by,
        }
        reads, given = self._told.handed_to(worker)
        return Node(
            target=worker,
            input=task.input if worker.startswith("tool:") else {**task.input, "event": event},
            labels=task.labels,
            tells=not task.input,
            reads=reads,
            given=given,
            publishes=True,
            timeout_s=self._rules.lease_s,
            note=task.note,
            again=task.step,
        )


def _dead(task: QueuedTask, error: StepError, reason: str) -> DeadTask:
    return DeadTask(task=task, error=error, reason=reason)


def _gap(dead: DeadTask) -> Gap:
    task = dead.task
    name = f"{task.topic}/{task.key}" if task.key else task.topic
    return Gap(step=name, target=task.failed_at, error=dead.error, reason=dead.reason)
