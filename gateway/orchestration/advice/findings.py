"""What the record of runs suggests: retries, waiting that was not needed, agents that are one. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gateway.core.ports.runs import RunStep
from gateway.orchestration.runs import RunTree, StepTree

NOTABLE_SHARE = 0.2
"""Of a target's steps that had to be tried again, from which on it is worth a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing worth changing."""

    what: str
    """`sequential_and_sharing`, `retries`, `unused_parallelism`, `bottleneck`, `never_used`, `over_budget`."""
    targets: tuple[str, ...]
    evidence: str
    suggestion: str


def findings(trees: Sequence[RunTree], tools: Mapping[str, frozenset[str]]) -> tuple[Finding, ...]:
    """Of runs of one workflow. `tools`: what each agent called in them, by capability name."""
    return (
        *_sharing(trees, tools),
        *_retries(trees),
        *_waiting(trees),
        *_bottleneck(trees),
        *_stopped(trees),
    )


def _sharing(trees: Sequence[RunTree], tools: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    """Pairs that followed each other, without overlap, in every run in which both took part, and call the same."""
    together: Counter[tuple[str, str]] = Counter()
    in_order: Counter[tuple[str, str]] = Counter()
    for tree in trees:
        spans = _spans(tree)
        for first in spans:
            for second in spans:
                if first != second and spans[first][0] <= spans[second][0]:
                    together[first, second] += 1
                    in_order[first, second] += spans[first][1] <= spans[second][0]
    for (first, second), times in sorted(together.items()):
        shared = tools.get(first, frozenset()) & tools.get(second, frozenset())
        if shared and in_order[first, second] == times and not together[second, first]:
            yield Finding(
                what="sequential_and_sharing",
                targets=(first, second),
                evidence=f"in {times} of {times} runs {second} began after {first} had ended; both call "
                f"{', '.join(sorted(shared)[:5])}",
                suggestion=f"let one agent do what {first} and {second} do: one hand-over less",
            )


def _retries(trees: Sequence[RunTree]) -> Iterator[Finding]:
    tried: Counter[str] = Counter()
    again: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {}
    for step in _steps(trees):
        tried[step.target] += 1
        failed = [each for each in step.attempts[:-1]]
        again[step.target] += bool(failed)
        reasons.setdefault(step.target, Counter()).update(each.state for each in failed)
    for target, times in sorted(again.items()):
        if times and times >= NOTABLE_SHARE * tried[target]:
            (state, _), *_ = reasons[target].most_common(1)
            yield Finding(
                what="retries",
                targets=(target,),
                evidence=f"{times} of {tried[target]} steps of {target} had to be tried again, mostly for {state}",
                suggestion=_AGAINST.get(state, f"look into why {target} fails, or name a fallback for it"),
            )


_AGAINST = {
    "schema": "say in its instruction what the contract wants, or loosen the contract",
    "timeout": "give it a longer timeout_s, or less to do at once",
    "unavailable": "run a second instance, or name a fallback",
}


def _waiting(trees: Sequence[RunTree]) -> Iterator[Finding]:
    """Runs in which nothing ever happened side by side, though several agents took part and none was handed another's
    result."""
    idle = [tree for tree in trees if _all_in_a_row(tree)]
    if idle and len(idle) == len([tree for tree in trees if len(tree.steps) > 1]):
        targets = tuple(sorted({step.target for tree in idle for step in tree.steps}))
        if len(targets) > 1:
            took = max(sum(_length(step) for step in tree.steps) for tree in idle)
            longest = max(max(_length(step) for step in tree.steps) for tree in idle)
            yield Finding(
                what="unused_parallelism",
                targets=targets,
                evidence=f"in {len(idle)} runs no two steps were under way at once; the longest took "
                f"{took / 1e6:.1f} s, its longest step {longest / 1e6:.1f} s",
                suggestion="if these steps do not need each other's results, give them no `after`, or use concurrent",
            )


def _bottleneck(trees: Sequence[RunTree]) -> Iterator[Finding]:
    spent: Counter[str] = Counter()
    for step in _steps(trees):
        spent[step.target] += sum(each.duration_us for each in step.attempts)
    whole = sum(spent.values())
    if len(spent) < 3 or not whole:
        return
    target, took = max(spent.items(), key=lambda item: item[1])
    if 2 * took > whole:
        yield Finding(
            what="bottleneck",
            targets=(target,),
            evidence=f"{target} took {100 * took // whole} % of all working time",
            suggestion=f"give {target} a faster tier or a replica, or less to do",
        )


def _stopped(trees: Sequence[RunTree]) -> Iterator[Finding]:
    stopped = [tree for tree in trees if any(_last(step).state in ("budget", "deadline") for step in tree.steps)]
    if stopped:
        targets = sorted({s.target for t in stopped for s in t.steps if _last(s).state in ("budget", "deadline")})
        yield Finding(
            what="over_budget",
            targets=tuple(targets),
            evidence=f"{len(stopped)} of {len(trees)} runs were stopped by their budget or deadline",
            suggestion="raise the limit, or give the work fewer rounds",
        )


def _steps(trees: Sequence[RunTree]) -> Iterator[StepTree]:
    for tree in trees:
        yield from tree.steps


def _spans(tree: RunTree) -> dict[str, tuple[int, int]]:
    """When each target's work began and ended in the run; agents only."""
    spans: dict[str, tuple[int, int]] = {}
    for step in tree.steps:
        if step.target.startswith("agent:") and step.attempts[0].started_at_us:
            began, ended = step.attempts[0].started_at_us, _end(step)
            known = spans.get(step.target, (began, ended))
            spans[step.target] = (min(known[0], began), max(known[1], ended))
    return spans


def _all_in_a_row(tree: RunTree) -> bool:
    begun = sorted((step for step in tree.steps if step.attempts[0].started_at_us), key=_start)
    return len(begun) > 1 and all(_end(first) <= _start(second) for first, second in pairwise(begun))


def _start(step: StepTree) -> int:
    return step.attempts[0].started_at_us


def _end(step: StepTree) -> int:
    last = _last(step)
    return last.started_at_us + last.duration_us


def _length(step: StepTree) -> int:
    return _end(step) - _start(step)


def _last(step: StepTree) -> RunStep:
    return step.attempts[-1]
