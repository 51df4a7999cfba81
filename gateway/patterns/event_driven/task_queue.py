"""The queue of an event-driven run: bounded, leased, each task once. Pure; knows no worker and no clock.

At least once: a task that was handed out comes back unless its worker said that it is done, until it has been handed
out too often; then it is dead. Once: a task is told by its key, and by topic and input, whatever key it comes under.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from gateway.core.json import Json, JsonObject
from gateway.core.labels import CLEAN, Labels
from gateway.core.ports.orchestration import StepError
from gateway.patterns.shared.loops import digest
from gateway.patterns.shared.settings import step_name

Published: TypeAlias = Literal["queued", "known", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedTask:
    """Something to be done."""

    topic: str
    input: JsonObject
    key: str = ""
    """Empty until it is published: then what tells it from others."""
    labels: Labels = CLEAN
    to: str = ""
    """Capability name of the one worker it is for; empty for any that subscribes."""
    published_by: str = ""
    """Id of the step that published it; empty where it was there from the beginning."""
    deliveries: int = 0
    note: str = ""
    """Said to the next worker: why the last one was not done with it."""
    step: str = ""
    """Id of the step that the last delivery was: the next is another attempt at the same."""
    failed_at: str = ""
    """Capability name of the last worker that failed at it."""

    @property
    def named(self) -> str:
        """What it is, whatever its key: topic, input, and whom it is for."""
        told: list[Json] = [self.topic, self.input, self.to]
        return digest(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadTask:
    """A task nobody is done with."""

    task: QueuedTask
    error: StepError
    reason: str


@dataclass(slots=True, kw_only=True)
class TaskQueue:
    most_waiting: int
    most_tasks: int
    most_deliveries: int
    waiting: list[QueuedTask] = field(default_factory=list[QueuedTask])
    leased: dict[str, QueuedTask] = field(default_factory=dict[str, QueuedTask])
    """By the name of the delivery."""
    dead: list[DeadTask] = field(default_factory=list[DeadTask])
    published: int = 0
    delivered: int = 0
    _known: set[str] = field(default_factory=set[str])

    def publish(self, task: QueuedTask) -> Published:
        """Put a task at the end of the queue, unless it is there, or was, or there is no room."""
        named = task.named
        key = f"{task.key}@{task.to}" if task.key else named
        if self._known.intersection((key, named)):
            return "known"
        if len(self.waiting) >= self.most_waiting or self.published >= self.most_tasks:
            return "full"
        self._known.update((key, named))
        self.published += 1
        self.waiting.append(replace(task, key=task.key or named[:12]))
        return "queued"

    def lease(self, task: QueuedTask, worker: str) -> str:
        """Hand a waiting task out; the delivery's name, `3-wiki`."""
        self.waiting.remove(task)
        self.delivered += 1
        name = step_name(f"{self.delivered}-{worker.rpartition(':')[2].rpartition('/')[2]}")
        self.leased[name] = replace(task, deliveries=task.deliveries + 1)
        return name

    def done(self, name: str) -> QueuedTask:
        """Its worker is done with it."""
        return self.leased.pop(name)

    def back(self, name: str, dead: DeadTask, *, last: bool) -> bool:
        """Its worker is not done with it, for the reason in `dead`: it waits in front again, or is dead where this was
        the `last` time or it was handed out too often. Whether it waits."""
        task = self.leased.pop(name)
        if last or task.deliveries >= self.most_deliveries:
            self.dead.append(dead)
            return False
        self.waiting.insert(0, dead.task)
        return True

    def revive(self, dead: DeadTask) -> None:
        """Give a dead task one more delivery."""
        self.dead.remove(dead)
        self.waiting.insert(0, replace(dead.task, deliveries=self.most_deliveries - 1))

    def give_up(self, tasks: Iterable[QueuedTask], error: StepError, reason: str) -> None:
        """These waiting tasks will not be handed out."""
        for task in tuple(tasks):
            self.waiting.remove(task)
            self.dead.append(DeadTask(task=task, error=error, reason=reason))
