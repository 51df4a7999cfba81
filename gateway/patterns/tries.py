"""One piece of work, tried until it is done or nobody is left to try it: again, by a stand-in, as the caller says.

For patterns that do one thing at a time; whoever answers in the end stands in the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.ports.orchestration import Node, Question, StepResult, Steps
from gateway.patterns.failures import WANTING
from gateway.patterns.settings import DEFAULT_CONCURRENCY, DEFAULT_ROUNDS, StandIn, slug_of, stand_ins, whole

ASK_TIMEOUT_S = 300.0
"""How long the caller has to say what to do about a failure."""
_CHOICES: "JsonObject" = {"type": "string", "enum": ["retry", "skip", "fail"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """How often, by whom else, and what then."""

    at_most: int
    concurrency: int
    stand_ins: Mapping[str, StandIn]
    on_failure: str
    """`partial`, `fail` or `ask`."""

    @classmethod
    def of(cls, settings: JsonObject) -> "Tries":
        """As the workflow's limits and fallbacks have it."""
        limits = json_object(settings.get("limits"))
        return cls(
            at_most=whole(limits, "max_rounds", DEFAULT_ROUNDS),
            concurrency=whole(limits, "concurrency", DEFAULT_CONCURRENCY),
            stand_ins=stand_ins(settings),
            on_failure=json_text(limits.get("on_failure"), "partial"),
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
    while not found.result.ok and found.result.error not in ("budget", "deadline"):
        if tries.on_failure == "fail":
            return replace(found, fails_run=True)
        choice = await choice_about(found.result, steps) if tries.on_failure == "ask" else "skip"
        if choice != "retry":
            return replace(found, fails_run=choice == "fail")
        again = replace(node, again=found.result.id, note=note_for(found.result))
        found = await _tried(again, replace(tries, at_most=1), steps)
    return found


def note_for(failed: StepResult) -> str:
    """Said to whoever tries next: the same once more would only fail again."""
    if failed.error == "schema":
        return f"The last answer could not be used: {failed.reason}. Answer so that it meets the contract."
    return f"The last attempt did not succeed ({failed.reason or failed.error}). Try another way."


async def _tried(node: Node, tries: Tries, steps: Steps) -> Tried:
    result = await steps.call(node)
    for _ in range(1, tries.at_most):
        if result.ok or result.error not in WANTING:
            break
        await steps.decided("retry", slug_of(node.target), because=result.reason or result.error)
        result = await steps.call(replace(node, again=result.id, note=note_for(result)))
    stand_in = tries.stand_ins.get(node.target)
    if result.ok or stand_in is None or result.error not in WANTING:
        return Tried(result=result)
    await steps.decided("fallback", slug_of(stand_in.target), because=result.reason or result.error)
    taken_over = await steps.call(replace(node, target=stand_in.target, again=result.id))
    return Tried(result=taken_over, notice=stand_in.notice if taken_over.ok else "")


async def choice_about(failed: StepResult, steps: Steps) -> str:
    """What the caller wants done about a failure; `skip` where it says nothing in time, or nothing that can be done."""
    prompt = f"{slug_of(failed.target)} failed: {failed.reason or failed.error}. Try again, go on without it, or fail?"
    answer = await steps.ask(Question(prompt=prompt, schema=_CHOICES), timeout_s=ASK_TIMEOUT_S)
    said = _word(answer.value) if answer.given else ""
    choice = said if said in ("retry", "fail") else "skip"
    because = "the caller said so" if said == choice else "the caller said nothing of the kind"
    await steps.decided("on_failure", choice, because=because, detail={"target": failed.target})
    return choice


def _word(value: Json) -> str:
    text = value if isinstance(value, str) else json_text(json_object(value).get("message"))
    return text.strip().lower()


def refuse_tight_calls(settings: JsonObject, least: int) -> None:
    """Raises: InvalidRequest: the run may not make as many calls as its shortest course takes."""
    calls = json_object(settings.get("limits")).get("calls")
    if isinstance(calls, int) and calls < least:
        raise InvalidRequest(
            f"it takes at least {least} calls, and limits.calls allows {calls}", detail={"setting": "limits"}
        )
