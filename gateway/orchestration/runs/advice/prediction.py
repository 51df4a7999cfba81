"""What a pattern will take: time on the critical path, cost, and how likely all of it is right. Pure.

Rough on purpose: one length, price and chance a piece. It shows orders of magnitude, such as that ten pieces in a row,
each right in 85 of 100 cases, are all right in 20.
"""

import math
from dataclasses import dataclass

from gateway.orchestration.runs.advice.choice import SINGLE
from gateway.orchestration.runs.advice.traits import Traits

WORKERS_AT_ONCE = 4
"""The default of `limits.concurrency`."""
ROUNDS = 2
"""The default of `limits.max_rounds`."""
VOTERS = 3
JUDGE_FINDS = 0.9
"""How often a judge prefers the right one of several answers."""
CHEAP_TIER = 0.3
"""What a piece costs on a cheaper tier, as a share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Of one request."""

    calls: int
    latency_s: float
    """On the critical path."""
    cost_usd: float
    success: float
    """That everything is right, 0 to 1."""


def predicted(pattern: str, traits: Traits) -> Prediction:
    """What a request takes if this pattern does it."""
    overhead, own = _shape(pattern, traits)
    work = traits.sources if pattern == "concurrent" and traits.sources > 1 else traits.steps
    depth = _critical_path(pattern, traits, work, own)
    per_piece = CHEAP_TIER if pattern == "plan_execute" else 1.0
    calls = math.ceil(work * own) + overhead
    return Prediction(
        calls=calls,
        latency_s=(depth + overhead) * traits.step_s,
        cost_usd=(work * own * per_piece + overhead) * traits.step_usd,
        success=_success(pattern, traits, work),
    )


def _shape(pattern: str, traits: Traits) -> tuple[int, float]:
    """(calls beside the work: planner, judge, classifier; how often each piece is done)."""
    match pattern:
        case "router":
            # Rules decide most, a classifier the rest.
            return (1 if traits.specialists > 5 else 0), 1
        case "supervisor" | "plan_execute":
            return 2, 1
        case "consensus":
            return 1, VOTERS
        case "reflection":
            return 0, 2 * ROUNDS
        case "mesh":
            return 0, 1.5
        case "event_driven":
            return 1, 1.2
        case "concurrent":
            return 1, 1
        case _:
            return 0, 1


def _critical_path(pattern: str, traits: Traits, work: int, own: float) -> float:
    """Calls one after another. `own`: how often each piece is done; of a jury at the same time."""
    in_a_row = work if pattern == "consensus" else math.ceil(work * own)
    if pattern in (SINGLE, "sequential", "router", "mesh") or traits.dependencies == "chain":
        return in_a_row
    rounds = own if pattern == "reflection" else 1
    side_by_side = math.ceil(math.ceil(work * own / rounds) / WORKERS_AT_ONCE)
    if traits.dependencies == "graph":
        side_by_side = max(side_by_side, math.ceil(work / 2))
    return side_by_side * rounds


def _success(pattern: str, traits: Traits, work: int) -> float:
    piece = traits.step_success
    match pattern:
        case "supervisor" | "event_driven":
            # A piece that failed visibly is done again; half of what goes wrong is visible.
            piece = piece + (1 - piece) * 0.5 * piece
        case "consensus":
            all_wrong = (1 - piece) ** VOTERS
            piece = (1 - all_wrong) * (JUDGE_FINDS + (1 - JUDGE_FINDS) * piece)
        case "reflection":
            piece = 1 - (1 - piece) * 0.5**ROUNDS
        case _:
            pass
    return piece**work
