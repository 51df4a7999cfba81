"""One piece of work, tried until it is done or nobody is left to try it: again, by a stand-in, as the caller says.

For patterns that do one thing at a time; whoever answers in the end stands in the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.core.json import JsonObject, json_object
from gateway.core.ports.orchestration import Node, StepResult, Steps
from gateway.patterns.shared.failures import (
    ASK_TIMEOUT_S,
    STOPPED,
    WANTING,
    Choice,
    OnFailure,
    another_try,
    ask_timeout_s_in,
    on_failure_in,
    what_to_do,
)
from gateway.patterns.shared.settings import DEFAULT_CONCURRENCY, DEFAULT_ROUNDS, StandIn, slug_of, stand_ins, whole
from gateway.patterns.shared.work import carried_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """How often, by whom else, and what then."""

    at_most: int
    concurrency: int
    stand_ins: Mapping[str, StandIn]
    on_failure: OnFailure
    ask_timeout_s: float = ASK_TIMEOUT_S

    @classmethod
    def of(cls, settings: JsonObject) -> "Tries":
        """As the workflow's limits and fallbacks have it."""
        limits = json_object(settings.get("limits"))
        return cls(
            at_most=whole(limits, "max_rounds", DEFAULT_ROUNDS),
            concurrency=whole(limits, "concurrency", DEFAULT_CONCURRENCY),
            stand_ins=stand_ins(settings),
            on_failure=on_failure_in(limits),
            ask_timeout_s=ask_timeout_s_in(limits),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of it."""

    result: StepResult
    notice: str = ""
    """Who stood in for whom; empty where nobody did."""
    fails_run: bool = False
    """It failed, and so does the run: by its settings, or because the caller said so."""


async def tried(node: Node, tries: Tries, steps: Steps) -> Tried:
    """The work's result, after as many attempts as it took or as are allowed."""
    found = await _tried(node, tries, steps)
    while not found.result.ok and found.result.error not in STOPPED:
        if tries.on_failure == "fail":
            return replace(found, fails_run=True)
        choice = "skip"
        if tries.on_failure == "ask":
            choice = await choice_about(found.result, tries.ask_timeout_s, steps)
        if choice != "retry":
            return replace(found, fails_run=choice == "fail")
        found = await _tried(another_try(node, found.result), replace(tries, at_most=1), steps)
    return found


async def _tried(node: Node, tries: Tries, steps: Steps) -> Tried:
    result = await steps.call(node)
    for _ in range(1, tries.at_most):
        if result.ok or result.error not in WANTING:
            break
        await steps.decided("retry", slug_of(node.target), because=result.because)
        result = await steps.call(another_try(node, result))
    stand_in = tries.stand_ins.get(node.target)
    if result.ok or stand_in is None or result.error not in WANTING:
        return Tried(result=result)
    await steps.decided("fallback", slug_of(stand_in.target), because=result.because)
    taken_over = await steps.call(another_try(replace(node, target=stand_in.target), result))
    return Tried(result=taken_over, notice=stand_in.notice if taken_over.ok else "")


async def choice_about(failed: StepResult, timeout_s: float, steps: Steps) -> Choice:
    """What the caller wants done about a failure; empty where it says nothing in time, or nothing that can be done."""
    return await carried_out(what_to_do(slug_of(failed.target), failed, timeout_s), steps, limit=1)
