"""A plan worked off on tiers: whatever is ready begins, and what fails goes one tier up at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gateway.core.ports.orchestration import Node, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.plan_execute.tiers import TierRecord
from gateway.patterns.planned.plan import PlanStep, done_already, same_work
from gateway.patterns.planned.undoing import PlanEffects
from gateway.patterns.shared.failures import WANTING, another_try
from gateway.patterns.shared.references import filled
from gateway.patterns.shared.roles import Role
from gateway.patterns.shared.settings import StandIn, slug_of
from gateway.patterns.shared.views import known_of, task_view


@dataclass(slots=True, kw_only=True)
class TieredWork:
    """Where a plan stands."""

    record: TierRecord
    task: Task
    """The original one, of which steps are told as much as they may see."""
    executor: str
    """What a step names that may begin on any tier."""
    role: Role | None = None
    """How the executor is asked, where there is one in place of tiers."""
    concurrency: int
    stand_ins: Mapping[str, StandIn]
    effects: PlanEffects
    results: dict[str, StepResult] = field(default_factory=dict[str, StepResult])
    """Of every step that has ended for good, by its id."""
    attempts: list[tuple[str, StepResult]] = field(default_factory=list[tuple[str, StepResult]])
    """Everything that was tried, in the order in which it ended."""
    notices: list[str] = field(default_factory=list[str])
    _tried_as: dict[str, str] = field(default_factory=dict[str, str])
    """Under which id a step of a new plan was tried as a step of an earlier one."""

    async def plan_anew(self, before: Mapping[str, PlanStep], anew: Mapping[str, PlanStep], steps: Steps) -> None:
        """Go on with another plan: what is done is done, whatever it is called now, and what is tried again is tried
        as the same step, so that what it brought about is not brought about twice."""
        failed = {each: step for each, step in before.items() if not self.results[each].ok}
        tried = {each: step for each, step in failed.items() if self.results[each].attempts}
        names: dict[str, str] = {}
        self._tried_as.clear()
        for step in anew.values():
            if old := same_work(step, tried):
                self._tried_as[step.id], names[old] = self.results[old].id, step.id
                del tried[old]
        await self.effects.take_back(
            failed.keys() - names.keys(), self.results.values(), steps, because="another plan replaces it"
        )
        self.effects.rename(names)
        self.effects.expect(anew, steps)
        done = {each: step for each, step in before.items() if each not in failed}
        self.results = {each: result for each, result in self.results.items() if result.ok}
        for step_id, old in done_already(anew, done).items():
            await steps.decided("same", step_id, because=f"{step_id} is the work that {old} has done")
            self.results[step_id] = self.results[old]

    async def work_off(self, plan: Mapping[str, PlanStep], steps: Steps) -> None:
        """Bring every step of the plan to an end: done, failed, or skipped for want of another."""
        waiting = {step_id: step for step_id, step in plan.items() if step_id not in self.results}
        under_way: dict[str, Node] = {}
        while True:
            self._skip(waiting, plan)
            for step_id in [each for each in waiting if self._ready(waiting[each])]:
                if len(under_way) == self.concurrency:
                    break
                under_way[step_id] = await self._begin(waiting.pop(step_id), steps)
            found = await steps.finished() if under_way else None
            if found is None:
                return
            step_id, result = found
            node = under_way.pop(step_id)
            self.attempts.append((step_id, result))
            self.effects.note(plan[step_id], result, result, self.results)
            await self.record.note(result, steps)
            again = await self._again(step_id, node, result, steps)
            if again is None:
                self.results[step_id] = result
            else:
                under_way[step_id] = again

    def node(self, step: PlanStep, target: str) -> Node:
        """The step, given to somebody."""
        role = self.role if self.role is not None and target == self.role.target else None
        as_asked = Node(target=target, input=step.input) if role is None else role.node(step.input)
        return replace(
            as_asked,
            labels=step.labels,
            task=task_view(step.sight, self.task),
            claims=tuple(filled(each, known_of(self.task)) for each in step.claims),
            again=self._tried_as.get(step.id, ""),
            given={each: self.results[each] for each in step.after},
            handing=step.handing,
            timeout_s=as_asked.timeout_s if step.timeout_s is None else step.timeout_s,
            reads=step.reads,
            publishes=True,
            output_schema=step.output_schema or as_asked.output_schema,
            optional=step.optional,
            part=step.id,
        )

    async def _begin(self, step: PlanStep, steps: Steps) -> Node:
        target = step.target
        if target == self.executor and len(self.record.tiers.tiers) > 1:
            tier = self.record.begin()
            target = tier.target
            success = self.record.estimate(tier)
            met = "the cheapest that meets the bar" if success >= self.record.tiers.bar else "none meets the bar"
            because = f"{step.id} begins on {tier.name}: {met}, it succeeds at {success:.0%}"
            await steps.decided("tier", tier.name, because=because, detail={"step": step.id, **self.record.features()})
        node = self.node(step, target)
        await steps.begin(step.id, node)
        return node

    async def _again(self, step_id: str, node: Node, failed: StepResult, steps: Steps) -> Node | None:
        """The step begun anew one tier up, or with whoever stands in; None where it has ended for good."""
        if failed.ok or failed.error not in WANTING:
            return None
        higher, stand_in = self.record.tiers.after(node.target), self.stand_ins.get(node.target)
        if higher is not None:
            target, what = higher.target, "escalate"
        elif stand_in is not None:
            target, what = stand_in.target, "fallback"
            self.notices.append(stand_in.notice)
        else:
            return None
        because = f"{slug_of(node.target)} failed at {step_id}: {failed.because}"
        await steps.decided(what, slug_of(target), because=because, detail={"step": step_id})
        undone = await self.effects.take_back({step_id}, (), steps, because=because)
        again = another_try(replace(node, target=target), failed)
        # What was undone is done over as something new.
        again = replace(again, again="" if undone else again.again)
        await steps.begin(step_id, again)
        return again

    def _ready(self, step: PlanStep) -> bool:
        return all(each in self.results for each in step.after)

    def _skip(self, waiting: dict[str, PlanStep], plan: Mapping[str, PlanStep]) -> None:
        """End what waits for something that will never be there."""
        lost = True
        while lost:
            lost = False
            for step_id, step in [*waiting.items()]:
                lacking = [
                    each
                    for each in step.after
                    if each in self.results and not self.results[each].ok and not (each in plan and plan[each].optional)
                ]
                if lacking:
                    lost = True
                    del waiting[step_id]
                    reason = f"it needed {', '.join(lacking)}"
                    self.results[step_id] = StepResult(
                        id=step_id, target=step.target, ok=False, error="skipped", reason=reason
                    )
