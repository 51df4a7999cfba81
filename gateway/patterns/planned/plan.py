"""A plan: which steps, of whom, after which others. Checked before anything of it is done. Pure."""

import graphlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.labels import CLEAN, Labels
from gateway.core.ports.orchestration import Handing
from gateway.patterns.shared.references import TASK, named_in, renamed
from gateway.patterns.shared.settings import contract, seconds, target_in, texts
from gateway.patterns.shared.spoken import object_said
from gateway.patterns.shared.verify import Check, checks_in
from gateway.patterns.shared.views import Sight, handing_in, sight_in

_CLAIMS_AT_MOST = 8
_CLAIM_CHARS = 200
# Expressions that backtrack, and references that multiply.
_COSTLY = frozenset({"pattern", "patternProperties", "$ref", "$dynamicRef", "$recursiveRef"})
_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """One step of a plan."""

    id: str
    target: str
    input: JsonObject
    labels: Labels = CLEAN
    """Of the input: whoever planned wrote it."""
    after: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    output_schema: "JsonObject | None" = None
    timeout_s: float | None = None
    optional: bool = False
    claims: tuple[str, ...] = ()
    """Outside resources, `account:$task.account`."""
    sight: Sight = field(default_factory=Sight)
    """What its worker is told of the original task."""
    handing: Handing = "asked"
    """How long results of the steps before it are handed to it."""
    verify: tuple[Check, ...] = ()
    undo: tuple[str, JsonObject] | None = None
    """What to call, with which input, should the run fail after it, or go on without it."""
    tells: bool = False
    """A tool is told of the task beside its input: nobody chose arguments for it."""
    refers: bool = False
    """Its input may refer to the task's data, `$task.order`: only where the workflow itself says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRules:
    """What a plan may be."""

    targets: frozenset[str]
    """Capability names work may be given to."""
    max_steps: int
    executor: str = ""
    """Who takes a step that names nobody; empty: every step has to."""
    done: frozenset[str] = frozenset()
    """Ids of steps of an earlier plan that are done: others may come after them, none may be called the same."""
    own: bool = False
    """The plan is the workflow's own. Whoever else plans has no tools to give away to look answers up with, shows
    nobody more of the task than the workflow does, and writes no contracts that take forever to check."""
    sight: Sight = field(default_factory=Sight)
    """What workers are told of the original task, where a step does not say."""
    handing: Handing = "asked"
    """How long results are handed to them, where a step does not say."""
    claims: tuple[str, ...] = ()
    """What a planner may have its steps claim: `account:$task.account`, or `account:*` for all that begin so."""


def plan_from(value: Json, rules: PlanRules, labels: Labels = CLEAN) -> dict[str, PlanStep]:
    """The plan in a planner's answer, `{"steps": [...]}`, by step id.

    Raises: InvalidRequest: it cannot be run; the message tells a planner what to mend.
    """
    entries = json_list(object_said(value).get("steps"))
    if not entries:
        raise InvalidRequest('there are no steps: answer {"steps": [{"id", "agent", "input", "after", "reads"}]}')
    if len(entries) > rules.max_steps:
        raise InvalidRequest(f"there are {len(entries)} steps, and at most {rules.max_steps} are allowed")
    plan: dict[str, PlanStep] = {}
    for entry in entries:
        step = _step(json_object(entry), rules, labels)
        if step.id in plan or step.id in rules.done:
            raise InvalidRequest(f"two steps have the id {step.id}")
        plan[step.id] = step
    _refuse_disorder(plan, rules.done)
    for step in plan.values():
        _refuse_unknown_undo(step, plan, own=rules.own)
    return plan


def same_work(step: PlanStep, others: Mapping[str, PlanStep]) -> str:
    """Id of the one of the others that is the same work: of the same target, with the same input; empty for none.
    Steps that are told nothing of their own are told apart by their names."""
    alike = [each.id for each in others.values() if (each.target, each.input) == (step.target, step.input)]
    return step.id if step.id in alike else alike[0] if alike and step.input else ""


def done_already(anew: Mapping[str, PlanStep], done: Mapping[str, PlanStep]) -> dict[str, str]:
    """Steps of a new plan that are work an earlier plan has done, on the same results: by id, that step's id."""
    found: dict[str, str] = {}
    for step in anew.values():
        alike = {each.id: each for each in done.values() if set(each.after) == {found.get(a, a) for a in step.after}}
        if same := same_work(step, alike):
            found[step.id] = same
    return found


def repeats_in(plan: Mapping[str, PlanStep]) -> dict[str, str]:
    """Steps that are the same work as another of the plan, on the same results and the same keys: by id, the other's.
    What comes after one of them may come after the other."""
    found: dict[str, str] = {}
    kept: dict[str, PlanStep] = {}
    for step_id in graphlib.TopologicalSorter({step.id: step.after for step in plan.values()}).static_order():
        if step_id not in plan:
            continue
        step = plan[step_id]
        alike = {
            each.id: each
            for each in kept.values()
            if {found.get(a, a) for a in each.after} == {found.get(a, a) for a in step.after}
            and (each.reads, each.claims, each.output_schema) == (step.reads, step.claims, step.output_schema)
        }
        if same := same_work(step, alike):
            found[step_id] = same
        else:
            kept[step_id] = step
    return found


def without_repeats(plan: Mapping[str, PlanStep], repeats: Mapping[str, str]) -> dict[str, PlanStep]:
    """The plan with each piece of work in it once."""
    return {
        each: replace(
            step,
            after=tuple(dict.fromkeys(repeats.get(a, a) for a in step.after)),
            undo=None if step.undo is None else (step.undo[0], json_object(renamed(step.undo[1], repeats))),
        )
        for each, step in plan.items()
        if each not in repeats
    }


def followers(plan: Mapping[str, PlanStep], roots: set[str]) -> set[str]:
    """`roots` and everything that comes after any of them."""
    found = set(roots)
    grown = True
    while grown:
        more = {step.id for step in plan.values() if step.id not in found and found.intersection(step.after)}
        found |= more
        grown = bool(more)
    return found


def ancestors(plan: Mapping[str, PlanStep], step_id: str) -> set[str]:
    """Everything the step comes after, however far."""
    found: set[str] = set()
    todo = [*plan[step_id].after]
    while todo:
        each = todo.pop()
        if each not in found and each in plan:
            found.add(each)
            todo += plan[each].after
    return found


def longest_s(plan: Mapping[str, PlanStep]) -> float:
    """Seconds the slowest chain of steps may take, as far as their own timeouts say."""
    ends: dict[str, float] = {}
    for step_id in graphlib.TopologicalSorter({step.id: step.after for step in plan.values()}).static_order():
        step = plan[step_id]
        ends[step_id] = max((ends[each] for each in step.after), default=0.0) + (step.timeout_s or 0.0)
    return max(ends.values(), default=0.0)


def _step(entry: JsonObject, rules: PlanRules, labels: Labels) -> PlanStep:
    step_id = json_text(entry.get("id"))
    if not _ID.fullmatch(step_id):
        raise InvalidRequest(f"{step_id!r} is no id: letters, digits, _ and -, at most 40")
    named = any(entry.get(kind) for kind in ("agent", "tool", "workflow"))
    target = rules.executor if rules.executor and not named else _meant(target_in(entry), rules)
    if target not in rules.targets and target != rules.executor:
        known = ", ".join(sorted(rules.targets))
        raise InvalidRequest(f"step {step_id} wants {target}, and there is only {known}")
    given = entry.get("input", entry.get("instruction"))
    if rules.own and (unknown := [name for name in named_in(given) if name != TASK]):
        raise InvalidRequest(
            f"step {step_id} refers to ${unknown[0]}, and may to $task alone: what it comes `after` is handed to it"
        )
    return PlanStep(
        id=step_id,
        target=target,
        input=given if isinstance(given, dict) else {} if given is None else {"instruction": given},
        labels=labels,
        after=texts(entry.get("after")),
        reads=texts(entry.get("reads")),
        output_schema=_output_schema(step_id, entry, rules),
        timeout_s=seconds(entry.get("timeout_s")),
        optional=entry.get("optional") is True,
        claims=_claims(step_id, entry, rules),
        sight=sight_in(entry) if entry.get("task") and (rules.own or not rules.sight.task) else rules.sight,
        handing=handing_in(entry, rules.handing),
        verify=checks_in(entry) if rules.own else (),
        undo=_undo(step_id, json_object(entry.get("undo")), rules),
        refers=rules.own,
    )


def _meant(target: str, rules: PlanRules) -> str:
    """Which worker whoever plans means. Names are one namespace, so that `agent: press` is the workflow of that name;
    and planners are told of workers as `workflow:press`, and say so."""
    if rules.own or target in rules.targets:
        return target
    name = target.partition(":")[2]
    meant = [each for each in rules.targets if name in (each, each.partition(":")[2])]
    return meant[0] if len(meant) == 1 else target


def _undo(step_id: str, entry: JsonObject, rules: PlanRules) -> tuple[str, JsonObject] | None:
    """Raises: InvalidRequest: whoever plans would have it undone by somebody there is not."""
    if not entry:
        return None
    target = _meant(target_in(entry), rules)
    if not rules.own and target not in rules.targets:
        raise InvalidRequest(
            f"{target} is to undo step {step_id}, and there is only {', '.join(sorted(rules.targets))}"
        )
    return target, json_object(entry.get("input"))


def _refuse_unknown_undo(step: PlanStep, plan: Mapping[str, PlanStep], *, own: bool) -> None:
    """Raises: InvalidRequest: what undoes the step would be told what its doer was not."""
    if step.undo is None:
        return
    known = {step.id, *step.after, *({TASK, *ancestors(plan, step.id)} if own else ())}
    unknown = [each for each in named_in(step.undo[1]) if each not in known]
    if unknown:
        told = ", ".join(f"${each}" for each in sorted(known))
        raise InvalidRequest(f"what undoes step {step.id} is given ${unknown[0]}, and may be given {told}")


def _claims(step_id: str, entry: JsonObject, rules: PlanRules) -> tuple[str, ...]:
    """Raises: InvalidRequest: somebody who may not plans to keep others from something."""
    claims = texts(entry.get("claims"))
    if rules.own:
        return claims[:_CLAIMS_AT_MOST]
    if len(claims) > _CLAIMS_AT_MOST:
        raise InvalidRequest(f"step {step_id} claims {len(claims)} resources, and may at most {_CLAIMS_AT_MOST}")
    unknown = [each for each in claims if not any(_is_one(each, allowed) for allowed in rules.claims)]
    if unknown:
        known = f"only {', '.join(rules.claims)}" if rules.claims else "nothing: leave `claims` out"
        raise InvalidRequest(f"step {step_id} claims {unknown[0][:_CLAIM_CHARS]}, and may claim {known}")
    return claims


def _is_one(claim: str, allowed: str) -> bool:
    if len(claim) > _CLAIM_CHARS:
        return False
    return claim.startswith(allowed[:-1]) if allowed.endswith("*") else claim == allowed


def _output_schema(step_id: str, entry: JsonObject, rules: PlanRules) -> "JsonObject | None":
    schema = contract(entry.get("output_schema"))
    if schema is None or rules.own:
        return schema
    costly = sorted(_COSTLY & {*_members_of(schema)})
    if costly:
        raise InvalidRequest(f"the output_schema of step {step_id} has {', '.join(costly)}: plans do without")
    return schema


def _members_of(value: Json) -> Iterator[str]:
    """Names of every member there is in it, however deep."""
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            yield from each
            todo += each.values()
        elif isinstance(each, list):
            todo += each


def _refuse_disorder(plan: Mapping[str, PlanStep], done: frozenset[str]) -> None:
    for step in plan.values():
        unknown = [each for each in step.after if each not in plan and each not in done]
        if unknown:
            raise InvalidRequest(f"step {step.id} comes after {', '.join(unknown)}, which is not in the plan")
    try:
        graphlib.TopologicalSorter({step.id: step.after for step in plan.values()}).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1]
        raise InvalidRequest(f"the steps wait for each other: {' -> '.join(circle)}") from error
