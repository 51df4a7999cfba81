"""Workers that take tasks from a queue as they come, and put new ones there: nobody plans, nobody waits for a round.

A task goes to one of those who subscribe to its topic, or to each. What a worker finds out stands on the scratchpad for
all the others. A task is leased for as long as its step may take; one whose worker failed, or went silent, is handed
out again, and is given up after some times. The run ends when the goal is reached, when nothing waits and nobody works
any more, or at the deadline.
"""

from collections.abc import Mapping
from dataclasses import replace

from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.ports.orchestration import Gap, Outcome, Steps
from gateway.core.task import Task
from gateway.patterns.event_driven.board import Board
from gateway.patterns.event_driven.findings import PREFIX, Findings
from gateway.patterns.event_driven.goals import RULES, VERDICT, FindingsVerdict, check_rule, judged_by_rule, verdict_in
from gateway.patterns.event_driven.rounds import ROUND, FindingRounds
from gateway.patterns.event_driven.rules import event_rules
from gateway.patterns.shared.gaps import lines_of, reasons_of
from gateway.patterns.shared.references import resolved, without_nothing
from gateway.patterns.shared.roles import Role, role_in, words_of
from gateway.patterns.shared.rolling import Rounds
from gateway.patterns.shared.settings import DEFAULT_ROUNDS, WORKERS, whole
from gateway.patterns.shared.spoken import words_for
from gateway.patterns.shared.tries import Tries
from gateway.patterns.shared.views import known_of


class EventDriven:
    """See `Pattern`."""

    uses = frozenset({*WORKERS, "event_driven", "synthesiser", "goal_checker"})

    def __init__(self, settings: JsonObject) -> None:
        """Raises: InvalidRequest: no workers, one that is none, a task nobody takes, a goal that says nothing."""
        self._rules = event_rules(settings)
        self._tries = Tries.of(settings)
        self._reflections = whole(json_object(settings.get("limits")), "max_rounds", DEFAULT_ROUNDS) - 1
        self._goal = role_in(settings, "goal_checker", RULES)
        if self._goal is not None and self._goal.rule:
            check_rule(self._goal)
        self._synthesiser = role_in(settings, "synthesiser")
        self._summariser = role_in(settings, "summariser")
        self._settings = settings

    async def run(self, task: Task, steps: Steps) -> Outcome:
        rules = self._rules
        offers = await steps.offers([each.target for each in rules.subscribers])
        told = FindingRounds(
            findings=Findings.of(self._settings),
            rounds=Rounds(summariser=self._summariser),
            size=rules.check_after or ROUND,
        )
        board = Board(rules, self._tries, told, offers, steps)
        known = known_of(task)
        for first in rules.first:
            await board.publish((replace(first, input=without_nothing(json_object(resolved(first.input, known)))),))
        while not board.over:
            await board.hand_out()
            if (found := await steps.finished()) is None:
                await self._idle(board)
                continue
            await board.take_in(*found)
            await self._look_at_goal(board)
        await board.drop_the_rest()
        return await self._put_together(board, steps)

    async def _idle(self, board: Board) -> None:
        """Nobody works, and nothing is handed out: the end, unless whoever checks the goal names what is lacking."""
        board.over = True
        if board.ended:
            return
        verdict = await self._verdict(board)
        board.end("goal" if verdict.reached and self._goal is not None else "empty", verdict)
        if verdict.reached or self._reflections <= board.reflections or not verdict.gaps:
            return
        board.reflections += 1
        if await board.publish_gaps(verdict):
            board.ended, board.over = "", False

    async def _look_at_goal(self, board: Board) -> None:
        """A rule is looked at after each finding, somebody is asked only now and then."""
        goal, news = self._goal, board.findings.news
        if goal is None or board.ended or not news:
            return
        if not goal.rule and not 0 < self._rules.check_after <= news:
            return
        verdict = await self._verdict(board)
        if verdict.reached:
            board.over = True
            board.end("goal", verdict)

    async def _verdict(self, board: Board) -> FindingsVerdict:
        goal, findings = self._goal, board.findings
        findings.news = 0
        if goal is None:
            return FindingsVerdict(reached=True, because="everything is done")
        if goal.rule:
            verdict = judged_by_rule(goal, findings.values)
        else:
            verdict = await self._asked(goal, board)
        detail: JsonObject = {"findings": [*sorted(findings.values)], "gaps": [*verdict.gaps]}
        chosen = "reached" if verdict.reached else "not reached"
        await board.steps.decided("goal", chosen, because=verdict.because, detail=detail)
        return verdict

    async def _asked(self, goal: Role, board: Board) -> FindingsVerdict:
        # Names are their finders' words: told to whoever may read what they stand for, and labelled with that.
        reads = board.findings.readable_by(goal.target)
        names: list[Json] = [*sorted(key.removeprefix(PREFIX) for key in reads)]
        topics: list[Json] = [*sorted({topic for each in self._rules.subscribers for topic in each.topics})]
        node = goal.node({"findings": names, "topics": topics, "under_way": len(board.queue.leased)})
        said = await board.steps.call(replace(node, reads=reads, output_schema=node.output_schema or VERDICT))
        board.checked = said
        if not said.ok:
            return FindingsVerdict(reached=False, because=f"the goal could not be checked: {said.because}")
        return verdict_in(said.answer)

    async def _put_together(self, board: Board, steps: Steps) -> Outcome:
        values = dict(sorted(board.findings.values.items()))
        gaps = tuple(board.gaps(self._goal))
        if not values:
            reasons = reasons_of(gaps)
            error = board.error or "nothing was found out"
            return Outcome(text=f"Nothing was found out. {reasons}".strip(), gaps=gaps, error=error, why=board.why)
        text = await self._worded(board, steps) or _by_rule(values, gaps)
        return Outcome(
            text=text,
            value={"findings": values},
            gaps=gaps,
            error=board.error,
            notices=tuple(dict.fromkeys(board.notices)),
            why=board.why,
        )

    async def _worded(self, board: Board, steps: Steps) -> str:
        """The synthesiser's words; empty where there is none, or it failed."""
        if self._synthesiser is None:
            return ""
        gaps: list[Json] = [{"step": gap.step, "reason": gap.reason} for gap in board.gaps(self._goal)]
        reads = board.findings.readable_by(self._synthesiser.target)
        node = replace(self._synthesiser.node({"gaps": gaps}), reads=reads, labels=board.labels_of_gaps, last=True)
        return words_of(await steps.call(node))


def _by_rule(values: Mapping[str, Json], gaps: tuple[Gap, ...]) -> str:
    lines = [f"{name}: {value if isinstance(value, str) else _short(value)}" for name, value in values.items()]
    lines += lines_of(gaps)
    return "\n".join(lines)


def _short(value: Json) -> str:
    fields = json_object(value)
    text = next((text for name in ("text", "summary", "answer") if (text := json_text(fields.get(name)))), "")
    return text or words_for(value)[:200]
