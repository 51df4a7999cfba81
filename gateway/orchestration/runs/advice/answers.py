"""Advice as it is given: which pattern, why, what it takes, what to start from; or what the record suggests. Pure."""

from collections.abc import Mapping, Sequence

from gateway.core.json import Json, JsonObject
from gateway.orchestration.runs.advice.choice import TOOLS_AT_MOST, Case, cases
from gateway.orchestration.runs.advice.findings import always_in_order, findings
from gateway.orchestration.runs.advice.prediction import predicted
from gateway.orchestration.runs.advice.starts import start_of
from gateway.orchestration.runs.advice.traits import Traits
from gateway.orchestration.runs.advice.warnings import AGENTS_AT_MOST, of_workflow
from gateway.orchestration.runs.seen import RunTree
from gateway.orchestration.step.run_server import NAME as RUN_SERVER

_OF_RUNS = f"tool:{RUN_SERVER}/"
SHOWN = 3
"""Patterns named beside the best one."""


def on_traits(traits: Traits) -> JsonObject:
    """`pattern`, `because`, `against`, `prediction`, `start` (YAML), `warnings`, and the next best as `others`."""
    best, *rest = cases(traits)
    others: list[Json] = [
        {"pattern": case.pattern, "because": [*_reasons(case, for_it=True)], "prediction": _prediction(case, traits)}
        for case in rest[:SHOWN]
        if case.score > 0
    ]
    return {
        "pattern": best.pattern,
        "because": [*_reasons(best, for_it=True)],
        "against": [*_reasons(best, for_it=False)],
        "prediction": _prediction(best, traits),
        "start": start_of(best.pattern),
        "warnings": [*_warnings(best, traits)],
        "others": others,
    }


def on_record(
    trees: Sequence[RunTree], tools: Mapping[str, frozenset[str]], granted: Mapping[str, frozenset[str]]
) -> JsonObject:
    """`runs` looked at, `findings`, `warnings`. `tools`: what each agent called in these runs; `granted`: what it may
    call."""
    agents, tools, granted = agents_in(trees), _chosen(tools), _chosen(granted)
    said = findings(trees, tools, granted)
    known = {each.targets for each in said if each.what == "sequential_and_sharing"}
    in_order = [pair for pair in always_in_order(trees) if pair not in known]
    found: list[Json] = [
        {
            "what": each.what,
            "targets": [*each.targets],
            "evidence": each.evidence,
            "suggestion": each.suggestion,
        }
        for each in said
    ]
    return {"runs": len(trees), "findings": found, "warnings": [*of_workflow(agents, granted, in_order)]}


def _chosen(tools: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Without the tools of the run itself: whoever works for one has them, and they say nothing about an agent."""
    return {agent: frozenset(each for each in own if not each.startswith(_OF_RUNS)) for agent, own in tools.items()}


def agents_in(trees: Sequence[RunTree]) -> list[str]:
    """Capability names of all that took part, sorted."""
    return sorted({step.target for tree in trees for step in tree.steps if step.target.startswith("agent:")})


def _reasons(case: Case, *, for_it: bool) -> list[Json]:
    return [each.because for each in case.arguments if (each.weight > 0) is for_it]


def _prediction(case: Case, traits: Traits) -> JsonObject:
    will = predicted(case.pattern, traits)
    return {
        "calls": will.calls,
        "latencyS": round(will.latency_s, 1),
        "costUsd": round(will.cost_usd, 4),
        "success": round(will.success, 3),
    }


def _warnings(best: Case, traits: Traits) -> list[Json]:
    said: list[Json] = []
    will = predicted(best.pattern, traits)
    if traits.tools > TOOLS_AT_MOST:
        said.append(f"{traits.tools} tools are more than the {TOOLS_AT_MOST} an agent chooses among well: split them")
    if traits.specialists > AGENTS_AT_MOST:
        said.append(
            f"{traits.specialists} agents are more than {AGENTS_AT_MOST}: group them into workflows of their own"
        )
    if will.latency_s > traits.patience_s:
        said.append(f"it takes about {will.latency_s:.0f} s, and whoever asks waits {traits.patience_s:.0f} s")
    if will.success < 0.5:
        said.append(
            f"all of it is right in {will.success:.0%} of cases ({traits.step_success:g} per piece, {traits.steps} "
            "pieces): check results between pieces, or make fewer of them"
        )
    return said
