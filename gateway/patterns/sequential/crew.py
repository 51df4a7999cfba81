"""Several works at once, each going on as soon as its own step has ended; the rest waits for room."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.core.ports.orchestration import Node, StepResult, Steps
from gateway.patterns.shared.settings import step_name
from gateway.patterns.shared.work import Decision, Inquiry, Publication, Told, Work, settled
from gateway.patterns.shared.writing import written_beside

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Job(Generic[T]):
    """A work under way."""

    name: str
    work: Work[T]
    results: dict[str, StepResult] = field(default_factory=dict[str, StepResult])
    """Of the steps it waits for, as far as they have ended."""
    waits_for: tuple[str, ...] = ()
    """Names of several steps; empty where it waits for one."""
    done: list[StepResult] = field(default_factory=list[StepResult])
    """Of its steps that were no lookups beside others, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(Generic[T]):
    """Whose step it is, and under which name its result is waited for."""

    job: Job[T]
    key: str
    node: Node


class Crew(Generic[T]):
    """Carries out works side by side; to be used from the pattern's own task."""

    def __init__(self, steps: Steps, *, limit: int) -> None:
        """`limit`: steps under way at once."""
        self._steps = steps
        self._limit = limit
        self._drawn = 0
        self._waiting: deque[Place[T]] = deque()
        self._under_way: dict[str, Place[T]] = {}
        self._ended: deque[tuple[str, T]] = deque()

    async def start(self, name: str, work: Work[T]) -> None:
        """Take on a work, until its first step is due."""
        await self._advance(Job(name=name, work=work), None)

    async def next(self) -> tuple[str, T] | None:
        """The next work to end, and its end; None where there is none."""
        while not self._ended:
            await self._fill()
            ended = await self._steps.finished()
            if ended is None:
                return None
            name, result = ended
            place = self._under_way.pop(name)
            await self._told(place, result)
        return self._ended.popleft()

    async def stop(self, reason: str, *, but: Collection[str]) -> list[tuple[str, list[StepResult]]]:
        """Begin nothing more, and stop what is under way, of all works `but` these; how far each of them had come: the
        results of its own steps, in their order, that of the one that was under way included."""
        stopped = {place.job.name: place.job for place in self._waiting if place.job.name not in but}
        self._waiting = deque(place for place in self._waiting if place.job.name in but)
        for name, place in [*self._under_way.items()]:
            if place.job.name in but:
                continue
            del self._under_way[name]
            stopped[place.job.name] = place.job
            result = await self._steps.drop(name, reason=reason)
            if not place.key:
                place.job.done.append(result)
        return [(name, job.done) for name, job in stopped.items() if job.done]

    async def _fill(self) -> None:
        while self._waiting and len(self._under_way) < self._limit:
            place = self._waiting.popleft()
            self._drawn += 1
            name = step_name(place.key or place.job.name)
            if name in self._under_way:
                name = step_name(f"{self._drawn}-{name}")
            self._under_way[name] = place
            await self._steps.begin(name, place.node)

    async def _told(self, place: Place[T], result: StepResult) -> None:
        job = place.job
        if not job.waits_for:
            job.done.append(result)
            await self._advance(job, result)
            return
        job.results[place.key] = result
        if len(job.results) == len(job.waits_for):
            await self._advance(job, {key: job.results[key] for key in job.waits_for})

    async def _advance(self, job: Job[T], told: Told) -> None:
        job.results, job.waits_for = {}, ()
        while True:
            try:
                wish = job.work.send(told)
            except StopIteration as end:
                self._ended.append((job.name, end.value))
                return
            match wish:
                case Decision() | Inquiry():
                    told = await settled(wish, self._steps)
                case Publication():
                    told = await written_beside(wish.result, self._steps)
                case Node():
                    self._waiting.append(Place(job=job, key="", node=wish))
                    return
                case _:
                    job.waits_for = tuple(wish)
                    self._waiting.extend(Place(job=job, key=key, node=node) for key, node in wish.items())
                    return
