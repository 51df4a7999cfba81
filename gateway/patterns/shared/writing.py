"""What a step returned for the scratchpad, written once it has been decided that its answer stands."""

from collections.abc import Mapping
from dataclasses import replace

from gateway.core.errors import Conflict
from gateway.core.ports.orchestration import StepResult, Steps


async def written(result: StepResult, steps: Steps) -> StepResult:
    """The result, with its writes made as a step that publishes makes them; a `conflict` where it was overtaken."""
    return await _put(result, {key: result.reads.get(key) for key in result.writes}, steps)


async def written_beside(result: StepResult, steps: Steps) -> StepResult:
    """As `written`, where others are under way: what it did not see must not be there yet, unless it is its own."""
    expected: dict[str, int | None] = {}
    for key in result.writes:
        known = None if key in result.reads else await steps.scratchpad.get(key)
        own = known.version if known is not None and known.writer == result.id else 0
        expected[key] = result.reads.get(key, own)
    return await _put(result, expected, steps)


async def _put(result: StepResult, expected: Mapping[str, int | None], steps: Steps) -> StepResult:
    try:
        for key, value in result.writes.items():
            await steps.scratchpad.put(
                key, value, expected_version=expected[key], writer=result.id, labels=result.labels
            )
    except Conflict as error:
        return replace(result, ok=False, error="conflict", reason=error.message)
    return result
