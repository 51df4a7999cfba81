"""A plan worked off in rounds: once, and again where the review finds a step wanting and another attempt may help."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gateway.core.json import Json
from gateway.core.labels import CLEAN, Labels
from gateway.core.model import Phase
from gateway.core.ports.orchestration import Gap, Node, StepError, StepResult, Steps
from gateway.patterns.plan import PlanStep, followers

WANTING: frozenset[StepError] = frozenset({"failed", "timeout", "unavailable", "schema"})
"""Failures after which the review has the step done again, as the same step, so that no effect is repeated. The others
would only fail again; a conflict means that the work was done on something outdated, which is what proposing is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a plan is worked off."""

    concurrency: int
    max_rounds: int
    fallback: Mapping[str, str] = field(default_factory=dict[str, str])
    """Capability name -> who takes over after a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What is to be done in one round, and what it can build on."""

    phase: Phase
    publishes: bool
    earlier: Mapping[str, StepResult] = field(default_factory=dict[str, StepResult])
    """Results so far, by step id; steps that are not in this round take theirs from here."""
    extra: Mapping[str, Mapping[str, Json]] = field(default_factory=dict[str, Mapping[str, Json]])
    """Additional input, by step id."""
    extra_labels: Mapping[str, Labels] = field(default_factory=dict[str, Labels])
    again: Mapping[str, str] = field(default_factory=dict[str, str])
    """Id of the step to be tried again, by the plan's id."""


async def worked_off(
    plan: Mapping[str, PlanStep], wanted: Iterable[str], attempt: Attempt, steps: Steps, ways: Ways
) -> dict[str, StepResult]:
    """Results of the wanted steps, after as many rounds as it took or as are allowed."""
    wanted = [step_id for step_id in plan if step_id in set(wanted)]
    results = dict(await steps.graph(_nodes(plan, wanted, attempt), limit=ways.concurrency))
    for number in range(2, ways.max_rounds + 1):
        wanting = {step_id for step_id, result in results.items() if result.error in WANTING}
        if not wanting:
            break
        # What was skipped for want of a failed step gets its turn when that one succeeds now.
        lost = {each for each in followers(plan, wanting) & results.keys() if results[each].error == "skipped"}
        todo = [step_id for step_id in wanted if step_id in wanting | lost]
        await steps.emit("round", {"round": number, "steps": [*todo]}, text=f"round {number}: {', '.join(todo)}")
        taken_over = _taken_over(plan, wanting, results, ways)
        latest = replace(
            attempt,
            earlier={**attempt.earlier, **results},
            again={**attempt.again, **{step_id: results[step_id].id for step_id in todo}},
        )
        results |= await steps.graph(_nodes(taken_over, todo, latest), limit=ways.concurrency)
    return results


def gap_of(step: PlanStep, result: StepResult) -> Gap:
    return Gap(step=step.id, target=step.target, error=result.error, reason=result.reason)


def _nodes(plan: Mapping[str, PlanStep], wanted: list[str], attempt: Attempt) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for step_id in wanted:
        step = plan[step_id]
        given = {each: attempt.earlier[each] for each in step.after if each not in wanted and each in attempt.earlier}
        nodes[step_id] = Node(
            target=step.target,
            input={**step.input, **attempt.extra.get(step_id, {})},
            labels=step.labels.join(attempt.extra_labels.get(step_id, CLEAN)),
            after=tuple(each for each in step.after if each in wanted),
            given=given,
            timeout_s=step.timeout_s,
            phase=attempt.phase,
            reads=step.reads,
            publishes=attempt.publishes,
            output_schema=step.output_schema,
            optional=step.optional,
            again=attempt.again.get(step_id, ""),
        )
    return nodes


def _taken_over(
    plan: Mapping[str, PlanStep], wanting: set[str], results: Mapping[str, StepResult], ways: Ways
) -> dict[str, PlanStep]:
    """The plan with failed steps given to whoever takes over."""
    changed = dict(plan)
    for step_id in wanting:
        target = ways.fallback.get(results[step_id].target, plan[step_id].target)
        changed[step_id] = replace(plan[step_id], target=target)
    return changed
