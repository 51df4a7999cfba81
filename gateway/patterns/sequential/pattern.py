"""Stages, one after another: each is given the task, what it needs of the earlier results, and the rest in summary.

For a batch the stages overlap, each at work on another item (`batches`); a stage may begin early, on what the one
before it is expected to answer (`speculation`).
"""

from dataclasses import dataclass, field

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject, json_object
from gateway.core.ports.orchestration import Gap, Outcome, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.sequential.batches import Batch, batch_in
from gateway.patterns.sequential.handover import Before, cannot_be_undone, undos_after
from gateway.patterns.sequential.lost_told import LostReferences
from gateway.patterns.sequential.shares import StageShare
from gateway.patterns.sequential.speculation import Early, ahead_of, node_for
from gateway.patterns.sequential.stage_work import StageEnd, stage_ways, staged, taken_back
from gateway.patterns.sequential.stages import Stage, stages_in, unpromised
from gateway.patterns.shared.gaps import gap_from
from gateway.patterns.shared.nested import is_lifted
from gateway.patterns.shared.settings import DEFAULT_CONCURRENCY, HANDOVER, WORKERS, slug_of, whole, workers_in
from gateway.patterns.shared.sufficiency import refuse_small_limits
from gateway.patterns.shared.undoing import Undoing, is_stuck
from gateway.patterns.shared.work import carried_out


@dataclass(slots=True, kw_only=True)
class Course:
    """How far it has got."""

    task: Task
    done: dict[str, StepResult] = field(default_factory=dict[str, StepResult])
    gaps: list[Gap] = field(default_factory=list[Gap])
    notices: list[str] = field(default_factory=list[str])
    lost: LostReferences = field(default_factory=LostReferences)
    spent: dict[str, StageShare] = field(default_factory=dict[str, StageShare])

    @property
    def before(self) -> Before:
        return Before(task=self.task, done=self.done)


class Sequential:
    """See `Pattern`."""

    uses = frozenset({*WORKERS, *HANDOVER, "stages", "sequential"})

    def __init__(self, settings: JsonObject) -> None:
        """Raises: InvalidRequest: no stages, a name twice, or a reference to a stage that does not come before."""
        limits = json_object(settings.get("limits"))
        self._batch = batch_in(json_object(settings.get("sequential")))
        self._stages = stages_in(settings, batch=self._batch is not None)
        self._ways = stage_ways(settings, limits)
        self._concurrency = whole(limits, "concurrency", DEFAULT_CONCURRENCY)
        self._idle = [each for each in workers_in(settings) if each not in {stage.target for stage in self._stages}]
        _refuse_small_limits(self._stages, limits)

    def doubts(self) -> tuple[str, ...]:
        """What is legal, and probably not meant: workers that no stage calls, fields that no contract names."""
        idle = (f"{slug_of(each)} is in no stage, and is never asked" for each in self._idle)
        lost = (f"stage {stage.name}: {each.said}" for _, stage, each in unpromised(self._stages) if not each.never)
        return (*idle, *lost)

    def refuse_dead(self) -> None:
        """See `Refusing`."""
        for number, stage, each in unpromised(self._stages):
            if each.never:
                raise InvalidRequest(f"stage {stage.name}: {each.said}", detail={"path": ["stages", number]})

    async def run(self, task: Task, steps: Steps) -> Outcome:
        if self._batch is not None:
            return await Batch(self._batch, self._stages, self._ways, task, steps).run(self._concurrency)
        course = Course(task=task)
        early: Early | None = None
        for stage, following in zip(self._stages, (*self._stages[1:], None), strict=True):
            await course.lost.tell_of_condition(stage, course.before, steps)
            if stage.when is not None and not stage.when.holds(course.before.known):
                if early is not None:
                    await early.dropped(steps, because=f"{stage.name} is not needed")
                    early = None
                await steps.decided("skip", stage.name, because=f"{stage.when} does not hold")
                continue
            await course.lost.tell(stage, course.before, steps)
            begun, early = early, None
            if begun is not None:
                end = await begun.taken(course.before, self._ways, steps, limit=self._concurrency)
            else:
                early = await _begun_early(following, stage, course, steps)
                work = staged(stage, node_for(stage, course.before), self._ways, undoing=_undoing(stage, course))
                end = await carried_out(work, steps, limit=self._concurrency)
            fails = not end.result.ok and (self._ways.on_failure == "fail" or not (stage.optional or end.skip))
            if not end.result.ok and not fails:
                work = taken_back(stage, end, _undoing(stage, course))
                end = await carried_out(work, steps, limit=self._concurrency)
            await _noted(stage, end, course, steps)
            if fails:
                return _failed(stage, end.result, course)
        return _finished(course)


async def _begun_early(following: Stage | None, stage: Stage, course: Course, steps: Steps) -> Early | None:
    early = ahead_of(following, stage, course.before)
    if early is not None:
        await early.begin(steps)
    return early


def _undoing(stage: Stage, course: Course) -> Undoing:
    """How the stage is made undone, as things stand."""
    before = Before(task=course.task, done={**course.done})
    return lambda effects: [(stage.name, node) for node in undos_after(stage, effects, before)]


async def _noted(stage: Stage, end: StageEnd, course: Course, steps: Steps) -> None:
    """Keep how a stage ended, and what it has done."""
    course.spent[stage.name] = end.share
    course.notices += end.notices
    course.gaps += end.gaps
    result = end.result
    if not result.ok:
        course.gaps.append(gap_from(stage.name, result))
    course.notices += cannot_be_undone(stage, end.effects)
    for undo in undos_after(stage, end.effects, course.before):
        if result.ok and undo.undoes:
            course.notices.append(f"{stage.name}: what an attempt that does not count has done stands ({undo.undoes})")
        steps.compensate(undo.target, undo.input, labels=undo.labels, because=undo.undoes, lacks=undo.lacks)
    if result.ok:
        course.done[stage.name] = result
        await course.lost.tell_of_undo(stage, course.before, steps)
        await steps.part(stage.name, result.value, text=result.text)


def _finished(course: Course) -> Outcome:
    gaps = tuple(course.gaps)
    if not course.done:
        error = "no stage succeeded" if gaps else ""
        return Outcome(text="Nothing was done.", gaps=gaps, error=error, why=_report(course))
    last = course.done[next(reversed(course.done))]
    text = last.text or last.summary or "Done."
    stuck = [gap for gap in gaps if is_stuck(gap)]
    lacking = [gap for gap in gaps if gap not in stuck and (gap.step in course.spent or is_lifted(gap))]
    left_out = [f"{gap.step} ({gap.because})" for gap in lacking]
    if left_out:
        text += "\nLeft out: " + "; ".join(left_out)
    if unconfirmed := [gap.reason for gap in gaps if gap not in lacking and gap not in stuck]:
        text += "\nNot confirmed: " + "; ".join(unconfirmed)
    if stuck:
        text += "\nNot undone: " + "; ".join(f"{gap.step} ({gap.because})" for gap in stuck)
    return Outcome(text=text, value=last.value, gaps=gaps, notices=tuple(course.notices), why=_report(course))


def _failed(stage: Stage, result: StepResult, course: Course) -> Outcome:
    error = f"stage {stage.name} failed: {result.because}"
    reached = ", ".join(course.done) or "nothing"
    return Outcome(
        text=f"{error}. Done before: {reached}.",
        value={name: each.value for name, each in course.done.items()},
        gaps=tuple(course.gaps),
        error=error,
        notices=tuple(course.notices),
        why=_report(course),
    )


def _report(course: Course) -> JsonObject:
    """What each stage used."""
    spent: JsonObject = {name: share.to_json() for name, share in course.spent.items()}
    return {"stages": spent} if spent else {}


def _refuse_small_limits(stages: tuple[Stage, ...], limits: JsonObject) -> None:
    """Raises: InvalidRequest: not even a run in which nothing goes wrong could keep them."""
    needed = [stage for stage in stages if not stage.optional and stage.when is None]
    fixed_s = sum(stage.timeout_s or 0.0 for stage in needed if stage.speculate is None)
    refuse_small_limits(limits, calls=len(needed), roles=(), fixed_s=fixed_s)
