"""Several answer the same question without seeing each other's answers, and a judge weighs them by a rubric.

It is no vote: how far they agree is reported, and counts for nothing. The judge is not told who wrote what. Who fails
is left out and lowers the confidence. Where the stakes are not high (`when`), one answers alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.labels import join_all
from gateway.core.ports.orchestration import Node, Outcome, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.consensus.panel import (
    PANEL_AT_MOST,
    agreement,
    judges_input,
    names_in_words,
    scores_said,
    scores_schema,
    unnamed,
    without_names,
)
from gateway.patterns.consensus.rubric import Criterion, criteria_in, ranked, scored_by_rules, total
from gateway.patterns.shared.dealing import names_for
from gateway.patterns.shared.failures import ask_timeout_s_in, on_failure_in
from gateway.patterns.shared.gaps import reasons_of
from gateway.patterns.shared.gathering import Ask, Gathering, Manner, answered, gather_s_in
from gateway.patterns.shared.references import TASK, Condition, condition_from, named_in
from gateway.patterns.shared.roles import Role, role_in
from gateway.patterns.shared.sameness import same
from gateway.patterns.shared.settings import (
    DEFAULT_CONCURRENCY,
    DEFAULT_ROUNDS,
    WORKERS,
    contract,
    slug_of,
    stand_ins,
    texts,
    whole,
    workers_in,
)
from gateway.patterns.shared.sufficiency import refuse_small_limits

JUDGE_RULES = ("rubric",)
UNJUDGED = 0.5
"""What is left of the confidence where nobody judged, or only by part of the rubric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the judging came to."""

    scores: Mapping[str, Mapping[str, float]]
    judge: str
    """Empty where nobody judged."""
    said: str = ""
    """The judge's reasons, of answers by their letters."""
    failed: str = ""
    """Why the judge did not answer."""
    order: Mapping[str, str]
    """Letter -> whose answer the judge saw under it."""


class Consensus:
    """See `Pattern`."""

    uses = frozenset({*WORKERS, "consensus", "judge"})

    def __init__(self, settings: JsonObject) -> None:
        """Raises: InvalidRequest: too few to ask, a rubric nobody can decide, or a judge of its own answer."""
        block, limits = json_object(settings.get("consensus")), json_object(settings.get("limits"))
        self._workers = workers_in(settings)
        self._names = names_for(self._workers)
        self._criteria = criteria_in(block.get("rubric"))
        self._judge = role_in(settings, "judge", JUDGE_RULES) or Role(name="judge", rule="rubric")
        self._stand_ins = stand_ins(settings)
        self._check_panel()
        self._authors = (*self._workers, *(each.target for each in self._stand_ins.values()))
        self._schema = contract(block.get("schema"))
        self._when = _conditions(block)
        self._alone = _otherwise(block, self._workers)
        if block.get("otherwise") and not self._when:
            raise InvalidRequest("otherwise says who answers when `when` does not hold, and there is no `when`")
        self._quorum = whole(block, "quorum", 1)
        if self._quorum > len(self._workers):
            raise InvalidRequest(f"the quorum is {self._quorum}, and there are {len(self._workers)} to answer")
        self._gather_s = gather_s_in(block, limits)
        self._manner = Manner(
            concurrency=whole(limits, "concurrency", DEFAULT_CONCURRENCY),
            on_failure=on_failure_in(limits),
            ask_timeout_s=ask_timeout_s_in(limits),
            rounds=whole(limits, "max_rounds", DEFAULT_ROUNDS),
            stand_ins=self._stand_ins,
        )
        judges = [self._judge] if self._judge.target else []
        refuse_small_limits(limits, calls=len(self._workers) + len(judges), roles=judges, fixed_s=block.get("gather_s"))

    async def run(self, task: Task, steps: Steps) -> Outcome:
        data = None if task.message is None else task.message.structured
        message = "" if task.message is None else task.message.text
        known: dict[str, Json] = {TASK: {"message": message, **json_object(data)}}
        holding = [text for text, condition in self._when.items() if condition.holds(known)]
        gathering = Gathering(steps=steps, manner=self._manner)
        if self._when and not holding:
            return await self._answered_alone(data, gathering, steps)
        because = f"{holding[0]} holds" if holding else "they are always all asked"
        members: list[Json] = [*self._names.values()]
        await steps.decided("panel", members, because=because)
        if self._gather_s is not None:
            gathering.until = await steps.now() + self._gather_s
        await gathering.ask([self._ask(target, data) for target in self._workers])
        if gathering.failed or len(gathering.good) < self._quorum:
            return self._nothing(gathering)
        judged = await self._judged(task, gathering.good, steps)
        return await self._outcome(judged, gathering, steps)

    def _check_panel(self) -> None:
        workers, judge = self._workers, self._judge
        if len(workers) < 2 or len(set(workers)) != len(workers) or len(workers) > PANEL_AT_MOST:
            raise InvalidRequest(f"the pattern consensus needs 2 to {PANEL_AT_MOST} different workers to answer")
        if not self._criteria:
            raise InvalidRequest("the pattern consensus needs a rubric", detail={"setting": "consensus"})
        open_to_judge = [each.name for each in self._criteria if not each.rule]
        if judge.rule and open_to_judge:
            raise InvalidRequest(f"no rule decides {', '.join(open_to_judge)}: name a judge, or give a rule")
        if judge.target and not open_to_judge:
            raise InvalidRequest("rules decide every criterion: there is nothing for a judge to judge")
        others = {judge.target, *(each.target for each in self._stand_ins.values())} & {*workers}
        if others:
            names = ", ".join(sorted(map(slug_of, others)))
            raise InvalidRequest(f"{names} answers already, and can neither judge nor stand in for another")

    def _ask(self, target: str, data: Json) -> Ask:
        form = ""
        if self._schema is not None:
            form = f"Answer with data that meet this JSON Schema: {json.dumps(self._schema, sort_keys=True)}"
        given = json_object(data)
        node = Node(target=target, input=given, whole=False, tells=not given, output_schema=self._schema, note=form)
        return Ask(name=self._names[target], node=node)

    async def _answered_alone(self, data: Json, gathering: Gathering, steps: Steps) -> Outcome:
        """The answer of one; of the next where it fails."""
        order = [self._alone, *(each for each in self._workers if each != self._alone)]
        because = f"none of these holds: {'; '.join(self._when)}"
        await steps.decided("panel", [self._names[self._alone]], because=because)
        for target in order:
            await gathering.ask([self._ask(target, data)])
            if gathering.good or gathering.failed:
                break
        if not gathering.good:
            return self._nothing(gathering)
        [(name, result)] = gathering.good.items()
        if name != self._names[self._alone]:
            gathering.notices[f"{name} answered, as {self._names[self._alone]} failed"] = None
        why: JsonObject = {"consensus": False, "because": because, "winner": name}
        return Outcome(text=_words(result), value=result.answer, notices=gathering.said, why=why)

    async def _judged(self, task: Task, good: Mapping[str, StepResult], steps: Steps) -> Judged:
        answers = {name: result.answer for name, result in good.items()}
        by_rule = scored_by_rules(self._criteria, answers)
        order = unnamed([*answers], task.id)
        if not self._judge.target:
            return Judged(scores=by_rule, judge="rubric", order=order)
        left = [each for each in self._criteria if not each.rule]
        said = await self._judge_asked(order, good, left, steps)
        if not said.ok:
            judge = "rubric" if len(left) < len(self._criteria) else ""
            return Judged(scores=by_rule, judge=judge, failed=said.because, order=order)
        scores = scores_said(said.answer, order, left)
        return Judged(
            scores={name: {**by_rule[name], **scores[name]} for name in answers},
            judge=slug_of(self._judge.target),
            said=json_text(json_object(said.answer).get("because")),
            order=order,
        )

    async def _judge_asked(
        self, order: Mapping[str, str], good: Mapping[str, StepResult], left: list[Criterion], steps: Steps
    ) -> StepResult:
        """The judge's scores, of criteria no rule decides; asked once more where they break the form."""
        titles = [each.title for each in (await steps.offers(self._authors)).values()]
        authors = names_in_words(self._authors, titles)
        answers = {letter: without_names(good[name].answer, authors) for letter, name in order.items()}
        own, form = self._judge.output_schema, scores_schema([*answers], left)
        node = replace(
            self._judge.node(judges_input(answers, left)),
            labels=join_all(each.labels for each in good.values()),
            output_schema=form if own is None else {"allOf": [form, own]},
            last=True,
        )
        return await answered(node, steps)

    async def _outcome(self, judged: Judged, gathering: Gathering, steps: Steps) -> Outcome:
        good, asked = gathering.good, len(self._workers)
        best = ranked(judged.scores, self._criteria, [*good])
        totals = {name: total(judged.scores[name], self._criteria) for name in best}
        winner = best[0]
        dissent: JsonObject = {
            name: good[name].answer for name in best if not same(good[name].answer, good[winner].answer)
        }
        alike = agreement([each.answer for each in good.values()])
        scores: JsonObject = {name: {**judged.scores[name], "total": totals[name]} for name in best}
        detail: JsonObject = {"scores": scores, "judge": judged.judge, "agreement": alike}
        ahead = f", {best[1]} {totals[best[1]]:g}" if len(best) > 1 else ""
        because = f"{winner} has {totals[winner]:g} of 1 by the rubric{ahead}"
        # Letters mean something beside what the judge said, and nowhere else.
        seen: JsonObject = {"order": {**judged.order}, "said": judged.said}
        await steps.decided("verdict", winner, because=because, detail={**detail, **seen})
        if judged.failed:
            rest = "only what rules decide was weighed" if judged.judge else "the first answer was taken unweighed"
            gathering.notices[f"the judge failed ({judged.failed}): {rest}"] = None
        if len(good) < asked:
            gathering.notices[f"{len(good)} of {asked} answered"] = None
        weighed = totals[winner] if judged.judge else 1.0
        left = UNJUDGED if judged.failed else 1.0
        return Outcome(
            text=_words(good[winner]),
            value=good[winner].answer,
            gaps=gathering.gaps,
            notices=gathering.said,
            confidence=round(weighed * left * len(good) / asked, 3),
            why={
                "consensus": True,
                "winner": winner,
                "because": because,
                "answered": [*good],
                "dissent": dissent,
                **detail,
            },
        )

    def _nothing(self, gathering: Gathering) -> Outcome:
        answered = len(gathering.good)
        error = gathering.failed or (
            f"{answered} answered, and {self._quorum} have to" if answered else "nobody answered"
        )
        reasons = reasons_of(gathering.gaps)
        return Outcome(
            text=f"There is no answer: {error}. {reasons}".strip(),
            value={name: each.answer for name, each in gathering.good.items()} or None,
            gaps=gathering.gaps,
            error=error,
            notices=gathering.said,
        )


def _conditions(block: JsonObject) -> dict[str, Condition]:
    """What makes the stakes high, by its text. Raises: InvalidRequest: one that is no condition on the task."""
    said = block.get("when")
    found = {text: condition_from(text) for text in ([said] if isinstance(said, str) else texts(said))}
    for text, condition in found.items():
        if [*named_in(condition.reference)] != [TASK]:
            raise InvalidRequest(f"{text!r} looks at something else than the task: write `$task.amount > 10000`")
    return found


def _otherwise(block: JsonObject, workers: tuple[str, ...]) -> str:
    """Who answers alone."""
    said = json_text(block.get("otherwise"))
    found = next((each for each in workers if not said or slug_of(each) == said), "")
    if not found:
        raise InvalidRequest(f"{said} is to answer alone, and is not among those who answer")
    return found


def _words(result: StepResult) -> str:
    return result.text or result.summary or json.dumps(result.value, ensure_ascii=False)
