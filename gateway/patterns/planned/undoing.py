"""What the steps of a plan have brought about, and what makes it undone: all of it where the run fails or is canceled,
else what does not stand in the end.

Kept in the order in which it was brought about, as far as anybody can tell: steps end side by side.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from gateway.core.json import Json, json_object
from gateway.core.labels import join_all
from gateway.core.ports.orchestration import Gap, Node, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.planned.plan import PlanStep
from gateway.patterns.shared.effects import Effect, effects_of
from gateway.patterns.shared.lost_references import lacking_in
from gateway.patterns.shared.references import named_in, resolved
from gateway.patterns.shared.undoing import undone
from gateway.patterns.shared.views import known_of, task_view
from gateway.patterns.shared.work import carried_out


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEffect:
    """What one attempt at a step brought about, or may have."""

    step: str
    """Of the plan."""
    attempt: tuple[str, int]
    """The step's own id, and which attempt it was."""
    undo: Node

    @property
    def call(self) -> str:
        """The call that makes it undone: what the same call undoes is undone by one."""
        return json.dumps([self.undo.target, self.undo.input], sort_keys=True)


@dataclass(slots=True, kw_only=True)
class PlanEffects:
    """Of one run."""

    task: Task | None = None
    gaps: list[Gap] = field(default_factory=list[Gap])
    """What could not be undone."""
    notices: list[str] = field(default_factory=list[str])
    """What cannot be undone for want of an answer."""
    _brought_about: list[PlanEffect] = field(default_factory=list[PlanEffect])

    def expect(self, plan: Mapping[str, PlanStep], steps: Steps) -> None:
        """Say that something of the plan can be undone, before anything of it is done."""
        if any(step.undo is not None for step in plan.values()):
            steps.undoable()

    def note(self, step: PlanStep, answered: StepResult, result: StepResult, results: Mapping[str, StepResult]) -> None:
        """Keep what an attempt brought about: as it was answered, and as it was taken. `results`: of the others."""
        if step.undo is None:
            return
        for effect in effects_of(answered, result):
            if effect.result.value is None and step.id in named_in(step.undo[1]):
                if not result.ok:
                    said = f"{step.id} may have been done ({result.error}), and cannot be undone without its answer"
                    self.notices.append(said)
                continue
            node = self._undo_of(step, effect, {**results, step.id: effect.result})
            attempt = (answered.id, answered.attempts)
            self._brought_about.append(PlanEffect(step=step.id, attempt=attempt, undo=node))

    def note_all(
        self,
        plan: Mapping[str, PlanStep],
        answered: Mapping[str, StepResult],
        taken: Mapping[str, StepResult],
        results: Mapping[str, StepResult],
    ) -> None:
        """Keep what steps that were done side by side brought about, the first to end first."""
        for step_id in in_order_of_ending(plan, answered):
            self.note(plan[step_id], answered[step_id], taken[step_id], results)

    async def take_back(
        self, which: Collection[str], standing: Iterable[StepResult], steps: Steps, *, because: str
    ) -> frozenset[str]:
        """Have undone what was brought about at these steps and is in none of the `standing` results; the steps of
        which something was. What the same call would undo that stands is left."""
        stands = {(result.id, result.attempts) for result in standing if result.ok}
        falls = [each for each in self._brought_about if each.step in which and each.attempt not in stands]
        kept = {each.call for each in self._brought_about if each not in falls}
        falls = [each for each in falls if each.call not in kept]
        self._brought_about = [each for each in self._brought_about if each not in falls]
        undos = [(each.step, each.undo) for each in _each_call_once(falls)]
        self.gaps += await carried_out(undone(undos, because), steps, limit=1)
        return frozenset(each.step for each in falls)

    async def take_back_what_does_not_stand(self, results: Mapping[str, StepResult], steps: Steps) -> None:
        """Have undone what is in none of the results with which the run goes on."""
        which = {each.step for each in self._brought_about}
        await self.take_back(which, results.values(), steps, because="the run goes on without it")

    def rename(self, names: Mapping[str, str]) -> None:
        """Steps have other names in another plan."""
        self._brought_about = [replace(each, step=names.get(each.step, each.step)) for each in self._brought_about]

    def register(self, steps: Steps) -> None:
        """Have undone, should the run fail or be canceled, what has not been undone by then."""
        for each in _each_call_once(self._brought_about):
            undo = each.undo
            because, lacks = undo.undoes, undo.lacks
            steps.compensate(undo.target, undo.input, labels=undo.labels, because=because, task=undo.task, lacks=lacks)

    def _undo_of(self, step: PlanStep, effect: Effect, results: Mapping[str, StepResult]) -> Node:
        target, given = step.undo or ("", {})
        named = [each for each in named_in(given) if each in results]
        values: dict[str, Json] = {each: results[each].value for each in named}
        return Node(
            target=target,
            input=json_object(resolved(given, {**(known_of(self.task) if step.refers else {}), **values})),
            labels=join_all((step.labels, *(results[each].labels for each in named))),
            # Whoever undoes it sees no more of the task than whoever did it.
            task=None if self.task is None else task_view(step.sight, self.task),
            undoes=effect.because,
            lacks=lacking_in(given, values),
        )


def in_order_of_ending(plan: Mapping[str, PlanStep], results: Mapping[str, StepResult]) -> list[str]:
    """The steps that have results, the first to end first, and each behind what it comes after, whatever the clocks of
    several gateways say."""
    ends: dict[str, int] = {}
    todo = [each for each in plan if each in results]
    while todo:
        ready = [each for each in todo if not any(before in todo for before in plan[each].after)] or todo[:1]
        for each in ready:
            own = results[each].started_at_us + results[each].duration_us
            ends[each] = max((own, *(ends[before] + 1 for before in plan[each].after if before in ends)))
        todo = [each for each in todo if each not in ready]
    return sorted(ends, key=lambda each: ends[each])


def _each_call_once(effects: Iterable[PlanEffect]) -> list[PlanEffect]:
    """Without those whose call comes again."""
    found: dict[str, PlanEffect] = {}
    for each in effects:
        earlier = found.pop(each.call, each)
        undo = replace(each.undo, labels=each.undo.labels.join(earlier.undo.labels))
        found[each.call] = replace(each, undo=undo)
    return [*found.values()]
