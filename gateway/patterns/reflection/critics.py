"""Work weighed by a critic and checked by a goal checker, each an agent or rules. Asks for steps only."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject
from gateway.core.ports.orchestration import Gap, StepResult
from gateway.patterns.shared.critique import Critique, by_rules, critique_in
from gateway.patterns.shared.goals import GoalVerdict, judged_by_checker
from gateway.patterns.shared.nested import its_answer
from gateway.patterns.shared.roles import Role
from gateway.patterns.shared.verify import Check, verified
from gateway.patterns.shared.work import Work, called, decided


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a critic, and ground truth, say of a piece of work."""

    result: StepResult
    """Without what was looked up in vain and is to be left out; failed where it must not stand."""
    critique: Critique | None
    """None where nobody could judge it."""
    said_by: StepResult | None = None
    """The critic's own answer; None where rules said it all."""
    plain: tuple[str, ...] = ()
    """Findings of rules and lookups, which are nobody's words."""
    gaps: tuple[Gap, ...] = ()
    reason: str = ""
    """Why nobody could judge it."""


def judged(
    critic: Role, checks: tuple[Check, ...], result: StepResult, *, rubric: Mapping[str, float], threshold: float
) -> Work[Judged]:
    """The work, weighed; each check that does not come true takes its part of the score."""
    looked_up = yield from verified(checks, "draft", result)
    said = yield from _weighed(critic, result, rubric, threshold)
    if said.critique is None:
        return replace(said, result=looked_up.result, gaps=looked_up.gaps)
    broken = [gap.reason for gap in looked_up.gaps]
    score = said.critique.score * (1 - len(broken) / max(1, len(checks)))
    if not looked_up.result.ok:
        broken, score = [*broken, looked_up.result.reason], 0.0
    critique = replace(said.critique, score=round(score, 4), findings=(*said.critique.findings, *broken))
    return replace(said, result=looked_up.result, critique=critique, plain=(*said.plain, *broken), gaps=looked_up.gaps)


def goal_checked(checker: Role, result: StepResult) -> Work[tuple[GoalVerdict, StepResult | None]]:
    """Whether the goal is reached, and the checker's own answer; by rules only where each of them is kept."""
    if checker.rule:
        critique = by_rules(result, checker.options, {})
        reached = critique.score >= 1
        return GoalVerdict(reached=reached, because="; ".join(critique.findings) or "every rule is kept"), None
    said = its_answer((yield from called(replace(checker.node({}), given={"draft": result}))))
    return judged_by_checker(said, ()), said if said.ok else None


def _weighed(critic: Role, result: StepResult, rubric: Mapping[str, float], threshold: float) -> Work[Judged]:
    if critic.rule:
        critique = by_rules(result, critic.options, rubric)
        return Judged(result=result, critique=critique, plain=critique.findings)
    asked: JsonObject = {"threshold": threshold}
    if rubric:
        asked["rubric"] = dict(rubric)
    node, reason = replace(critic.node(asked), given={"draft": result}), ""
    for again in (True, False):
        said = its_answer((yield from called(node)))
        critique, reason = _read(said, rubric)
        if critique is not None:
            return Judged(result=result, critique=critique, said_by=said)
        if not again or not said.attempts:
            break
        yield from decided("retry", critic.name, because=reason)
        node = replace(node, again=said.id, note=f"Your last answer could not be used: {reason}.")
    return Judged(result=result, critique=None, reason=reason)


def _read(said: StepResult, rubric: Mapping[str, float]) -> tuple[Critique | None, str]:
    """What the critic said, or why that is of no use."""
    if not said.ok:
        return None, said.because
    try:
        return critique_in(said, rubric), ""
    except InvalidRequest as error:
        return None, error.message
