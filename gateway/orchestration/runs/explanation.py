"""What happened in a run, as answers to the questions asked of it: who, in what order, given what, how long, at what
price, where it went wrong, and why it was decided so. Pure; made from what is kept of the run.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.limits import Usage
from gateway.core.ports.runs import Run, RunEvent, RunStep
from gateway.core.task import TaskState
from gateway.orchestration.records.orders import target_name
from gateway.orchestration.runs.ordering import begun
from gateway.orchestration.runs.seen import RunTree, StepTree

Events = Mapping[str, Sequence[RunEvent]]
"""By run id."""

_Ends = Mapping[str, Sequence[JsonObject]]
"""What was told of the ends of a step's attempts, in their order, by its id."""

FINE = frozenset({"ok", "running"})
CONSEQUENCES = frozenset({"skipped", "canceled"})
"""What becomes of a step because of another one."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """One attempt, and where in the tree it stands."""

    step: RunStep
    depth: int
    last: bool
    """Whether no later attempt at the step followed."""
    nested: str
    """The run it was, if it was one."""
    place: tuple[int, ...]
    """Among those that began in the same moment: its own in its run, behind that of the step which is that run."""


def explained(tree: RunTree, events: Events) -> JsonObject:
    """`run`, `steps` in the order in which they began (attempts one by one, nested ones too), `agents` in the order in
    which they were first called, `failure` (null where nothing failed for good), `decisions`, `waits` (what is asked
    now, and of whom), `totals`."""
    run = tree.run
    placed = sorted(_attempts(tree, events, ()), key=_begun)
    ends = _ends(event for inner in runs_in(tree) for event in events.get(inner.run.id, ()))
    steps: list[Json] = [
        _step_view(number, each, run.created_at_us, ends) for number, each in enumerate(placed, start=1)
    ]
    return {
        "run": {
            "id": run.id,
            "workflow": run.workflow,
            "pattern": json_text(run.spec.get("pattern")),
            "state": run.state,
            "owner": run.owner,
            "error": run.error,
            "tookUs": max(0, run.updated_at_us - run.created_at_us),
            "labels": json_object(json_object(run.output).get("labels")),
        },
        "agents": [*dict.fromkeys(each.step.target for each in placed)],
        "steps": steps,
        "failure": _named(_failure(tree), ends),
        "decisions": [*_decisions(tree, events, run.created_at_us)],
        "waits": [*_waits(tree, events)],
        "totals": {**_usage_view(run.usage), "steps": len({each.step.id for each in placed}), "attempts": len(placed)},
    }


def _begun(placed: _Placed) -> tuple[bool, int, tuple[int, ...]]:
    """What never began comes last."""
    step = placed.step
    return not step.started_at_us, step.started_at_us, placed.place


def runs_in(tree: RunTree) -> Iterator[RunTree]:
    """The run, and every run nested in it."""
    yield tree
    for step in tree.steps:
        for inner in step.runs.values():
            yield from runs_in(inner)


def _attempts(tree: RunTree, events: Events, within: tuple[int, ...]) -> Iterator[_Placed]:
    steps = {step.id: step for step in tree.steps}
    attempts = begun((each for step in tree.steps for each in step.attempts), events.get(tree.run.id, ()))
    for number, attempt in enumerate(attempts):
        step, place = steps[attempt.id], (*within, number)
        inner = step.runs.get(attempt.attempt)
        yield _Placed(attempt, len(within), attempt is step.attempts[-1], "" if inner is None else inner.run.id, place)
        if inner is not None:
            yield from _attempts(inner, events, place)


def _ends(events: Iterable[RunEvent]) -> _Ends:
    ends: dict[str, list[JsonObject]] = {}
    for detail in (json_object(each.body.get("detail")) for each in events):
        if "name" in detail and "event" not in detail:
            ends.setdefault(json_text(detail.get("step")), []).append(detail)
    return ends


def _handed(step: RunStep, ends: _Ends) -> Json:
    """See `handed.handed`. Of tries that were one attempt to their pattern only the end was told."""
    told = [end for end in ends.get(step.id, ()) if _whole(end.get("attempt")) >= step.attempt]
    return told[0].get("handed") if told else None


def _name(step_id: str, target: str, ends: _Ends) -> JsonObject:
    """The step's name where its target does not say it; that of one under way stands in its id, if it was drawn with
    others."""
    last = step_id.rpartition("/")[2]
    known = ends.get(step_id, ())
    name = json_text(known[-1].get("name")) if known else ("" if last.isdigit() else last)
    local = target.partition(":")[2]
    return {} if name in ("", target_name(target), local, local.replace("/", "-")) else {"name": name}


def _named(failure: "JsonObject | None", ends: _Ends) -> "JsonObject | None":
    if failure is None:
        return None
    return {**failure, **_name(json_text(failure.get("step")), json_text(failure.get("target")), ends)}


def _step_view(number: int, placed: _Placed, began_at_us: int, ends: _Ends) -> JsonObject:
    step = placed.step
    shown: JsonObject = {
        "number": number,
        "step": step.id,
        "target": step.target,
        "state": step.state,
        "attempt": step.attempt,
        "depth": placed.depth,
        "startedUs": max(0, step.started_at_us - began_at_us),
        "tookUs": step.duration_us,
        "received": step.input,
        "answered": step.value,
        "summary": step.summary,
        "reason": step.reason,
        "labels": step.labels.to_json(),
        "usage": _usage_view(step.usage),
        "record": step.record_id,
    }
    if step.phase:
        shown["phase"] = step.phase
    shown |= _name(step.id, step.target, ends)
    if handed := _handed(step, ends):
        shown["handed"] = handed
    if placed.nested:
        shown["run"] = placed.nested
    if not placed.last:
        shown["triedAgain"] = True
    return shown


def _usage_view(usage: Usage) -> JsonObject:
    return {"calls": usage.calls, "tokens": usage.tokens, "costUsd": f"{usage.cost_usd:f}"}


def _failure(tree: RunTree) -> "JsonObject | None":
    """Where it began: the first step, the innermost one, that failed for good and not because of another; of a run that
    was canceled, that."""
    if tree.run.state == TaskState.CANCELED.value:
        # What failed before it did not end the run, and what failed later only undid it.
        stopped: list[Json] = [step.id for step in tree.steps if step.attempts[-1].state in CONSEQUENCES]
        return {**_of_run(tree.run, "canceled"), "consequences": stopped}
    failed = [step for step in tree.steps if _failed(step)]
    first = min(failed, key=lambda step: step.attempts[-1].started_at_us + step.attempts[-1].duration_us, default=None)
    first = _dropped(tree) if first is None else first
    if first is None:
        if not tree.run.error:
            return None
        return _of_run(tree.run, "failed")
    if first.nested is not None and (inner := _failure(first.nested)) is not None:
        return {**inner, "within": [first.id, *_texts(inner.get("within"))]}
    last = first.attempts[-1]
    lacking = _gaps(tree).get(first.target, {})
    later: list[Json] = [each.id for each in tree.steps if each.attempts[-1].state in CONSEQUENCES and each != first]
    return {
        "step": first.id,
        "target": first.target,
        "error": lacking.get("error", last.state) if last.state in CONSEQUENCES else last.state,
        "reason": last.reason,
        "attempts": len(first.attempts),
        "record": last.record_id,
        "consequences": later,
    }


def _of_run(run: Run, error: str) -> JsonObject:
    return {"step": "", "target": f"workflow:{run.workflow}", "error": error, "reason": run.error}


def _dropped(tree: RunTree) -> StepTree | None:
    """The first step that was stopped because its time was up, and that the answer therefore lacks."""
    late = {target for target, gap in _gaps(tree).items() if gap.get("error") not in CONSEQUENCES}
    return next((step for step in tree.steps if step.target in late and not _is_fine(step)), None)


def _gaps(tree: RunTree) -> dict[str, JsonObject]:
    """What the run says that its answer lacks, by target."""
    said = json_object(json_object(json_object(tree.run.output).get("content")).get("structured"))
    gaps = map(json_object, json_list(said.get("gaps")))
    return {json_text(gap.get("target")): gap for gap in gaps}


def _is_fine(step: StepTree) -> bool:
    return step.attempts[-1].state in FINE


def _failed(step: StepTree) -> bool:
    return step.attempts[-1].state not in FINE | CONSEQUENCES


def _decisions(tree: RunTree, events: Events, began_at_us: int) -> Iterator[JsonObject]:
    for inner in runs_in(tree):
        for event in events.get(inner.run.id, ()):
            detail = json_object(event.body.get("detail"))
            if detail.get("event") != "decided":
                continue
            rest = {name: each for name, each in detail.items() if name not in ("event", "what", "chosen", "because")}
            shown: JsonObject = {
                "atUs": max(0, event.at_us - began_at_us),
                "what": detail.get("what"),
                "chosen": detail.get("chosen"),
                "because": detail.get("because"),
            }
            if rest:
                shown["detail"] = rest
            if inner is not tree:
                shown["run"] = inner.run.id
            yield shown


def _waits(tree: RunTree, events: Events) -> Iterator[JsonObject]:
    """Questions without an answer: what the outermost run asks its caller, and what any asks people with a role."""
    asking = TaskState.INPUT_REQUIRED.value
    if tree.run.state == asking:
        asked = [each for each in events.get(tree.run.id, ()) if each.body.get("state") == asking]
        yield from ({"for": tree.run.owner, "question": each.body.get("text")} for each in asked[-1:])
    for inner in runs_in(tree):
        if not TaskState(inner.run.state).terminal:
            yield from _open_approvals(events.get(inner.run.id, ()))


def _open_approvals(events: Sequence[RunEvent]) -> Iterator[JsonObject]:
    said = [json_object(each.body.get("detail")) for each in events]
    settled = {json_text(each.get("approval")) for each in said if "state" in each}
    for event, detail in zip(events, said, strict=True):
        role, approval = json_text(detail.get("role")), json_text(detail.get("approval"))
        if detail.get("event") == "approval" and approval not in settled:
            question = json_text(event.body.get("text")).removeprefix(f"waits for {role}: ")
            yield {"for": role, "question": question, "approval": approval}


def _whole(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _texts(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
