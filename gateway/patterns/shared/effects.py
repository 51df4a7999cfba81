"""What attempts at a step have brought about, or may have: what is to be undone where it does not stand. Pure."""

from dataclasses import dataclass

from gateway.core.ports.orchestration import StepError, StepResult

_UNKNOWN: frozenset[StepError] = frozenset({"timeout", "deadline", "canceled", "in_doubt"})
"""How a step ends of which nobody knows what it has brought about."""
_NOT_ACCEPTED: frozenset[StepError] = frozenset({"schema", "budget", "conflict", "denied"})
"""How a step ends whose answer there is, and does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """An attempt at a stage that brought something about, or may have."""

    result: StepResult
    """As it was answered, whatever came of the answer."""
    because: str = ""
    """Why its answer does not stand; empty where it does."""


def _was_done(result: StepResult) -> bool:
    """Whether the work was done although its result was not accepted: it broke its contract, cost too much, or wrote
    what was overtaken or not its to write. What has been done then has to be undone as well."""
    return not result.ok and result.error in _NOT_ACCEPTED and result.value is not None


def _may_have_been_done(result: StepResult) -> bool:
    """Whether nobody knows that the work was not done: it was, or it was under way when nobody waited any longer."""
    if _was_done(result):
        return True
    return result.attempts > 0 and (
        result.error in _UNKNOWN or (result.error == "unavailable" and bool(result.remote_task))
    )


def effects_of(answered: StepResult, result: StepResult) -> tuple[Effect, ...]:
    """What one attempt brought about, or may have: as it was answered, and as it was taken."""
    if result.ok:
        return (Effect(result=result),)
    if answered.ok or _may_have_been_done(answered):
        return (Effect(result=answered, because=result.because),)
    return ()
