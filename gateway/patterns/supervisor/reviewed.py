"""A plan worked off with a review after each round: what is accepted stays, the rest is done again, by somebody else,
or planned anew; whatever built on something that has changed since is done again too.

What a step answered is looked up before anything builds on it. The best there is stays: an answer is not lost because
another attempt at it failed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json
from gateway.core.ports.orchestration import Gap, Offer, StepResult, Steps
from gateway.patterns.planned.plan import PlanStep, ancestors, done_already, followers
from gateway.patterns.planned.planning import Done, Planning
from gateway.patterns.planned.review import REVIEWS, ReviewVerdict, by_rule, reviews_in, somebody_else
from gateway.patterns.planned.rounds import Attempt, Ways, gap_of, nodes_of
from gateway.patterns.planned.undoing import PlanEffects
from gateway.patterns.shared.failures import STOPPED, OnFailure, what_to_do
from gateway.patterns.shared.nested import lifted_gaps
from gateway.patterns.shared.roles import Role
from gateway.patterns.shared.rolling import Rounds
from gateway.patterns.shared.verify import verified
from gateway.patterns.shared.views import narrowest, task_view
from gateway.patterns.shared.work import carried_out
from gateway.patterns.shared.writing import written_beside

ROUNDS_AT_MOST = 10
ASKED_AT_MOST = 3
"""How often a caller may have one step tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRules:
    """Who reviews, who plans anew, and what the caller is asked."""

    critic: Role | None
    planning: Planning | None
    workers: tuple[str, ...]
    """Who may be given work that somebody else failed at."""
    on_failure: OnFailure
    ask_timeout_s: float


@dataclass(slots=True, kw_only=True)
class ReviewedPlan:
    """Where the plan stands."""

    plan: dict[str, PlanStep]
    rules: ReviewRules
    ways: Ways
    rounds: Rounds
    """What is told of earlier ones."""
    effects: PlanEffects = field(default_factory=PlanEffects)
    results: dict[str, StepResult] = field(default_factory=dict[str, StepResult])
    """The best of each step."""
    unconfirmed: dict[str, tuple[Gap, ...]] = field(default_factory=dict[str, tuple[Gap, ...]])
    notices: list[str] = field(default_factory=list[str])
    fails_run: bool = False
    _built_on: dict[str, list[Json]] = field(default_factory=dict[str, list[Json]])
    _tried: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Who has been asked, by step, in order."""
    _reviewed: dict[str, int] = field(default_factory=dict[str, int])
    """The attempt of each step that the critic has seen."""
    _last: dict[str, StepResult] = field(default_factory=dict[str, StepResult])
    """The latest result of each step, where it differs from the best."""
    _to: dict[str, str] = field(default_factory=dict[str, str])
    """Who does a step instead of whom the plan names."""
    _tried_as: dict[str, str] = field(default_factory=dict[str, str])
    """Under which id a step of a new plan was tried as a step of an earlier one."""
    _undone: set[str] = field(default_factory=set[str])
    """Steps of which what was done is undone: they are done over as something new."""
    _offers: Mapping[str, Offer] | None = None
    _shown: dict[str, int] = field(default_factory=dict[str, int])
    """How often each step's result was shown to whoever watches."""
    _open: dict[str, ReviewVerdict] = field(default_factory=dict[str, ReviewVerdict])
    """What the last review did not accept."""
    _latest: set[str] = field(default_factory=set[str])
    """Steps of the round that is under way, or was the last."""
    _acted_on: dict[str, ReviewVerdict] = field(default_factory=dict[str, ReviewVerdict])
    """What earlier reviews did not accept, and was done again."""

    async def work_off(self, steps: Steps) -> None:
        """Rounds until everything is accepted, or nothing more can be done."""
        await self._do([*self.plan], {}, steps)
        most = min(self.ways.max_rounds, ROUNDS_AT_MOST)
        for number in range(2, most + 2):
            self._open = await self._verdicts(steps, last=number > most)
            if not self._open or number > most or await self._is_stopped(steps):
                break
            await self._again(number, self._open, steps)
        self._name_what_was_not_accepted()
        await self._settle_with_caller(steps)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        failed = [
            gap_of(step, result) for step_id, step in self.plan.items() if not (result := self.results[step_id]).ok
        ]
        lacking = (gap for step_id in self.plan for gap in lifted_gaps(step_id, self.results[step_id]))
        return (*failed, *(gap for gaps in self.unconfirmed.values() for gap in gaps), *lacking)

    async def _verdicts(self, steps: Steps, *, last: bool) -> dict[str, ReviewVerdict]:
        """What is not accepted, by step; after the `last` round nothing comes of it any more."""
        found: dict[str, ReviewVerdict] = {}
        options = {} if self.rules.critic is None else self.rules.critic.options
        for step_id, step in self.plan.items():
            result = self._last.get(step_id, self.results[step_id])
            tried = self._tried.get(step_id, [])
            stand_in = self.ways.stand_ins.get(step.target)
            found[step_id] = by_rule(
                result,
                options,
                tries=len(tried),
                stand_in=stand_in is not None and stand_in.target not in tried,
                others=bool(not result.ok and len(tried) > 1 and await self._somebody_else(step, tried, steps)),
            )
        found |= await self._criticised(steps)
        for step_id, verdict in found.items():
            if verdict.action != "accept":
                told = "left as it is" if last else verdict.action
                await steps.decided("verdict", told, because=verdict.because[:400], detail={"step": step_id})
        return {step_id: verdict for step_id, verdict in found.items() if verdict.action != "accept"}

    async def _criticised(self, steps: Steps) -> dict[str, ReviewVerdict]:
        """The critic's verdicts on what is new."""
        critic = self.rules.critic
        new = {
            step_id: result
            for step_id, result in self.results.items()
            if result.ok and self._reviewed.get(step_id) != result.attempts
        }
        if critic is None or critic.rule or not new:
            return {}
        names: list[Json] = [*new]
        # Whoever reviews is told no more of the task than those whose work it is.
        task = self.ways.task
        told = None if task is None else narrowest(task_view(self.plan[each].sight, task) for each in new)
        node = replace(critic.node({"steps": names}), given=new, task=told)
        said = await steps.call(node if node.output_schema else replace(node, output_schema=REVIEWS))
        self._reviewed |= {step_id: result.attempts for step_id, result in new.items()}
        try:
            verdicts = reviews_in(said, new)
        except InvalidRequest as error:
            self.notices.append(f"The critic did not review {', '.join(new)}: {error.message}.")
            verdicts = {}
        for step_id, result in new.items():
            if verdicts.get(step_id, ReviewVerdict(action="accept")).action == "accept":
                await self._show(step_id, result, steps)
        return verdicts

    async def _again(self, number: int, verdicts: dict[str, ReviewVerdict], steps: Steps) -> None:
        """One more round: for what is not accepted, by whoever is to do it."""
        self._acted_on |= verdicts
        names: list[Json] = [*verdicts]
        await steps.emit("round", {"round": number, "steps": names}, text=f"round {number}: {', '.join(verdicts)}")
        if any(each.action == "replan" for each in verdicts.values()) and await self._planned_anew(verdicts, steps):
            verdicts = {each: verdict for each, verdict in verdicts.items() if each in self.results}
        for step_id, verdict in verdicts.items():
            if verdict.action in ("reassign", "replan"):
                await self._reassign(step_id, steps)
        self._latest.clear()
        # Whatever was skipped or never done gets its turn.
        missing = [each for each in self.plan if each not in self.results or self.results[each].error == "skipped"]
        await self._do([each for each in self.plan if each in verdicts or each in missing], verdicts, steps)

    async def _reassign(self, step_id: str, steps: Steps) -> None:
        other = await self._somebody_else(self.plan[step_id], self._tried.get(step_id, []), steps)
        if other:
            because = f"{self.plan[step_id].target} did not do {step_id} well enough"
            await steps.decided("reassign", other, because=because, detail={"step": step_id})
            self._undone |= await self.effects.take_back({step_id}, self.results.values(), steps, because=because)
            self._to[step_id] = other

    async def _somebody_else(self, step: PlanStep, tried: list[str], steps: Steps) -> str:
        stand_in = self.ways.stand_ins.get(step.target)
        if stand_in is not None and stand_in.target not in tried:
            return stand_in.target
        if self._offers is None:
            self._offers = await steps.offers(self.rules.workers)
        return somebody_else(step.target, tried, self.ways.stand_ins, self._offers)

    async def _planned_anew(self, verdicts: dict[str, ReviewVerdict], steps: Steps) -> bool:
        """Whether there is another plan for what is not done."""
        planning = self.rules.planning
        if planning is None or planning.planner.rule:
            return False
        left = {each for each, result in self.results.items() if not result.ok or each in verdicts}
        # Whatever builds on work that is planned anew is planned anew with it.
        behind = [each for each in self.plan if each in followers(self.plan, left) - left]
        verdicts = verdicts | {each: ReviewVerdict(action="replan", because="what it builds on is") for each in behind}
        left.update(behind)
        done = {each: result for each, result in self.results.items() if each not in left}
        # In the plan's order: a set has another one in the next process, and the planner would be asked something else.
        failed = {
            each: self._last.get(each, self.results[each]) for each in self.plan if each in left & verdicts.keys()
        }
        earlier = {each: result for each, result in done.items() if each not in self._latest}
        latest = {each: result for each, result in done.items() if each in self._latest}
        told = await self.rounds.handed(earlier, latest, steps)
        anew = await planning.again(Done(results=done, told=told), failed, verdicts, steps)
        if anew is None:
            return False
        for step_id in [each for each in self.plan if each in left - anew.keys()]:
            result = failed.get(step_id, self.results[step_id])
            self.notices.append(f"{step_id} was replaced by another plan ({result.because}).")
        tried_as = self._same_work(left, anew)
        stays = [result for each, result in self.results.items() if each not in left or each in tried_as]
        await self.effects.take_back(left - tried_as.keys(), stays, steps, because="another plan replaces it")
        self.effects.rename(tried_as)
        self.effects.expect(anew, steps)
        self._undone -= left
        for step_id in left:
            for kept in (self.results, self._last, self._tried, self._built_on, self._to, self.unconfirmed):
                kept.pop(step_id, None)
        before = {each: step for each, step in self.plan.items() if each in done}
        self.plan = before | anew
        for step_id, old in done_already(anew, before).items():
            await steps.decided("same", step_id, because=f"{step_id} is the work that {old} has done")
            self.results[step_id], self.unconfirmed[step_id] = self.results[old], self.unconfirmed[old]
            self._tried[step_id], self._reviewed[step_id] = self._tried[old], self._reviewed.get(old, 0)
            self._built_on[step_id] = self._builds_on(step_id)
        return True

    def _same_work(self, left: set[str], anew: Mapping[str, PlanStep]) -> dict[str, str]:
        """Note which of the new steps are steps that have been tried: what those brought about is not repeated. What
        those are called now, by what they were called."""
        found: dict[str, str] = {}
        tried = {each: self._last.get(each) or self.results[each] for each in self.plan if each in left}
        self._tried_as.clear()
        for step in anew.values():
            for old, result in tried.items():
                if result.id and (result.target, self.plan[old].input) == (step.target, step.input):
                    # What was undone is done over as something new.
                    self._tried_as[step.id] = "" if old in self._undone else result.id
                    found[old] = step.id
                    del tried[old]
                    break
        return found

    def _name_what_was_not_accepted(self) -> None:
        """Answers that stand because there is no better one."""
        for step_id, verdict in {**self._acted_on, **self._open}.items():
            result = self.results.get(step_id)
            better = step_id not in self._open and step_id in self._last and self._last[step_id].ok
            if result is not None and result.ok and not better:
                self.notices.append(f"{step_id} was not accepted by the review: {verdict.because}.")

    async def _is_stopped(self, steps: Steps) -> bool:
        """Whether budget or time are used up: what there is is the answer."""
        stopped = [result for result in self._last.values() if result.error in STOPPED]
        if stopped:
            await steps.decided("stop", stopped[0].error, because=stopped[0].reason)
        return bool(stopped)

    async def _settle_with_caller(self, steps: Steps) -> None:
        """What becomes of steps that failed for good, by the settings or as the caller says."""
        failed = [each for each, step in self.plan.items() if not step.optional and self._failed(each)]
        self.fails_run = self.rules.on_failure == "fail" and bool(failed)
        if self.rules.on_failure != "ask":
            return
        for step_id in failed:
            for _ in range(ASKED_AT_MOST):
                if self.results[step_id].ok or self.results[step_id].error in STOPPED:
                    break
                work = what_to_do(step_id, self.results[step_id], self.rules.ask_timeout_s)
                choice = await carried_out(work, steps, limit=1)
                if choice != "retry":
                    self.fails_run = self.fails_run or choice == "fail"
                    break
                skipped = [each for each in self.plan if self.results[each].error == "skipped"]
                await self._do([each for each in self.plan if each == step_id or each in skipped], {}, steps)

    def _failed(self, step_id: str) -> bool:
        result = self.results[step_id]
        return not result.ok and result.error != "skipped" and result.error not in STOPPED

    @property
    def _is_criticised(self) -> bool:
        return self.rules.critic is not None and not self.rules.critic.rule

    def _is_tool(self, step_id: str) -> bool:
        """Whether it is a tool's, which is told nothing but its arguments."""
        return self._to.get(step_id, self.plan[step_id].target).startswith("tool:")

    def _part(self, step_id: str) -> str:
        """A name under which nothing has been shown yet."""
        self._shown[step_id] = self._shown.get(step_id, 0) + 1
        return step_id if self._shown[step_id] == 1 else f"{step_id}.{self._shown[step_id]}"

    async def _show(self, step_id: str, result: StepResult, steps: Steps) -> None:
        await steps.part(self._part(step_id), result.value, text=result.text)

    async def _do(self, wanted: list[str], verdicts: Mapping[str, ReviewVerdict], steps: Steps) -> None:
        """Do the wanted steps, and whatever built on something that has changed since."""
        for _ in range(len(self.plan) + 1):
            while wanted:
                # What comes after a step that is looked up waits until it has been.
                unsure = {each for each in wanted if self.plan[each].verify}
                behind = {each for each in wanted if any(a in unsure for a in ancestors(self.plan, each))}
                now = [each for each in wanted if each not in behind]
                await self._wave(now, verdicts, steps)
                wanted = [each for each in wanted if each in behind]
            wanted, verdicts = self._stale(), {}
            if not wanted:
                return
            names: list[Json] = [*wanted]
            await steps.decided("again", names, because="what they build on has changed since")

    async def _wave(self, now: list[str], verdicts: Mapping[str, ReviewVerdict], steps: Steps) -> None:
        ready = [each for each in now if self._may_begin(each, now)]
        before = {each: self._last.get(each) or self.results.get(each) for each in ready}
        attempt = Attempt(
            phase="",
            publishes=True,
            earlier=self.results,
            again={
                each: found
                for each, result in before.items()
                if each not in self._undone and (found := self._tried_as.get(each, "") if result is None else result.id)
            },
            notes={each: verdict.note for each, verdict in verdicts.items()},
            extra_labels={each: verdict.labels for each, verdict in verdicts.items() if not self._is_tool(each)},
            parts={}
            if self._is_criticised
            else {each: self._part(each) for each in ready if not self.plan[each].verify},
        )
        plan = {each: replace(self.plan[each], target=self._to.get(each, self.plan[each].target)) for each in now}
        done = await steps.graph(nodes_of(plan, ready, attempt, self.ways), limit=self.ways.concurrency)
        for step_id in ready:
            if done[step_id].error != "skipped":
                self._tried.setdefault(step_id, []).append(plan[step_id].target)
            await self._keep(step_id, done[step_id], steps)
        self._undone.difference_update(ready)
        self.effects.note_all(plan, done, self._last, self.results)

    async def _keep(self, step_id: str, result: StepResult, steps: Steps) -> None:
        """Keep a result, looked up; where there is a better one before it, as the latest only."""
        step, before = self.plan[step_id], self.results.get(step_id)
        gaps: tuple[Gap, ...] = ()
        if step.verify and result.ok:
            looked_up = await carried_out(verified(step.verify, step_id, result), steps, limit=self.ways.concurrency)
            result, gaps = looked_up.result, looked_up.gaps
            if result.ok:
                result = await written_beside(result, steps)
            if result.ok and not self._is_criticised:
                await self._show(step_id, result, steps)
        self._last[step_id] = result
        self._latest.add(step_id)
        if not result.ok and before is not None and before.ok:
            return
        self.results[step_id], self.unconfirmed[step_id] = result, gaps
        self._built_on[step_id] = self._builds_on(step_id)

    def _may_begin(self, step_id: str, now: list[str]) -> bool:
        """Whether all it needs is there or under way; if not, it is skipped."""
        lacking = [
            each
            for each in self.plan[step_id].after
            if each not in now and not (self.results[each].ok or self.plan[each].optional)
        ]
        if lacking:
            reason = f"it needed {', '.join(lacking)}"
            target = self.plan[step_id].target
            earlier = self.results.get(step_id)
            skipped = StepResult(id="", target=target, ok=False, error="skipped", reason=reason)
            self.results[step_id] = replace(skipped, id=earlier.id if earlier else "")
            self._built_on[step_id] = self._builds_on(step_id)
        return not lacking

    def _stale(self) -> list[str]:
        """Those whose results build on something that has changed since, the plan's first layer of them."""
        stale = [
            each
            for each, result in self.results.items()
            if each in self.plan and result.error not in STOPPED and self._built_on[each] != self._builds_on(each)
        ]
        layer = [each for each in stale if not any(a in stale for a in ancestors(self.plan, each))]
        return [each for each in self.plan if each in layer]

    def _builds_on(self, step_id: str) -> list[Json]:
        found = [(each, self.results[each]) for each in self.plan[step_id].after if each in self.results]
        return [[each, result.ok, result.value] for each, result in found]
