"""Plan and execute: a planner says what is to be done, executors of several tiers do it, a synthesiser words it.

Each is an agent of its own, at a price of its own; what the run cost is compared with having everything done on the
top tier. What failed on every tier is told to the planner, who may plan the rest anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.ports.orchestration import Gap, Outcome, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.plan_execute.tier_costs import Spent, cost_report, worded
from gateway.patterns.plan_execute.tiered_work import TieredWork
from gateway.patterns.plan_execute.tiers import TierRecord, Tiers
from gateway.patterns.planned.plan import PlanRules, PlanStep, plan_from
from gateway.patterns.planned.planning import each_once
from gateway.patterns.planned.rounds import gap_of
from gateway.patterns.planned.undoing import PlanEffects
from gateway.patterns.shared.failures import STOPPED, another_try
from gateway.patterns.shared.gaps import gaps_to_json, lines_of, reasons_of
from gateway.patterns.shared.nested import lifted_gaps, notices_in
from gateway.patterns.shared.roles import Role, required_role, role_in, words_of
from gateway.patterns.shared.rolling import Rounds
from gateway.patterns.shared.settings import (
    DEFAULT_STEPS,
    HANDOVER,
    WORKERS,
    number_or,
    slug_of,
    texts,
    whole,
    workers_in,
)
from gateway.patterns.shared.sufficiency import refuse_small_limits
from gateway.patterns.shared.tries import Tries, choice_about
from gateway.patterns.shared.views import handing_in, sight_in
from gateway.patterns.shared.wishes import breaks_in, parts_of

SENTENCES = "sentences"
"""Planner rule: each part of the request is a step of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """What of a plan was not done."""

    plan: Mapping[str, PlanStep]
    results: Mapping[str, StepResult]

    @property
    def gaps(self) -> tuple[Gap, ...]:
        return tuple(gap_of(step, self.results[step_id]) for step_id, step in self.plan.items() if self._lacks(step_id))

    def _lacks(self, step_id: str) -> bool:
        return step_id in self.results and not self.results[step_id].ok


class PlanExecute:
    """See `Pattern`."""

    uses = frozenset({*WORKERS, *HANDOVER, "plan_execute", "planner", "executor", "synthesiser"})

    def __init__(self, settings: JsonObject) -> None:
        """Raises: InvalidRequest: no planner, no executor, tiers that make no sense, or fewer calls than it takes."""
        limits, block = json_object(settings.get("limits")), json_object(settings.get("plan_execute"))
        self._planner = required_role(settings, "planner", "plan_execute", (SENTENCES,))
        self._executor = role_in(settings, "executor")
        self._summariser = role_in(settings, "summariser")
        self._synthesiser = role_in(settings, "synthesiser")
        self._tiers = Tiers.of(settings)
        self._tries = Tries.of(settings)
        executor = self._tiers.tiers[0].target
        targets = frozenset({*workers_in(settings), executor})
        self._rules = PlanRules(
            targets=targets,
            max_steps=whole(limits, "max_steps", DEFAULT_STEPS),
            executor=executor,
            sight=sight_in(block),
            handing=handing_in(settings),
            claims=texts(block.get("claims")),
        )
        top = self._tiers.top.cost
        self._planner_cost, self._synthesiser_cost = (
            number_or(block, "planner_cost", top),
            number_or(block, "synthesiser_cost", top),
        )
        _refuse_short_deadline(limits, self._planner, self._executor, self._synthesiser)
        refuse_small_limits(limits, roles=(), calls=1 + (not self._planner.rule) + (self._synthesiser is not None))

    async def run(self, task: Task, steps: Steps) -> Outcome:
        spent: list[Spent] = []
        try:
            plan = await self._planned(task, steps, spent)
        except InvalidRequest as error:
            why: JsonObject = {"cost": cost_report(spent, self._tiers.top.cost)}
            return Outcome(text=f"There is no plan that can be run: {error.message}", error=error.message, why=why)
        work = TieredWork(
            task=task,
            record=await TierRecord.of(self._tiers, steps),
            executor=self._rules.executor,
            role=self._executor,
            concurrency=self._tries.concurrency,
            stand_ins=self._tries.stand_ins,
            effects=PlanEffects(task=task),
        )
        work.effects.expect(plan, steps)
        try:
            return await self._worked_off(dict(plan), work, spent, steps)
        finally:
            work.effects.register(steps)

    async def _worked_off(
        self, plan: dict[str, PlanStep], work: TieredWork, spent: list[Spent], steps: Steps
    ) -> Outcome:
        rounds, latest = Rounds(summariser=self._summariser), plan
        whole_plan = dict(plan)
        await work.work_off(plan, steps)
        for _ in range(1, self._tries.at_most):
            failed = Failed(plan=whole_plan, results=work.results)
            if not failed.gaps or self._planner.rule or _spent_up(failed):
                break
            results = {each: work.results[each] for each in whole_plan}
            earlier = {each: result for each, result in results.items() if each not in latest}
            told = await rounds.handed(earlier, {each: results[each] for each in results if each in latest}, steps)
            anew = await self._replanned(failed, told, steps, spent)
            if anew is None:
                break
            await work.plan_anew(whole_plan, anew, steps)
            whole_plan = {each: step for each, step in whole_plan.items() if each in work.results} | anew
            await work.work_off(anew, steps)
            latest = anew
        fails_run = await self._settle_with_caller(whole_plan, work, steps)
        if not fails_run and any(work.results[each].ok for each in whole_plan):
            await work.effects.take_back_what_does_not_stand(work.results, steps)
        return await self._answer(
            Failed(plan=whole_plan, results=work.results), work, spent, steps, fails_run=fails_run
        )

    async def _planned(self, task: Task, steps: Steps, spent: list[Spent]) -> dict[str, PlanStep]:
        """The planner's plan; asked again once if it cannot be run. Raises: InvalidRequest."""
        if self._planner.rule:
            plan = plan_from(_by_sentences(task, self._rules.max_steps), self._rules)
        else:
            given: JsonObject = {"max_steps": self._rules.max_steps}
            others: list[Json] = [each for each in sorted(self._rules.targets) if each != self._rules.executor]
            if others:
                given["workers"] = others
            if self._rules.claims:
                given["claims"] = [*self._rules.claims]
            plan = await self._asked_for(given, {}, self._rules, steps, spent)
        names: list[Json] = [*plan]
        await steps.decided("plan", names, because=f"planned: {', '.join(plan)}")
        return plan

    async def _replanned(
        self, failed: Failed, told: Mapping[str, StepResult], steps: Steps, spent: list[Spent]
    ) -> "dict[str, PlanStep] | None":
        """A plan for what is left; None where the planner has none."""
        missing: list[Json] = gaps_to_json(failed.gaps)
        done = frozenset(each for each in failed.plan if failed.results[each].ok)
        rules = replace(self._rules, done=done)
        names: list[Json] = [*sorted(done)]
        given: JsonObject = {"failed": missing, "done": names, "max_steps": rules.max_steps}
        try:
            anew = await self._asked_for(given, told, rules, steps, spent)
        except InvalidRequest as error:
            await steps.decided("replan", None, because=error.message)
            return None
        steps_now: list[Json] = [*anew]
        lacking = ", ".join(gap.step for gap in failed.gaps)
        await steps.decided("replan", steps_now, because=f"not done: {lacking}")
        return anew

    async def _asked_for(
        self, given: JsonObject, handed: Mapping[str, StepResult], rules: PlanRules, steps: Steps, spent: list[Spent]
    ) -> dict[str, PlanStep]:
        """A plan of the planner's. Raises: InvalidRequest: it gave none that can be run, twice."""
        node = replace(self._planner.node(given), given=handed)
        for attempt in (1, 2):
            said = await steps.call(node)
            spent.append(Spent(by="planner", usage=said.usage, cost=self._planner_cost, counts=said.ok or attempt == 1))
            try:
                if said.ok:
                    return await each_once(plan_from(said.answer, rules, said.labels), steps)
                wrong = f"the planner gave none ({said.because})"
            except InvalidRequest as error:
                wrong = error.message
            node = replace(node, again=said.id, note=f"The plan cannot be run: {wrong}")
        raise InvalidRequest(wrong)

    async def _settle_with_caller(self, plan: Mapping[str, PlanStep], work: TieredWork, steps: Steps) -> bool:
        """Ask about each step that failed for good, where that is wanted; whether the run is to fail."""
        gaps = [gap for gap in Failed(plan=plan, results=work.results).gaps if gap.error != "skipped"]
        if self._tries.on_failure != "ask" or not gaps:
            return self._tries.on_failure == "fail" and bool(gaps)
        for gap in gaps:
            while not (result := work.results[gap.step]).ok and result.error not in STOPPED:
                choice = await choice_about(result, self._tries.ask_timeout_s, steps)
                if choice == "fail":
                    return True
                if choice != "retry":
                    break
                node = work.node(plan[gap.step], result.target)
                again = await steps.call(another_try(node, result))
                work.attempts.append((gap.step, again))
                work.effects.note(plan[gap.step], again, again, work.results)
                work.results[gap.step] = again
        # What was skipped for want of one of them gets its turn.
        for step_id in [each for each in plan if work.results[each].error == "skipped"]:
            del work.results[step_id]
        await work.work_off(plan, steps)
        return False

    async def _answer(
        self, failed: Failed, work: TieredWork, spent: list[Spent], steps: Steps, *, fails_run: bool
    ) -> Outcome:
        done = {step_id: failed.results[step_id] for step_id in failed.plan if failed.results[step_id].ok}
        lacking = tuple(gap for step_id, result in done.items() for gap in lifted_gaps(step_id, result))
        gaps = (*failed.gaps, *lacking, *work.effects.gaps)
        value: JsonObject = {step_id: result.answer for step_id, result in done.items()}
        text = ""
        if self._synthesiser is not None and value:
            missing: list[Json] = gaps_to_json(gaps)
            handed = {step_id: failed.results[step_id] for step_id in failed.plan}
            said = await steps.call(replace(self._synthesiser.node({"gaps": missing}), given=handed, last=True))
            spent.append(Spent(by="synthesiser", usage=said.usage, cost=self._synthesiser_cost))
            text = words_of(said)
        report = cost_report([*spent, *self._spent_on(work)], self._tiers.top.cost)
        if saved := worded(report):
            await steps.decided("cost", report.get("saved_share"), because=f"it cost {saved}", detail={"cost": report})
        error = reasons_of(gaps) if fails_run or not value else ""
        return Outcome(
            text=text or _by_rule(failed, (*lacking, *work.effects.gaps)),
            value=value or None,
            gaps=gaps,
            error=error,
            notices=tuple(
                dict.fromkeys(
                    (
                        *work.notices,
                        *work.effects.notices,
                        *(said for each in done.values() for said in notices_in(each)),
                    )
                )
            ),
            why={"plan": [*failed.plan], "cost": report},
        )

    def _spent_on(self, work: TieredWork) -> list[Spent]:
        last = {step_id: place for place, (step_id, _) in enumerate(work.attempts)}
        found: list[Spent] = []
        for place, (step_id, result) in enumerate(work.attempts):
            tier = self._tiers.named(result.target)
            cost = tier.cost if tier is not None else self._tiers.top.cost
            by = f"executor {slug_of(result.target)}"
            found.append(Spent(by=by, usage=result.usage, cost=cost, counts=last[step_id] == place))
        return found


def _refuse_short_deadline(limits: JsonObject, *roles: Role | None) -> None:
    """Raises: InvalidRequest: the times that roles have one after another are longer than the run's."""
    deadline_s = limits.get("deadline_s")
    needed_s = sum(role.timeout_s for role in roles if role is not None and role.timeout_s is not None)
    if isinstance(deadline_s, int | float) and needed_s > deadline_s:
        raise InvalidRequest(
            f"planner, executor and synthesiser have {needed_s:g} s one after another, and limits.deadline_s is "
            f"{deadline_s:g}",
            detail={"setting": "limits"},
        )


def _by_sentences(task: Task, max_steps: int) -> JsonObject:
    """Each part of the request as a step."""
    text = task.message.text if task.message is not None else ""
    parts = [part for part in parts_of(text, breaks_in(text)) if part]
    entries: list[Json] = [
        {"id": f"part-{number}", "instruction": part} for number, part in enumerate(parts[:max_steps], start=1)
    ]
    return {"steps": entries}


def _by_rule(failed: Failed, lacking: tuple[Gap, ...]) -> str:
    lines = [
        f"{step_id}: {result.summary or 'done' if result.ok else f'not done ({result.because})'}"
        for step_id in failed.plan
        for result in (failed.results[step_id],)
    ]
    lines += lines_of(lacking)
    return "\n".join(lines)


def _spent_up(failed: Failed) -> bool:
    """Whether nothing more can be done anyway."""
    return any(gap.error in STOPPED for gap in failed.gaps)
