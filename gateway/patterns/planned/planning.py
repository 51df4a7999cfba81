"""Plans by a planner, which is told what is wrong with one that cannot be run, and what failed of one that was."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.labels import join_all
from gateway.core.ports.orchestration import Node, StepResult, Steps
from gateway.patterns.planned.plan import PlanRules, PlanStep, plan_from, repeats_in, without_repeats
from gateway.patterns.planned.review import ReviewVerdict
from gateway.patterns.shared.roles import Role
from gateway.patterns.shared.settings import slug_of, step_name

EACH = "each"
"""The built-in planner: every worker does the task, side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What is done when a plan is made anew, and what the planner is told of it."""

    results: Mapping[str, StepResult]
    told: Mapping[str, StepResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """Who plans, and what a plan may be."""

    planner: Role
    rules: PlanRules
    workers: tuple[str, ...]

    async def first(self, steps: Steps) -> dict[str, PlanStep]:
        """The plan to begin with. Raises: InvalidRequest: there is none that can be run, after two attempts."""
        if self.planner.rule:
            plan = plan_from({"steps": _one_each(self.workers)}, self.rules)
            return {step_id: replace(step, tells=True) for step_id, step in plan.items()}
        return await self._planned(self.planner.node(self._given), self.rules, steps)

    async def again(
        self,
        done: Done,
        failed: Mapping[str, StepResult],
        verdicts: Mapping[str, ReviewVerdict],
        steps: Steps,
    ) -> dict[str, PlanStep] | None:
        """A plan for what is not done, which may build on what is; None where the planner has none."""
        if self.planner.rule:
            return None
        names: list[Json] = [*done.results]
        missing: list[Json] = [
            {"step": each, "error": result.error, "reason": verdicts[each].because} for each, result in failed.items()
        ]
        given: JsonObject = {**self._given, "done": names, "failed": missing}
        # Why something failed may be somebody's own words.
        labels = join_all((*(each.labels for each in failed.values()), *(each.labels for each in verdicts.values())))
        rules = replace(self.rules, done=frozenset(done.results))
        try:
            plan = await self._planned(replace(self.planner.node(given), given=done.told, labels=labels), rules, steps)
        except InvalidRequest as error:
            await steps.decided("replan", None, because=error.message)
            return None
        chosen: list[Json] = [*plan]
        await steps.decided("replan", chosen, because=f"not done: {', '.join(failed)}")
        return plan

    @property
    def _given(self) -> JsonObject:
        workers: list[Json] = [*sorted(self.rules.targets)]
        given: JsonObject = {"workers": workers, "max_steps": self.rules.max_steps}
        return {**given, "claims": [*self.rules.claims]} if self.rules.claims else given

    async def _planned(self, node: Node, rules: PlanRules, steps: Steps) -> dict[str, PlanStep]:
        said = await steps.call(node)
        try:
            return await each_once(_plan_in(said, rules), steps)
        except InvalidRequest as error:
            mended: JsonObject = {**json_object(node.input), "error": error.message, "plan": said.answer}
            node = replace(node, input=mended, labels=node.labels.join(said.labels), again=said.id)
            return await each_once(_plan_in(await steps.call(node), rules), steps)


async def each_once(plan: dict[str, PlanStep], steps: Steps) -> dict[str, PlanStep]:
    """The plan with each piece of work in it once: nobody is asked the same twice in one run."""
    repeats = repeats_in(plan)
    for step_id, other in repeats.items():
        await steps.decided("same", step_id, because=f"{step_id} is the work that {other} does")
    return without_repeats(plan, repeats) if repeats else plan


def _plan_in(said: StepResult, rules: PlanRules) -> dict[str, PlanStep]:
    """Raises: InvalidRequest: the planner failed, or its plan cannot be run."""
    if not said.ok:
        raise InvalidRequest(f"the planner gave none ({said.because})")
    return plan_from(said.answer, rules, said.labels)


def _one_each(workers: Iterable[str]) -> list[Json]:
    """A step for each worker, as a plan has them. Names of tools may be longer than a step's, or differ from one
    another in nothing that it may hold."""
    steps: dict[str, Json] = {}
    for number, target in enumerate(workers, start=1):
        kind, _, name = target.partition(":")
        step_id = step_name(slug_of(target))
        if step_id in steps:
            step_id = step_name(f"{number}-{step_id}")
        steps[step_id] = {"id": step_id, kind: name}
    return [*steps.values()]
