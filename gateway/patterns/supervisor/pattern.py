"""A supervisor: a plan of steps with dependencies, worked off by agents side by side, reviewed, and put together.

The plan is the workflow's own, or a planner's; a planner whose plan cannot be run is told why and asked once more, and
asked again for what could not be done. Whatever fails is named in the answer: partial success is an answer.
"""

from collections.abc import Mapping
from dataclasses import replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.ports.orchestration import Gap, Outcome, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.planned.plan import PlanRules, PlanStep, longest_s, plan_from
from gateway.patterns.planned.planning import EACH, Planning
from gateway.patterns.planned.rounds import Attempt, Ways, gap_of, notices_of, worked_off
from gateway.patterns.planned.undoing import PlanEffects
from gateway.patterns.shared.critique import RULES, refuse_options
from gateway.patterns.shared.failures import STOPPED, ask_timeout_s_in, on_failure_in
from gateway.patterns.shared.gaps import gaps_to_json, lines_of, reasons_of
from gateway.patterns.shared.nested import lifted_gaps
from gateway.patterns.shared.roles import role_in, words_of
from gateway.patterns.shared.rolling import Rounds
from gateway.patterns.shared.settings import (
    DEFAULT_CONCURRENCY,
    DEFAULT_ROUNDS,
    DEFAULT_STEPS,
    HANDOVER,
    WORKERS,
    objects,
    slug_of,
    stand_ins,
    target_in,
    texts,
    whole,
    workers_in,
)
from gateway.patterns.shared.sufficiency import refuse_small_limits
from gateway.patterns.shared.views import handing_in, sight_in
from gateway.patterns.supervisor.agreement import Agreement
from gateway.patterns.supervisor.reviewed import ReviewedPlan, ReviewRules


class Supervisor:
    """See `Pattern`."""

    uses = frozenset({*WORKERS, *HANDOVER, "supervisor", "planner", "plan", "propose", "critic", "synthesiser"})

    def __init__(self, settings: JsonObject) -> None:
        """Raises: InvalidRequest: neither planner nor plan, both, or a plan that cannot be run."""
        limits, block = json_object(settings.get("limits")), json_object(settings.get("supervisor"))
        planner = role_in(settings, "planner", (EACH,))
        self._synthesiser = role_in(settings, "synthesiser")
        self._summariser = role_in(settings, "summariser")
        self._propose = settings.get("propose") is True
        self._ways = Ways(
            concurrency=whole(limits, "concurrency", DEFAULT_CONCURRENCY),
            max_rounds=whole(limits, "max_rounds", DEFAULT_ROUNDS),
            stand_ins=stand_ins(settings),
        )
        fixed = objects(settings.get("plan"))
        if bool(fixed) == (planner is not None):
            raise InvalidRequest("the pattern supervisor needs either a planner or a plan")
        workers = workers_in(settings)
        rules = PlanRules(
            targets=frozenset({*workers, *(target_in(entry) for entry in fixed)}),
            max_steps=whole(limits, "max_steps", DEFAULT_STEPS),
            own=bool(fixed),
            sight=sight_in(block),
            handing=handing_in(settings),
            claims=texts(block.get("claims")),
        )
        if not rules.targets:
            raise InvalidRequest("the pattern supervisor needs agents to give work to", detail={"setting": "agents"})
        self._fixed: dict[str, PlanStep] = plan_from({"steps": [*fixed]}, rules) if fixed else {}
        self._planning = None if planner is None else Planning(planner=planner, rules=rules, workers=workers)
        self._review = ReviewRules(
            critic=role_in(settings, "critic", RULES),
            planning=self._planning,
            workers=tuple(dict.fromkeys((*workers, *(step.target for step in self._fixed.values())))),
            on_failure=on_failure_in(limits),
            ask_timeout_s=ask_timeout_s_in(limits),
        )
        if self._review.critic is not None and self._review.critic.rule:
            refuse_options(self._review.critic.options, "critic")
        if self._propose:
            _refuse_reviewing(self._fixed, self._review)
        calls = len(self._fixed) or (1 if planner is not None and planner.rule else 2)
        refuse_small_limits(limits, calls=calls, roles=(), fixed_s=longest_s(self._fixed))

    async def run(self, task: Task, steps: Steps) -> Outcome:
        try:
            plan = self._fixed or await self._planned(steps)
        except InvalidRequest as error:
            return Outcome(text=f"There is no plan that can be run: {error.message}", error=error.message)
        await self._told(plan, steps)
        effects = PlanEffects(task=task)
        effects.expect(plan, steps)
        ways = replace(self._ways, task=task)
        try:
            if self._propose:
                return await self._agreed_and_committed(plan, ways, effects, steps)
            rounds = Rounds(summariser=self._summariser)
            return await self._reviewed(
                ReviewedPlan(plan=dict(plan), rules=self._review, ways=ways, rounds=rounds, effects=effects), steps
            )
        finally:
            effects.register(steps)

    async def _reviewed(self, reviewed: ReviewedPlan, steps: Steps) -> Outcome:
        await reviewed.work_off(steps)
        results = {step_id: reviewed.results[step_id] for step_id in reviewed.plan}
        if not reviewed.fails_run:
            await _settled(reviewed.effects, results, steps)
        gaps = (*reviewed.gaps, *reviewed.effects.gaps)
        outcome = await self._put_together(reviewed.plan, results, gaps, steps)
        notices = tuple(dict.fromkeys((*outcome.notices, *reviewed.notices, *reviewed.effects.notices)))
        return _failed_by(gaps, replace(outcome, notices=notices), fails_run=reviewed.fails_run)

    async def _planned(self, steps: Steps) -> dict[str, PlanStep]:
        """The planner's plan. Raises: InvalidRequest: it gave none that can be run, twice."""
        if self._planning is None:
            raise AssertionError("unreachable: there is a planner where there is no plan")
        return await self._planning.first(steps)

    async def _told(self, plan: Mapping[str, PlanStep], steps: Steps) -> None:
        """Keep what is to be done by whom, after what, and who says so."""
        told: list[Json] = [{"step": each.id, "target": each.target, "after": [*each.after]} for each in plan.values()]
        planner = None if self._planning is None else self._planning.planner
        by = "the workflow's own" if planner is None else f"by {slug_of(planner.target) or f'the rule {planner.rule}'}"
        names: list[Json] = [*plan]
        await steps.decided("plan", names, because=f"{', '.join(plan)}, {by}", detail={"steps": told})

    async def _agreed_and_committed(
        self, plan: dict[str, PlanStep], ways: Ways, effects: PlanEffects, steps: Steps
    ) -> Outcome:
        attempt = Attempt(phase="propose", publishes=False)
        agreement = Agreement(plan=dict(plan), results=await worked_off(plan, plan, attempt, steps, ways))
        if not await agreement.reached(steps, ways):
            return _disagreed(agreement)
        proposed = agreement.results
        commits = [step_id for step_id in plan if proposed[step_id].ok and proposed[step_id].commits]
        committing = replace(_committing(commits, proposed), effects=effects)
        committed = await worked_off(agreement.plan, commits, committing, steps, ways)
        results = {**proposed, **committed}
        gaps = tuple(gap_of(plan[step_id], result) for step_id, result in results.items() if not result.ok)
        fails_run = self._review.on_failure == "fail" and bool(gaps)
        if not fails_run:
            await _settled(effects, results, steps)
        gaps += tuple(gap for step_id, result in results.items() for gap in lifted_gaps(step_id, result))
        gaps += tuple(effects.gaps)
        outcome = await self._put_together(plan, results, gaps, steps)
        notices = tuple(dict.fromkeys((*outcome.notices, *effects.notices)))
        return _failed_by(gaps, replace(outcome, notices=notices), fails_run=fails_run)

    async def _put_together(
        self, plan: Mapping[str, PlanStep], results: Mapping[str, StepResult], gaps: tuple[Gap, ...], steps: Steps
    ) -> Outcome:
        value: JsonObject = {step_id: result.value for step_id, result in results.items() if result.ok}
        if not value:
            reasons = reasons_of(gaps)
            return Outcome(text=f"Nothing could be done. {reasons}", gaps=gaps, error="no step succeeded")
        text = await self._worded(results, gaps, steps) or _by_rule(results, gaps)
        notices = notices_of(plan, results, self._ways.stand_ins)
        return Outcome(text=text, value=value, gaps=gaps, notices=notices)

    async def _worded(self, results: Mapping[str, StepResult], gaps: tuple[Gap, ...], steps: Steps) -> str:
        """The synthesiser's words; empty where there is none, or it failed."""
        if self._synthesiser is None:
            return ""
        missing: list[Json] = gaps_to_json(gaps)
        node = replace(self._synthesiser.node({"gaps": missing}), given=results, last=True)
        return words_of(await steps.call(node))


async def _settled(effects: PlanEffects, results: Mapping[str, StepResult], steps: Steps) -> None:
    """Have undone what the run goes on without; where nothing succeeded it fails, and all of it is undone by that."""
    if any(result.ok for result in results.values()):
        await effects.take_back_what_does_not_stand(results, steps)


def _refuse_reviewing(plan: Mapping[str, PlanStep], review: ReviewRules) -> None:
    """Raises: InvalidRequest: results would be reviewed, looked up, or asked about, and proposals are none of that."""
    unserved = {
        "critic": review.critic is not None,
        "verify": any(step.verify for step in plan.values()),
        "limits.on_failure: ask": review.on_failure == "ask",
    }
    for name, is_wanted in unserved.items():
        if is_wanted:
            raise InvalidRequest(
                f"with propose, agents agree among themselves and then commit: {name} has no place in that",
                detail={"setting": "propose"},
            )


def _failed_by(gaps: tuple[Gap, ...], outcome: Outcome, *, fails_run: bool) -> Outcome:
    """The outcome as a failure, where a step that failed fails the run."""
    if not fails_run or outcome.error:
        return outcome
    failed = ", ".join(gap.step for gap in gaps if gap.error not in STOPPED)
    return replace(outcome, error=f"not done: {failed}")


def _committing(commits: list[str], proposed: Mapping[str, StepResult]) -> Attempt:
    """The same work for real: each step is handed its own latest proposal."""
    return Attempt(
        phase="commit",
        publishes=True,
        earlier=proposed,
        extra={step_id: {"proposal": proposed[step_id].value} for step_id in commits},
        extra_labels={step_id: proposed[step_id].labels for step_id in commits},
        parts={step_id: step_id for step_id in commits},
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
    lines += lines_of(gaps)
    return "\n".join(lines)
