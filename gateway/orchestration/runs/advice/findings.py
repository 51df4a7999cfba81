"""What the record of runs suggests: retries, waiting that was not needed, agents that are one. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gateway.core.json import json_list, json_object, json_text
from gateway.core.ports.runs import RunStep
from gateway.orchestration.runs.seen import RunTree, StepTree

NOTABLE_SHARE = 0.2
"""Of a target's steps that had to be tried again, from which on it is worth a word."""
LEAST_RUNS = 5
"""From so many runs on it means something that a worker or a tool was used in none of them."""
_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing worth changing."""

    what: str
    """`sequential_and_sharing`, `retries`, `unused_parallelism`, `bottleneck`, `never_used`, `over_budget`."""
    targets: tuple[str, ...]
    evidence: str
    suggestion: str


def findings(
    trees: Sequence[RunTree], tools: Mapping[str, frozenset[str]], granted: Mapping[str, frozenset[str]]
) -> tuple[Finding, ...]:
    """Of runs of one workflow, the latest first. `tools`: what each agent called in them, by capability name;
    `granted`: what it may call."""
    return (
        *_sharing(trees, tools),
        *_retries(trees),
        *_waiting(trees),
        *_bottleneck(trees),
        *_stopped(trees),
        *_never_asked(trees),
        *_never_called(trees, tools, granted),
    )


def always_in_order(trees: Sequence[RunTree]) -> dict[tuple[str, str], int]:
    """Pairs of agents of which the second began after the first had ended in every run in which both took part, and how
    many runs that were."""
    together: Counter[tuple[str, str]] = Counter()
    in_order: Counter[tuple[str, str]] = Counter()
    for tree in trees:
        spans = _spans(tree)
        for first in spans:
            for second in spans:
                if first != second and spans[first][0] <= spans[second][0]:
                    together[first, second] += 1
                    in_order[first, second] += spans[first][1] <= spans[second][0]
    return {
        (first, second): times
        for (first, second), times in sorted(together.items())
        if in_order[first, second] == times and not together[second, first]
    }


def _sharing(trees: Sequence[RunTree], tools: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    """Pairs that always follow each other, and call the same."""
    for (first, second), times in always_in_order(trees).items():
        shared = tools.get(first, frozenset()) & tools.get(second, frozenset())
        if shared:
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
            because = "because the pattern could not use its answer" if state == "ok" else f"for {state}"
            yield Finding(
                what="retries",
                targets=(target,),
                evidence=f"{times} of {tried[target]} steps of {target} had to be tried again, mostly {because}",
                suggestion=_AGAINST.get(state, f"look into why {target} fails, or name a fallback for it"),
            )


_AGAINST = {
    "ok": "say in its instruction what an answer has to have: `drawbridge runs show RUN` has what was wanting",
    "schema": "say in its instruction what the contract wants, or loosen the contract",
    "timeout": "give it a longer timeout_s, or less to do at once",
    "unavailable": "run a second instance, or name a fallback",
}


def _waiting(trees: Sequence[RunTree]) -> Iterator[Finding]:
    """Runs in which nothing ever happened side by side, though several took part; not of a pattern whose steps follow
    each other by its nature."""
    helps = _AGAINST_WAITING.get(json_text(trees[0].run.spec.get("pattern")) if trees else "", _SIDE_BY_SIDE)
    if not helps:
        return
    idle = [tree for tree in trees if _all_in_a_row(tree)]
    if idle and len(idle) == len([tree for tree in trees if len(tree.steps) > 1]):
        targets = tuple(sorted({step.target for tree in idle for step in tree.steps}))
        if len(targets) > 1:
            took = max(sum(_length(step) for step in tree.steps) for tree in idle)
            longest = max(max(_length(step) for step in tree.steps) for tree in idle)
            yield Finding(
                what="unused_parallelism",
                targets=targets,
                evidence=f"in {len(idle)} of {len(trees)} runs no two steps were under way at once; the longest took "
                f"{took / 1e6:.1f} s, its longest step {longest / 1e6:.1f} s",
                suggestion=helps,
            )


_SIDE_BY_SIDE = "if these steps do not need each other's results, have them done side by side"
_NO_AFTER = "if these steps do not need each other's results, have the plan give them no `after`"
_MORE_AT_ONCE = "let more steps be under way at once: raise limits.concurrency"
_AGAINST_WAITING = {
    "sequential": "if these stages do not need each other's results, use concurrent",
    "supervisor": _NO_AFTER,
    "plan_execute": _NO_AFTER,
    "concurrent": _MORE_AT_ONCE,
    "consensus": _MORE_AT_ONCE,
    "event_driven": "if later tasks do not need what earlier ones find, let workers ask for several tasks at once",
    "router": "",
    "mesh": "",
    "reflection": "",
}


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


def _never_asked(trees: Sequence[RunTree]) -> Iterator[Finding]:
    """Workers of the latest version that no run gave any work."""
    if len(trees) < LEAST_RUNS:
        return
    settings = json_object(trees[0].run.spec.get("settings"))
    kinds = (("agent", "agents"), ("tool", "tools"), ("workflow", "workflows"))
    workers = [f"{kind}:{name}" for kind, setting in kinds for name in json_list(settings.get(setting))]
    called = {step.target for step in _steps(trees)}
    idle = tuple(each for each in workers if each not in called)
    if idle:
        yield Finding(
            what="never_used",
            targets=idle,
            evidence=f"in {len(trees)} runs nothing was given to {_some(idle)}",
            suggestion="take it out of the workflow, or find out why it is never chosen",
        )


def _never_called(
    trees: Sequence[RunTree], tools: Mapping[str, frozenset[str]], granted: Mapping[str, frozenset[str]]
) -> Iterator[Finding]:
    """Agents that may call what they called in none of the runs in which they took part."""
    took_part = Counter(target for tree in trees for target in {step.target for step in tree.steps})
    for agent, may in sorted(granted.items()):
        idle = tuple(sorted(may - tools.get(agent, frozenset())))
        if idle and took_part[agent] >= LEAST_RUNS:
            yield Finding(
                what="never_used",
                targets=(agent, *idle),
                evidence=f"{agent} may call {len(may)} tools, and in {took_part[agent]} runs never called "
                f"{_some(idle)}",
                suggestion=f"take them from the roles of {agent}: what it is not granted it can neither misuse nor "
                "choose by mistake",
            )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return f"{', '.join(names[:_NAMED])}{f' and {more} more' if more > 0 else ''}"


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
