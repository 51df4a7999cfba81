"""Fan-out and fan-in: several work side by side, and what they bring is made one, with contradictions named.

Each is given the same, a slice of a list, or a part of its own. Results become one by rule, or by a reconciler. A goal
check may ask those once more who are missing or contradicted. What a worker said travels as data, with its labels, and
never as an instruction.
"""

from collections.abc import Mapping
from dataclasses import replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.labels import join_all
from gateway.core.ports.orchestration import Node, Outcome, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.concurrent.found import Found, account, brief, conflicts_told, nothing, worded_by_rule
from gateway.patterns.concurrent.goals import GOAL_RULES, Again, asked_again, judged_by_rule
from gateway.patterns.concurrent.merging import MERGE_RULES, Merged, Said, merged
from gateway.patterns.concurrent.merging_settings import merging_in
from gateway.patterns.concurrent.reports import Template, report_from, report_text, sections_in, template_from
from gateway.patterns.shared.dealing import Share, dealing_in, shares_of
from gateway.patterns.shared.failures import ask_timeout_s_in, on_failure_in
from gateway.patterns.shared.gathering import Ask, Gathering, Manner, answered, gather_s_in
from gateway.patterns.shared.goals import GoalVerdict, judged_by_checker
from gateway.patterns.shared.roles import Role, role_in, words_of
from gateway.patterns.shared.settings import (
    DEFAULT_CONCURRENCY,
    DEFAULT_ROUNDS,
    WORKERS,
    slug_of,
    stand_ins,
    texts,
    whole,
)
from gateway.patterns.shared.sufficiency import refuse_small_limits


class Concurrent:
    """See `Pattern`."""

    uses = frozenset({*WORKERS, "concurrent", "reconciler", "synthesiser", "goal_checker"})

    def __init__(self, settings: JsonObject) -> None:
        """Raises: InvalidRequest: nobody to ask, slices and parts both, or a way to merge that cannot be gone."""
        block, limits = json_object(settings.get("concurrent")), json_object(settings.get("limits"))
        self._dealing = dealing_in(settings)
        self._reconciler = role_in(settings, "reconciler", MERGE_RULES)
        self._synthesiser = role_in(settings, "synthesiser")
        self._goal_checker = role_in(settings, "goal_checker", GOAL_RULES)
        self._merging = merging_in(block, self._reconciler, {slug_of(each) for each in self._dealing.workers})
        self._merging = replace(self._merging, compared=self._dealing.compared)
        template = json_text(block.get("template"))
        self._template = template_from(template) if template else None
        self._max_rounds = whole(limits, "max_rounds", DEFAULT_ROUNDS)
        roles = [each for each in (self._goal_checker, self._reconciler, self._synthesiser) if each and each.target]
        self._gather_s = gather_s_in(block, limits)
        self._manner = Manner(
            concurrency=whole(limits, "concurrency", DEFAULT_CONCURRENCY),
            on_failure=on_failure_in(limits),
            ask_timeout_s=ask_timeout_s_in(limits),
            stand_ins=stand_ins(settings),
            first=self._merging.rule == "first",
            read=self._read,
        )
        if self._manner.first and (self._goal_checker or (self._reconciler and self._reconciler.target)):
            raise InvalidRequest("with merge: first there is one answer: nothing to reconcile, and nobody to ask again")
        if (
            self._goal_checker
            and self._goal_checker.rule == "fields"
            and not texts(self._goal_checker.options.get("fields"))
        ):
            raise InvalidRequest("the goal checker's rule fields needs options: {fields: [...]}")
        refuse_small_limits(limits, calls=self._dealing.least + len(roles), roles=roles, fixed_s=block.get("gather_s"))

    async def run(self, task: Task, steps: Steps) -> Outcome:
        try:
            shares = {each.name: each for each in shares_of(task, self._dealing)}
        except InvalidRequest as error:
            return Outcome(text=f"There is nothing to share out: {error.message}.", error=error.message)
        until = None if self._gather_s is None else await steps.now() + self._gather_s
        gathering = Gathering(steps=steps, manner=self._manner, until=until)
        found = await self._rounds(shares, gathering, steps)
        if gathering.failed or not gathering.good:
            return nothing(found)
        if self._merging.rule not in ("first", "all") or found.merged.conflicts:
            await steps.decided("merge", self._merging.rule, because=account(found), detail=conflicts_told(found))
        found = await self._reconciled(found, steps)
        text = await self._worded(found, steps)
        return self._outcome(found, text)

    async def _rounds(self, shares: Mapping[str, Share], gathering: Gathering, steps: Steps) -> Found:
        asks = [self._ask(each) for each in shares.values()]
        number = 1
        while True:
            await gathering.ask(asks)
            found = Found(shares=shares, gathering=gathering, merged=self._merged(shares, gathering), rounds=number)
            if self._goal_checker is None or gathering.failed or not gathering.good:
                return found
            verdict = await self._judged(self._goal_checker, found, steps)
            again = asked_again(verdict, found.merged, gathering.results, shares)
            done = verdict.reached or gathering.over or not again or number == self._max_rounds
            names: list[Json] = [*again]
            await steps.decided(
                "goal",
                "reached" if verdict.reached else "given up" if done else "another round",
                because=verdict.because,
                detail={"round": number, "again": [] if done else names},
            )
            if done:
                if not verdict.reached:
                    gathering.notices[f"the goal was not reached: {verdict.because}"] = None
                elif not verdict.checked:
                    gathering.notices[verdict.because] = None
                return found
            asks = [self._ask(shares[name], why, gathering.results[name]) for name, why in again.items()]
            number += 1

    def _ask(self, share: Share, why: Again | None = None, before: StepResult | None = None) -> Ask:
        form = f"Report in exactly this form:\n{self._template.text}" if self._template else ""
        node = Node(
            target=share.target,
            input=share.input,
            whole=False,
            tells=not share.input,
            note="\n".join(filter(None, (form, why.note if why else ""))),
        )
        if why is not None and before is not None:
            node = replace(node, labels=why.labels, again=before.id)
        return Ask(name=share.name, node=node)

    def _read(self, result: StepResult) -> StepResult:
        """The answer, read by the template where there is one."""
        return result if self._template is None or not result.ok else _as_report(result, self._template)

    def _merged(self, shares: Mapping[str, Share], gathering: Gathering) -> Merged:
        said = [Said(who=name, worker=shares[name].worker, value=each.answer) for name, each in gathering.good.items()]
        return merged(said, self._merging)

    async def _judged(self, role: Role, found: Found, steps: Steps) -> GoalVerdict:
        gathering = found.gathering
        if role.rule:
            return judged_by_rule(role.rule, role.options, found.merged, gathering.gaps, gathering.results)
        said = await answered(_role_node(role, {**brief(found), "round": found.rounds}, found), steps)
        return judged_by_checker(said, found.shares)

    async def _reconciled(self, found: Found, steps: Steps) -> Found:
        """With the reconciler's one result in place of the rule's, where there is one and it answered."""
        role = self._reconciler
        if role is None or role.rule:
            return found
        said = await answered(replace(_role_node(role, brief(found), found), given=found.gathering.good), steps)
        if not said.ok:
            found.gathering.notices[f"merged by the rule {self._merging.rule}, as the reconciler failed"] = None
            return found
        because = f"{slug_of(role.target)} made one result of {len(found.gathering.good)}"
        await steps.decided("reconciled", slug_of(role.target), because=because, detail=conflicts_told(found))
        return replace(found, merged=replace(found.merged, value=said.answer), reconciled=True, text=said.text)

    async def _worded(self, found: Found, steps: Steps) -> str:
        """The synthesiser's words, else the reconciler's, else the rule's."""
        if self._synthesiser is not None:
            node = _role_node(self._synthesiser, brief(found), found)
            words = words_of(await steps.call(replace(node, given=found.gathering.good, last=True)))
            if words:
                return words
            found.gathering.notices["worded by rule, as the synthesiser failed"] = None
        return found.text or worded_by_rule(found, self._template)

    def _outcome(self, found: Found, text: str) -> Outcome:
        conflicts: list[Json] = [each.to_json() for each in found.merged.conflicts]
        return Outcome(
            text=text,
            value={"merged": found.merged.value, "conflicts": conflicts},
            gaps=found.gathering.gaps,
            notices=found.gathering.said,
            why={
                "merge": slug_of(self._reconciler.target)
                if found.reconciled and self._reconciler
                else self._merging.rule,
                "rounds": found.rounds,
                "answered": [*found.gathering.good],
            },
        )


def _as_report(result: StepResult, template: Template) -> StepResult:
    if sections_in(result.value):
        # Already data, as an agent may well answer: held to the form all the same.
        text = report_text(sections_in(result.value), template)
    else:
        text = result.value if isinstance(result.value, str) else result.text
    try:
        return replace(result, value=report_from(text, template))
    except InvalidRequest as error:
        return replace(
            result, ok=False, value=None, error="schema", reason=f"its report breaks the form: {error.message}"
        )


def _role_node(role: Role, given: JsonObject, found: Found) -> Node:
    """The step that asks a role about what came together, with the labels of all of it."""
    labels = join_all(each.labels for each in found.gathering.results.values())
    return replace(role.node(given), labels=labels)
