"""A supervisor: a plan of steps with dependencies, worked off by agents side by side, reviewed, and put together.

The plan is the workflow's own, or a planner's; a planner whose plan cannot be run is told why and asked once more.
Whatever fails is named in the answer: partial success is an answer.
"""

from collections.abc import Mapping
from dataclasses import replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.ports.orchestration import Gap, Outcome, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.agreement import Agreement
from gateway.patterns.plan import PlanRules, PlanStep, plan_from
from gateway.patterns.roles import role_in
from gateway.patterns.rounds import Attempt, Ways, gap_of, worked_off
from gateway.patterns.settings import (
    DEFAULT_CONCURRENCY,
    DEFAULT_ROUNDS,
    DEFAULT_STEPS,
    objects,
    refuse,
    stand_ins,
    target_in,
    whole,
    workers_in,
)


class Supervisor:
    """See `Pattern`."""

    def __init__(self, settings: JsonObject) -> None:
        """Raises: InvalidRequest: neither planner nor plan, both, or a plan that cannot be run."""
        refuse(settings, "supervisor", "stages")
        limits = json_object(settings.get("limits"))
        self._planner = role_in(settings, "planner")
        self._synthesiser = role_in(settings, "synthesiser")
        self._propose = settings.get("propose") is True
        self._ways = Ways(
            concurrency=whole(limits, "concurrency", DEFAULT_CONCURRENCY),
            max_rounds=whole(limits, "max_rounds", DEFAULT_ROUNDS),
            fallback={failed: each.target for failed, each in stand_ins(settings).items()},
        )
        fixed = objects(settings.get("plan"))
        if bool(fixed) == (self._planner is not None):
            raise InvalidRequest("the pattern supervisor needs either a planner or a plan")
        self._rules = PlanRules(
            targets=frozenset({*workers_in(settings), *(target_in(entry) for entry in fixed)}),
            max_steps=whole(limits, "max_steps", DEFAULT_STEPS),
        )
        if not self._rules.targets:
            raise InvalidRequest("the pattern supervisor needs agents to give work to", detail={"setting": "agents"})
        self._fixed: dict[str, PlanStep] = plan_from({"steps": [*fixed]}, self._rules) if fixed else {}

    async def run(self, task: Task, steps: Steps) -> Outcome:
        try:
            plan = self._fixed or await self._planned(steps)
        except InvalidRequest as error:
            return Outcome(text=f"There is no plan that can be run: {error.message}", error=error.message)
        names: list[Json] = [*plan]
        await steps.emit("planned", {"steps": names}, text=f"planned: {', '.join(plan)}")
        if not self._propose:
            attempt = Attempt(phase="", publishes=True)
            results = await worked_off(plan, plan, attempt, steps, self._ways)
            return await self._put_together(plan, results, steps)
        return await self._agreed_and_committed(plan, steps)

    async def _planned(self, steps: Steps) -> dict[str, PlanStep]:
        """The planner's plan. Raises: InvalidRequest: it gave none that can be run, twice."""
        workers: list[Json] = [*sorted(self._rules.targets)]
        given: JsonObject = {"workers": workers, "max_steps": self._rules.max_steps}
        first = await self._asked(given, steps)
        try:
            return _plan_in(first, self._rules)
        except InvalidRequest as error:
            mended = await self._asked({**given, "error": error.message, "plan": first.value}, steps, first)
            return _plan_in(mended, self._rules)

    async def _asked(self, given: JsonObject, steps: Steps, before: StepResult | None = None) -> StepResult:
        if self._planner is None:
            raise AssertionError("unreachable: there is a planner where there is no plan")
        again = "" if before is None else before.id
        return await steps.call(replace(self._planner.node(given), again=again))

    async def _agreed_and_committed(self, plan: dict[str, PlanStep], steps: Steps) -> Outcome:
        attempt = Attempt(phase="propose", publishes=False)
        agreement = Agreement(plan=dict(plan), results=await worked_off(plan, plan, attempt, steps, self._ways))
        if not await agreement.reached(steps, self._ways):
            return _disagreed(agreement)
        proposed = agreement.results
        commits = [step_id for step_id in plan if proposed[step_id].ok and proposed[step_id].commits]
        committed = await worked_off(agreement.plan, commits, _committing(commits, proposed), steps, self._ways)
        return await self._put_together(plan, {**proposed, **committed}, steps)

    async def _put_together(
        self, plan: Mapping[str, PlanStep], results: Mapping[str, StepResult], steps: Steps
    ) -> Outcome:
        gaps = tuple(gap_of(plan[step_id], result) for step_id, result in results.items() if not result.ok)
        value: JsonObject = {step_id: result.value for step_id, result in results.items() if result.ok}
        if not value:
            reasons = "; ".join(f"{gap.step}: {gap.reason or gap.error}" for gap in gaps)
            return Outcome(text=f"Nothing could be done. {reasons}", gaps=gaps, error="no step succeeded")
        text = await self._worded(results, gaps, steps) or _by_rule(results, gaps)
        return Outcome(text=text, value=value, gaps=gaps)

    async def _worded(self, results: Mapping[str, StepResult], gaps: tuple[Gap, ...], steps: Steps) -> str:
        """The synthesiser's words; empty where there is none, or it failed."""
        if self._synthesiser is None:
            return ""
        missing: list[Json] = [{"step": gap.step, "error": gap.error, "reason": gap.reason} for gap in gaps]
        node = replace(self._synthesiser.node({"gaps": missing}), given=results, last=True)
        said = await steps.call(node)
        if not said.ok:
            return ""
        return said.text or json_text(json_object(said.value).get("text")) or said.summary


def _plan_in(said: StepResult, rules: PlanRules) -> dict[str, PlanStep]:
    """Raises: InvalidRequest: the planner failed, or its plan cannot be run."""
    if not said.ok:
        raise InvalidRequest(f"the planner gave none ({said.reason or said.error})")
    return plan_from(said.value, rules, said.labels)


def _committing(commits: list[str], proposed: Mapping[str, StepResult]) -> Attempt:
    """The same work for real: each step is handed its own latest proposal."""
    return Attempt(
        phase="commit",
        publishes=True,
        earlier=proposed,
        extra={step_id: {"proposal": proposed[step_id].value} for step_id in commits},
        extra_labels={step_id: proposed[step_id].labels for step_id in commits},
    )


def _disagreed(agreement: Agreement) -> Outcome:
    names = ", ".join(agreement.open)
    error = f"no agreement was reached: {names} still contradict the others; nothing was committed"
    gaps = tuple(
        Gap(step=step_id, target=agreement.plan[step_id].target, error="conflict", reason="overtaken again and again")
        for step_id in agreement.open
    )
    return Outcome(text=f"Nothing was done: {error}.", gaps=gaps, error=error)


def _by_rule(results: Mapping[str, StepResult], gaps: tuple[Gap, ...]) -> str:
    lines = [f"{step_id}: {result.summary or 'done'}" for step_id, result in results.items() if result.ok]
    lines += [f"{gap.step}: not done ({gap.reason or gap.error})" for gap in gaps]
    return "\n".join(lines)
