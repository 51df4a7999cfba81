"""One stage from its beginning to its end: approved, called, looked up, tried in another way. Asks for steps only."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gateway.core.json import JsonObject
from gateway.core.ports.orchestration import Gap, Node, StepResult
from gateway.patterns.sequential.shares import StageShare
from gateway.patterns.sequential.stages import Stage
from gateway.patterns.shared.effects import Effect, effects_of
from gateway.patterns.shared.failures import (
    WANTING,
    OnFailure,
    another_try,
    ask_timeout_s_in,
    is_approved,
    on_failure_in,
    what_to_do,
)
from gateway.patterns.shared.nested import lifted_gaps, notices_in
from gateway.patterns.shared.settings import DEFAULT_ROUNDS, StandIn, stand_ins, whole
from gateway.patterns.shared.undoing import Undoing, nothing, undone
from gateway.patterns.shared.verify import verified
from gateway.patterns.shared.work import Work, asked, called, decided, published

ASKED_AT_MOST = 3
"""How often a caller may have one stage tried again."""
_SHOWN_CHARS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class StageWays:
    """What may be done about a stage that fails."""

    max_rounds: int = DEFAULT_ROUNDS
    fallback: Mapping[str, StandIn] = field(default_factory=dict[str, StandIn])
    on_failure: OnFailure = "partial"
    ask_timeout_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEnd:
    """How a stage ended."""

    result: StepResult
    gaps: tuple[Gap, ...] = ()
    """What could not be confirmed of a result that stands, and what the workflow that gave it says it lacks."""
    notices: tuple[str, ...] = ()
    share: StageShare = field(default_factory=StageShare)
    skip: bool = False
    """It failed, and the caller wants to go on without it."""
    effects: tuple[Effect, ...] = ()
    """What its attempts brought about, or may have, in their order; without what has been undone already."""
    stuck: tuple[Gap, ...] = ()
    """What could not be undone."""


def stage_ways(settings: JsonObject, limits: JsonObject) -> StageWays:
    return StageWays(
        max_rounds=whole(limits, "max_rounds", DEFAULT_ROUNDS),
        fallback=stand_ins(settings),
        on_failure=on_failure_in(limits),
        ask_timeout_s=ask_timeout_s_in(limits),
    )


def staged(
    stage: Stage, node: Node, ways: StageWays, share: StageShare | None = None, undoing: Undoing = nothing
) -> Work[StageEnd]:
    """The stage as `node`; `share`: what is left of its share after other items; `undoing`: how it is made undone."""
    if stage.approve is not None and (refusal := (yield from _refused(stage, node))):
        return StageEnd(result=refusal, share=share or stage.share)
    return _with_what_it_lacks(stage, (yield from _done(stage, node, ways, share, undoing)))


def taken_back(stage: Stage, end: StageEnd, undoing: Undoing) -> Work[StageEnd]:
    """The end of a stage without which it goes on, once what it has done is undone."""
    gaps = yield from undone(undoing(end.effects), f"{stage.name} failed, and it goes on without")
    return replace(end, gaps=(*end.gaps, *gaps), effects=())


def _done(stage: Stage, node: Node, ways: StageWays, share: StageShare | None, undoing: Undoing) -> Work[StageEnd]:
    begun = StageEnd(result=_not_begun(node), share=share or stage.share)
    end = yield from _with_stand_in(stage, node, ways, begun, undoing)
    for _ in range(ASKED_AT_MOST):
        if end.result.ok or stage.optional or ways.on_failure != "ask":
            break
        choice = yield from what_to_do(stage.name, end.result, ways.ask_timeout_s)
        if choice == "skip":
            return replace(end, skip=True)
        if choice != "retry":
            break
        node = another_try(node, end.result)
        end = yield from _with_stand_in(stage, node, ways, end, undoing)
    return end


def _with_what_it_lacks(stage: Stage, end: StageEnd) -> StageEnd:
    """The end of a stage with what could not be undone of it; of a workflow, with what that one says it lacks."""
    result = end.result
    if not result.ok:
        return replace(end, gaps=(*end.gaps, *end.stuck))
    return replace(
        end,
        gaps=(*end.gaps, *end.stuck, *lifted_gaps(stage.name, result)),
        notices=tuple(dict.fromkeys((*end.notices, *notices_in(result)))),
    )


def _with_stand_in(stage: Stage, node: Node, ways: StageWays, end: StageEnd, undoing: Undoing) -> Work[StageEnd]:
    """The stage by whoever it names, and by whoever takes over where that fails."""
    end = yield from _asked_until_usable(stage, node, ways, end)
    stand_in = ways.fallback.get(stage.target)
    failed = end.result
    if failed.ok or stand_in is None or failed.error not in WANTING:
        return end
    because = f"{stage.target} failed ({failed.because}), and {stand_in.target} takes over"
    yield from decided("fallback", stand_in.target, because=because, detail={"stage": stage.name})
    # What one has done and the other does over would stand twice; what is undone is done over as something new.
    undos = undoing(end.effects)
    gaps = yield from undone(undos, f"{stand_in.target} takes over from {stage.target}")
    again = failed.id if failed.attempts and not undos else ""
    end = replace(end, stuck=(*end.stuck, *gaps), effects=() if undos else end.effects)
    taken_over = replace(node, target=stand_in.target, again=again, note="")
    end = yield from _asked_until_usable(stage, taken_over, ways, end)
    return replace(end, notices=(*end.notices, stand_in.notice)) if end.result.ok else end


def _asked_until_usable(stage: Stage, node: Node, ways: StageWays, end: StageEnd) -> Work[StageEnd]:
    """The stage by one target, asked again where its answer broke a contract or cited what nobody knows."""
    share = end.share
    for round_number in range(1, ways.max_rounds + 1):
        if share.exhausted:
            yield from decided("stop", stage.name, because=share.exhausted)
            return replace(end, result=_out_of_share(end.result, share.exhausted))
        answered = yield from called(replace(node, tokens=share.tokens_left, cost_usd=share.cost_usd_left))
        share = share.after_taking_over(answered.usage) if answered.taken_over else share.after(answered.usage)
        result = answered
        gaps: tuple[Gap, ...] = ()
        usable = result.ok
        if usable and share.exceeded:
            yield from decided("stop", stage.name, because=share.exceeded)
            result = _out_of_share(result, share.exceeded)
            return replace(end, result=result, share=share, effects=(*end.effects, *effects_of(answered, result)))
        if usable and stage.verify:
            looked_up = yield from verified(stage.verify, stage.name, result)
            result, gaps = looked_up.result, looked_up.gaps
            if result.ok:
                result = yield from published(result)
                # One that was overtaken is no answer that other words would mend.
                usable = result.ok
        effects = (*end.effects, *effects_of(answered, result))
        end = replace(end, result=result, gaps=gaps, share=share, effects=effects)
        wants_words = not result.ok and (usable or result.error == "schema") and result.attempts > 0
        if not wants_words or node.target.startswith("tool:") or round_number == ways.max_rounds:
            break
        yield from decided("retry", stage.name, because=result.reason, detail={"round": round_number + 1})
        node = another_try(node, result)
    return end


def _refused(stage: Stage, node: Node) -> Work[StepResult | None]:
    """The result of a stage nobody approved; None where somebody did."""
    approval = stage.approve
    if approval is None:
        return None
    given = json.dumps(node.input, ensure_ascii=False)
    shown = given if len(given) <= _SHOWN_CHARS else f"{given[:_SHOWN_CHARS]}…"
    answer = yield from asked(approval.asked(f"({stage.name} would be given {shown})"), approval.timeout_s)
    approved = answer.given and is_approved(answer.value)
    because = "it was approved" if approved else "it was not approved" if answer.given else "nobody approved it in time"
    yield from decided("approval", approved, because=because, detail={"stage": stage.name, "role": approval.role})
    return None if approved else replace(_not_begun(node), error="denied", reason=because)


def _not_begun(node: Node) -> StepResult:
    return StepResult(id="", target=node.target, ok=False, error="skipped")


def _out_of_share(result: StepResult, reason: str) -> StepResult:
    return replace(result, ok=False, error="budget", reason=reason)
