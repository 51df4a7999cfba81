"""A plan worked off in rounds: once, and again where a step failed and another attempt may help."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gateway.core.json import Json, JsonObject, json_object
from gateway.core.labels import CLEAN, Labels
from gateway.core.model import Phase
from gateway.core.ports.orchestration import Gap, Node, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.planned.plan import PlanStep, followers
from gateway.patterns.planned.undoing import PlanEffects
from gateway.patterns.shared.failures import WANTING, another_way
from gateway.patterns.shared.nested import notices_in
from gateway.patterns.shared.references import filled, resolved, without_nothing
from gateway.patterns.shared.settings import StandIn, slug_of
from gateway.patterns.shared.views import known_of, task_view

REASONS_CHARS = 600
"""What is kept of the reasons for another round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a plan is worked off."""

    concurrency: int
    max_rounds: int
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict[str, StandIn])
    """Capability name -> who takes over after a failure."""
    task: Task | None = None
    """The original one, of which steps are told as much as they may see."""


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
    notes: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why it is asked again, by the plan's id."""
    parts: Mapping[str, str] = field(default_factory=dict[str, str])
    """Under which name its result is shown as soon as it is there, by the plan's id."""
    effects: PlanEffects | None = None
    """Where what it brings about is kept; None where it is only proposed."""


async def worked_off(
    plan: Mapping[str, PlanStep], wanted: Iterable[str], attempt: Attempt, steps: Steps, ways: Ways
) -> dict[str, StepResult]:
    """Results of the wanted steps, after as many rounds as it took or as are allowed."""
    wanted = [step_id for step_id in plan if step_id in set(wanted)]
    results = await _done(plan, wanted, attempt, steps, ways)
    for number in range(2, ways.max_rounds + 1):
        wanting = {step_id for step_id, result in results.items() if result.error in WANTING}
        if not wanting:
            break
        # What was skipped for want of a failed step gets its turn when that one succeeds now.
        lost = {each for each in followers(plan, wanting) & results.keys() if results[each].error == "skipped"}
        todo = [step_id for step_id in wanted if step_id in wanting | lost]
        taken_over = _taken_over(plan, wanting, results, ways)
        await _told(number, todo, results, taken_over, steps)
        undone = await _taken_back(taken_over, wanting, results, attempt, steps)
        # In the words of whoever failed, perhaps; a tool is told nothing.
        told = {each: results[each] for each in wanting if not taken_over[each].target.startswith("tool:")}
        latest = replace(
            attempt,
            earlier={**attempt.earlier, **results},
            # What was undone is done over as something new.
            again={**attempt.again, **{each: "" if each in undone else results[each].id for each in todo}},
            notes={step_id: another_way(results[step_id]) for step_id in told},
            extra_labels={
                each: attempt.extra_labels.get(each, CLEAN).join(told[each].labels if each in told else CLEAN)
                for each in todo
            },
        )
        results |= await _done(taken_over, todo, latest, steps, ways)
    return results


def gap_of(step: PlanStep, result: StepResult) -> Gap:
    return Gap(step=step.id, target=step.target, error=result.error, reason=result.reason)


def notices_of(
    plan: Mapping[str, PlanStep], results: Mapping[str, StepResult], stand_ins: Mapping[str, StandIn]
) -> tuple[str, ...]:
    """Who stood in for whom, as far as it counts, and what nested workflows say of their answers."""
    said = [notice for result in results.values() if result.ok for notice in notices_in(result)]
    for step_id, result in results.items():
        planned = plan[step_id].target if step_id in plan else result.target
        if not result.ok or result.target == planned:
            continue
        stand_in = stand_ins.get(planned)
        if stand_in is not None and stand_in.target == result.target:
            said.append(stand_in.notice)
        else:
            said.append(f"{slug_of(result.target)} stood in for {slug_of(planned)}")
    return tuple(dict.fromkeys(said))


def nodes_of(plan: Mapping[str, PlanStep], wanted: list[str], attempt: Attempt, ways: Ways) -> dict[str, Node]:
    """The wanted steps as a task graph; what they need of the others is handed over."""
    known = known_of(ways.task)
    nodes: dict[str, Node] = {}
    for step_id in wanted:
        step = plan[step_id]
        given = {each: attempt.earlier[each] for each in step.after if each not in wanted and each in attempt.earlier}
        own = without_nothing(json_object(resolved(step.input, known))) if step.refers else step.input
        nodes[step_id] = Node(
            target=step.target,
            input={**own, **attempt.extra.get(step_id, {})},
            labels=step.labels.join(attempt.extra_labels.get(step_id, CLEAN)),
            tells=step.tells,
            after=tuple(each for each in step.after if each in wanted),
            given=given,
            handing=step.handing,
            timeout_s=step.timeout_s,
            phase=attempt.phase,
            task=None if ways.task is None else task_view(step.sight, ways.task),
            reads=step.reads,
            # What is looked up first is written when it stands.
            publishes=attempt.publishes and not step.verify,
            output_schema=step.output_schema,
            optional=step.optional,
            note=attempt.notes.get(step_id, ""),
            part=attempt.parts.get(step_id, ""),
            claims=tuple(filled(each, known) for each in step.claims),
            again=attempt.again.get(step_id, ""),
        )
    return nodes


async def _done(
    plan: Mapping[str, PlanStep], wanted: list[str], attempt: Attempt, steps: Steps, ways: Ways
) -> dict[str, StepResult]:
    results = dict(await steps.graph(nodes_of(plan, wanted, attempt, ways), limit=ways.concurrency))
    if attempt.effects is not None:
        attempt.effects.note_all(plan, results, results, {**attempt.earlier, **results})
    return results


async def _taken_back(
    plan: Mapping[str, PlanStep],
    wanting: set[str],
    results: Mapping[str, StepResult],
    attempt: Attempt,
    steps: Steps,
) -> frozenset[str]:
    """Have undone what was brought about by those from whom others take over; the steps of which something was."""
    if attempt.effects is None:
        return frozenset()
    others = {each for each in wanting if plan[each].target != results[each].target}
    return await attempt.effects.take_back(others, results.values(), steps, because="another takes over")


async def _told(
    number: int,
    todo: list[str],
    results: Mapping[str, StepResult],
    plan: Mapping[str, PlanStep],
    steps: Steps,
) -> None:
    """Keep what is done once more, why, and by whom where that is somebody else."""
    reasons = "; ".join(f"{each} ({results[each].because})" for each in todo)
    others: JsonObject = {
        each: slug_of(plan[each].target) for each in todo if plan[each].target != results[each].target
    }
    detail: JsonObject = {"round": number, **({"stand_ins": others} if others else {})}
    await steps.decided("retry", [*todo], because=f"not done: {reasons}"[:REASONS_CHARS], detail=detail)


def _taken_over(
    plan: Mapping[str, PlanStep], wanting: set[str], results: Mapping[str, StepResult], ways: Ways
) -> dict[str, PlanStep]:
    """The plan with failed steps given to whoever takes over."""
    changed = dict(plan)
    for step_id in wanting:
        stand_in = ways.stand_ins.get(results[step_id].target)
        target = plan[step_id].target if stand_in is None else stand_in.target
        changed[step_id] = replace(plan[step_id], target=target)
    return changed
