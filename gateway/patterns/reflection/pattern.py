"""Reflection: a producer writes, a critic that is somebody else says what it lacks, and the producer improves it.

That goes on until it is good enough, no longer gets better, or has gone on long enough; the best round counts, not the
last. What the critic says in its own words reaches the producer as data, with its labels. A goal checker may have the
work begun anew, on a new brief of the planner's.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from gateway.core.json import Json, JsonObject, json_object
from gateway.core.ports.orchestration import Gap, Node, Outcome, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.reflection.critics import Judged, goal_checked, judged
from gateway.patterns.reflection.rules import ReflectionRules
from gateway.patterns.shared.critique import Critique
from gateway.patterns.shared.failures import what_to_do
from gateway.patterns.shared.gaps import gap_from
from gateway.patterns.shared.nested import gaps_in, its_answer, notices_in
from gateway.patterns.shared.rolling import Rounds
from gateway.patterns.shared.settings import WORKERS
from gateway.patterns.shared.tries import tried
from gateway.patterns.shared.work import carried_out

ROUNDS_AT_MOST = 10
"""In one run, however often it is begun anew."""
Stop: TypeAlias = Literal["", "good enough", "no better than before", "no rounds left", "failed", "not judged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One round's work, and what was said of it."""

    round: int
    judged: Judged
    critique: Critique
    notices: tuple[str, ...] = ()
    """Of the workflow that wrote it, where one did."""

    @property
    def score(self) -> float:
        return self.critique.score

    @property
    def said(self) -> dict[str, StepResult]:
        """The draft, and what a critic said of it in its own words."""
        critic = self.judged.said_by
        return {**({} if critic is None else {"critique": critic}), "draft": self.judged.result}

    @property
    def earlier(self) -> dict[str, StepResult]:
        """The same under the names of its round. Later drafts are attempts at the same step, so it goes by no id."""
        return {f"{self.round}-{name}": replace(each, id="") for name, each in self.said.items()}


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far it has got."""

    told: Rounds
    """What the producer is told of earlier rounds."""
    rounds: int = 0
    best: Draft | None = None
    before: Draft | None = None
    """The best on the brief before this one."""
    stopped: Stop = ""
    history: list[Json] = field(default_factory=list[Json])
    drafts: list[Draft] = field(default_factory=list[Draft])
    """Of every round on this brief."""
    notices: list[str] = field(default_factory=list[str])
    failed: StepResult | None = None
    fails_run: bool = False
    brief: StepResult | None = None


class Reflection:
    """See `Pattern`."""

    uses = frozenset({*WORKERS, "reflection", "executor", "critic", "goal_checker", "planner"})

    def __init__(self, settings: JsonObject) -> None:
        """Raises: InvalidRequest: no producer, no critic, the same for both, or rules there are not."""
        self._rules = ReflectionRules.of(settings)

    async def run(self, task: Task, steps: Steps) -> Outcome:
        progress = Progress(told=Rounds(summariser=self._rules.summariser))
        for again in range(self._rules.replans + 1):
            await self._improved(progress, steps)
            if progress.failed is None and await self._wants_more(progress, steps):
                await self._improved(progress, steps)
            if await self._is_end(progress, steps, last=again == self._rules.replans):
                break
        return self._outcome(progress)

    async def _improved(self, progress: Progress, steps: Steps) -> None:
        """Rounds until it is good enough, or no longer gets better."""
        latest = progress.best
        for _ in range(min(self._rules.max_rounds, ROUNDS_AT_MOST - progress.rounds)):
            progress.rounds += 1
            latest = await self._round(latest, progress, steps)
            if latest is None:
                break
            improved = progress.best is None or latest.score > progress.best.score
            progress.best = latest if improved else progress.best
            progress.stopped = "no rounds left" if improved else "no better than before"
            if latest.score >= self._rules.threshold:
                progress.stopped = "good enough"
            if progress.stopped != "no rounds left":
                break
        await steps.decided("stop", progress.stopped, because=f"after {progress.rounds} rounds: {progress.stopped}")

    async def _round(self, latest: Draft | None, progress: Progress, steps: Steps) -> Draft | None:
        """One round's work, weighed; None where there is none, or nobody could weigh it."""
        rules = self._rules
        written = await tried(await self._brief(latest, progress, steps), rules.tries, steps)
        result = written.result
        if not result.ok:
            progress.failed, progress.fails_run, progress.stopped = result, written.fails_run, "failed"
            return None
        progress.notices += [written.notice] if written.notice else []
        lacking, noticed, result = gaps_in(result), notices_in(result), its_answer(result)
        await steps.part(f"draft-{progress.rounds}", result.value, text=result.text)
        work = judged(rules.critic, rules.checks, result, rubric=rules.rubric, threshold=rules.threshold)
        said = await carried_out(work, steps, limit=rules.concurrency)
        said = replace(said, gaps=(*lacking, *said.gaps))
        if said.critique is None:
            progress.stopped = "not judged"
            progress.notices.append(f"The critic could not judge it: {said.reason}.")
            if progress.best is None:
                progress.best = Draft(round=progress.rounds, judged=said, critique=Critique(score=0.0), notices=noticed)
            return None
        told = said.critique.to_json()
        progress.history.append({"round": progress.rounds, **told})
        verdict = "accept" if said.critique.score >= rules.threshold else "improve"
        because = f"round {progress.rounds} scored {said.critique.score:g}, and {rules.threshold:g} is wanted"
        await steps.decided("verdict", verdict, because=because, detail=told)
        draft = Draft(round=progress.rounds, judged=said, critique=said.critique, notices=noticed)
        progress.drafts.append(draft)
        return draft

    async def _brief(self, latest: Draft | None, progress: Progress, steps: Steps) -> Node:
        """What the producer is asked. Its own draft and what was said of it are data, and no instructions; so is what
        earlier rounds came to."""
        node = self._rules.producer.node({})
        given = {} if progress.brief is None else {"brief": progress.brief}
        if latest is None:
            return replace(node, given=given)
        note = f"Improve your draft: it scored {latest.score:g}, and {self._rules.threshold:g} is wanted."
        findings: list[Json] = [*latest.judged.plain]
        found: JsonObject = {"findings": findings} if findings else {}
        earlier = {name: said for each in progress.drafts if each is not latest for name, said in each.earlier.items()}
        given |= await progress.told.handed(earlier, latest.said, steps)
        # Another attempt at the same: what the draft before brought about is not brought about twice.
        again = latest.judged.result.id
        return replace(node, input={**json_object(node.input), **found}, given=given, note=note, again=again)

    async def _wants_more(self, progress: Progress, steps: Steps) -> bool:
        """Whether the caller wants work improved further that is not good enough."""
        best, rules = progress.best, self._rules
        if best is None or rules.tries.on_failure != "ask" or best.score >= rules.threshold:
            return False
        short = replace(best.judged.result, ok=False, error="failed", reason=self._short(best))
        choice = await carried_out(what_to_do("the draft", short, rules.ask_timeout_s), steps, limit=1)
        progress.fails_run = choice == "fail"
        return choice == "retry"

    async def _is_end(self, progress: Progress, steps: Steps, *, last: bool) -> bool:
        """Whether that is the end of it. If not, there is a new brief."""
        best, checker = progress.best, self._rules.goal_checker
        if best is None or checker is None or progress.fails_run or progress.stopped in ("failed", "not judged"):
            return True
        verdict, said = await carried_out(goal_checked(checker, best.judged.result), steps, limit=1)
        await steps.decided("goal", verdict.reached, because=verdict.because)
        if not verdict.checked:
            progress.notices.append(f"Nobody could say whether the goal is reached: {verdict.because}.")
        if verdict.reached:
            return True
        if not last and progress.rounds < ROUNDS_AT_MOST:
            progress.brief = await self._new_brief(best.judged.result, verdict.because, said, steps)
        if last or progress.rounds >= ROUNDS_AT_MOST or progress.brief is None:
            progress.notices.append(f"The goal is not reached: {verdict.because}.")
            return True
        # Another brief, another piece of work: it is not held to the score of the one before.
        progress.before, progress.best = best, None
        progress.drafts.clear()
        return False

    async def _new_brief(
        self, draft: StepResult, reason: str, said: StepResult | None, steps: Steps
    ) -> StepResult | None:
        """The planner's; without one the goal checker's own words."""
        planner = self._rules.planner
        if planner is None:
            return said
        given = {"draft": draft} if said is None else {"draft": draft, "goal_check": said}
        lacking: JsonObject = {"lacking": reason} if said is None else {}
        brief = await steps.call(replace(planner.node(lacking), given=given))
        return brief if brief.ok else None

    def _short(self, best: Draft) -> str:
        return f"it scored {best.score:g}, and {self._rules.threshold:g} was wanted"

    def _outcome(self, progress: Progress) -> Outcome:
        best, failed = progress.best or progress.before, progress.failed
        why: JsonObject = {"rounds": progress.history, "stopped": progress.stopped}
        gaps: tuple[Gap, ...] = ()
        if failed is not None:
            gaps = (gap_from("producer", failed),)
        if best is None:
            reason = "" if failed is None else failed.because
            return Outcome(text=f"Nothing was written: {reason}.", error=f"the producer failed: {reason}", gaps=gaps)
        result, notices, error = best.judged.result, [*progress.notices, *best.notices], ""
        is_judged = progress.stopped != "not judged"
        if is_judged and best.score < self._rules.threshold:
            notices.append(f"Of {progress.rounds} rounds the best is not good enough: {self._short(best)}.")
            error = self._short(best) if self._rules.tries.on_failure == "fail" else ""
        if not result.ok or progress.fails_run:
            error = result.reason or error or self._short(best)
        return Outcome(
            text=result.text or result.summary or "Done.",
            value=result.value,
            gaps=(*best.judged.gaps, *gaps),
            error=error,
            notices=tuple(dict.fromkeys(notices)),
            confidence=best.score if is_judged else None,
            why=why,
        )
