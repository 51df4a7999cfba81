"""Whether the calls that were made are those that were expected. Pure."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TypeAlias

from gateway.core.json import Json, JsonObject, json_list, json_text
from gateway.testing.scenarios.expectations import (
    CountSettings,
    DecisionExpected,
    DenialExpected,
    LabelsExpected,
    StepExpected,
    TraceSettings,
)
from gateway.testing.scenarios.known_targets import KnownTargets
from gateway.testing.scenarios.matching import mismatch, shown
from gateway.testing.scenarios.trace import REFUSED, Called, Trace, named

Wrong: TypeAlias = tuple[str, str, str]
"""Which expectation, what it says, what was seen instead."""
_MEMBERS = {"untrusted": "untrusted", "confidential": "confidential", "regions": "region"}


def trace_findings(expect: TraceSettings, trace: Trace, known: KnownTargets) -> Iterator[Wrong]:
    """Everything that is not as expected. `known`: what could have been called."""
    yield from _order(expect, trace)
    yield from _times(expect, trace)
    yield from _counts(expect, trace, known)
    yield from _denials(expect, trace)
    for index, decision in enumerate(expect.decisions):
        yield from _decided(f"decisions[{index}]", decision, trace)
    for index, step in enumerate(expect.steps):
        yield from _step(f"steps[{index}]", step, trace)
    yield from _totals(expect, trace)


def label_findings(expect: TraceSettings, of_answer: JsonObject, trace: Trace) -> Iterator[Wrong]:
    """Labels that lack, or should."""
    for index, each in enumerate(expect.labels):
        where = f"labels[{index}]"
        if not each.step:
            yield from _labels(where, "the answer", each, of_answer)
            continue
        steps = [call for call in trace.of(each.step) if call.state == "ok"]
        if not steps:
            yield where, f"a step of {each.step}", "there is none that was answered"
        for call in steps:
            yield from _labels(where, call.target, each, call.labels)


def texts_of(labels: JsonObject) -> list[str]:
    """Labels as they are written in a scenario."""
    return [f"{kind}:{json_text(each)}" for name, kind in _MEMBERS.items() for each in json_list(labels.get(name))]


def _labels(where: str, whose: str, expect: LabelsExpected, labels: JsonObject) -> Iterator[Wrong]:
    there = texts_of(labels)
    seen = f"{whose} has {', '.join(there) or 'none'}"
    for label in expect.has:
        if not any(fnmatchcase(each, label) for each in there):
            yield where, label, seen
    for label in expect.lacks:
        if any(fnmatchcase(each, label) for each in there):
            yield where, f"no {label}", seen


def _order(expect: TraceSettings, trace: Trace) -> Iterator[Wrong]:
    targets = [each.target for each in trace.calls if each.made]
    seen = f"called were {', '.join(targets) or 'none'}"
    left = iter(targets)
    if not all(any(named(target, wanted) for target in left) for wanted in expect.order):
        yield "order", ", ".join(expect.order), seen
    if expect.exactly is not None:
        steps = [each.target for each in trace.calls if each.made and not each.in_a_step]
        fits = len(steps) == len(expect.exactly) and all(map(named, steps, expect.exactly))
        if not fits:
            yield "exactly", ", ".join(expect.exactly), f"the steps were {', '.join(steps) or 'none'}"


def _times(expect: TraceSettings, trace: Trace) -> Iterator[Wrong]:
    for first, second in expect.before:
        earlier, later = trace.of(first), trace.of(second)
        if not earlier or not later:
            yield "before", f"{first} before {second}", f"{second if earlier else first} was not called"
        elif max(each.ended_us for each in earlier) > min(each.began_us for each in later):
            yield "before", f"{first} before {second}", f"{first} {_when(earlier)}, {second} {_when(later)}"
    for one, other in expect.side_by_side:
        ones, others = trace.of(one), trace.of(other)
        if not any(_overlap(each, beside) for each in ones for beside in others if each is not beside):
            seen = f"{one} {_when(ones)}, {other} {_when(others)}"
            yield "side_by_side", f"{one} beside {other}", seen


def _overlap(one: Called, other: Called) -> bool:
    """At work at the same time; what takes no time is beside what begins at the same instant."""
    return max(one.began_us, other.began_us) <= min(one.ended_us, other.ended_us)


def _when(calls: list[Called]) -> str:
    spans = [f"from {each.began_us / 1e6:.3f} to {each.ended_us / 1e6:.3f} s" for each in calls]
    return f"was at work {' and '.join(spans)}" if spans else "was not called"


def _counts(expect: TraceSettings, trace: Trace, known: KnownTargets) -> Iterator[Wrong]:
    for target, count in expect.counts.items():
        found = len(trace.of(target))
        if stranger := known.stranger(target):
            yield f"counts[{target}]", _bounds(count), stranger
        elif not _within(count, found):
            yield f"counts[{target}]", _bounds(count), f"it was called {_often(found)}"
    for target in expect.never:
        if stranger := known.stranger(target):
            yield "never", f"no call of {target}", stranger
        elif calls := trace.of(target):
            yield "never", f"no call of {target}", f"{calls[0].target} was called {_often(len(calls))}"
    for target, count in expect.effects.items():
        keys = {(each.target, each.key) for each in trace.done if named(each.target, target)}
        if stranger := known.stranger(target):
            yield f"effects[{target}]", _bounds(count), stranger
        elif not _within(count, len(keys)):
            yield f"effects[{target}]", _bounds(count), f"it was done {_often(len(keys))}"


def _often(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


def _within(count: CountSettings, number: int) -> bool:
    return (
        (count.exactly is None or number == count.exactly)
        and (count.at_least is None or number >= count.at_least)
        and (count.at_most is None or number <= count.at_most)
    )


def _bounds(count: CountSettings) -> str:
    named_bounds = (("exactly", count.exactly), ("at least", count.at_least), ("at most", count.at_most))
    return " and ".join(f"{name} {number}" for name, number in named_bounds if number is not None) or "any number"


def _denials(expect: TraceSettings, trace: Trace) -> Iterator[Wrong]:
    refused = [each for each in trace.calls if each.state == REFUSED]
    seen = "; ".join(
        f"{each.by or 'the run'} was refused {each.target}: {each.rule or each.reason}" for each in refused
    )
    if expect.nothing_denied and refused:
        yield "nothing_denied", "no call was refused", seen
    for index, each in enumerate(expect.denied):
        if not any(_is_denial(each, call) for call in refused):
            wanted = " ".join(filter(None, (each.by, each.target, f"by rule {each.rule}" if each.rule else "")))
            yield f"denied[{index}]", wanted, seen or "nothing was refused"


def _is_denial(expect: DenialExpected, call: Called) -> bool:
    by_rule = not expect.rule or named(call.rule, expect.rule) or f"(rule {expect.rule})" in call.reason
    return named(call.target, expect.target) and by_rule and (not expect.by or named(call.by, expect.by))


def _decided(where: str, expect: DecisionExpected, trace: Trace) -> Iterator[Wrong]:
    found = [each for each in trace.decisions if _is_decision(expect, each)]
    if _within(expect.times or CountSettings(at_least=1), len(found)):
        return
    taken = "; ".join(
        f"{json_text(each.get('what'))} {shown(each.get('chosen'))}, because {json_text(each.get('because'))}"
        for each in trace.decisions
    )
    wanted = f"{expect.what} {shown(expect.chosen)}" if expect.chosen is not None else expect.what
    wanted += f" because … {expect.because}" if expect.because else ""
    wanted += f", {_bounds(expect.times)}" if expect.times is not None else ""
    yield where, wanted, f"decided was: {taken or 'nothing'}"


def _is_decision(expect: DecisionExpected, decision: JsonObject) -> bool:
    return (
        named(json_text(decision.get("what")), expect.what)
        and (expect.chosen is None or not mismatch(expect.chosen, decision.get("chosen")))
        and expect.because.lower() in json_text(decision.get("because")).lower()
        and (expect.detail is None or not mismatch(expect.detail, decision.get("detail")))
    )


def _step(where: str, expect: StepExpected, trace: Trace) -> Iterator[Wrong]:
    steps = [each for each in trace.calls if named(each.target, expect.target)]
    if expect.phase:
        steps = [each for each in steps if each.phase == expect.phase]
    wrongs = [_wrong_with(expect, each) for each in steps]
    if not steps:
        yield where, f"a step of {expect.target}", "there is none"
    elif expect.every:
        for wrong in filter(None, wrongs):
            yield where, f"of every step of {expect.target}", wrong
    elif all(wrongs):
        yield where, f"of a step of {expect.target}", "; ".join(dict.fromkeys(wrongs))


def _wrong_with(expect: StepExpected, call: Called) -> str:
    if expect.state and not named(call.state, expect.state):
        said = f" ({call.reason})" if call.reason else ""
        return f"its state is {call.state}{said}, not {expect.state}"
    if expect.reason.lower() not in call.reason.lower():
        return f"its reason is {call.reason!r}, which does not say {expect.reason!r}"
    for name, pattern, value in (
        ("received", expect.received, call.received),
        ("answered", expect.answered, call.answered),
    ):
        if pattern is not None and (wrong := mismatch(pattern, value, name)):
            return wrong
    return ""


def _totals(expect: TraceSettings, trace: Trace) -> Iterator[Wrong]:
    if expect.state and trace.state != expect.state:
        failed = f": {json_text(trace.failure.get('reason'))}" if trace.failure else ""
        yield "state", expect.state, f"the run is {trace.state}{failed}"
    if expect.failure is not None and (wrong := mismatch(expect.failure, trace.failure, "failure")):
        yield "failure", shown(expect.failure), wrong
    totals: list[tuple[str, Json, Json]] = [
        ("cost_usd", expect.cost_usd, float(trace.cost_usd)),
        ("tokens", expect.tokens, trace.tokens),
        ("calls", expect.calls, trace.tried),
        ("took_s", expect.took_s, trace.took_us / 1e6),
        ("processes", expect.processes, trace.processes),
    ]
    for name, pattern, value in totals:
        if pattern is not None and (wrong := mismatch(pattern, value, name)):
            yield name, shown(pattern), wrong
