"""What an answer lacks: as a step that failed leaves it, as roles are told of it, as people read it. Pure."""

from collections.abc import Iterable

from gateway.core.json import Json
from gateway.core.ports.orchestration import Gap, StepResult


def gap_from(name: str, result: StepResult) -> Gap:
    """What is lacking for want of the step `name`, by whoever was asked last."""
    return Gap(step=name, target=result.target, error=result.error, reason=result.reason)


def gaps_to_json(gaps: Iterable[Gap]) -> list[Json]:
    """As a role is told of them. Not whose they are: answers are judged without their authors."""
    return [{"step": gap.step, "error": gap.error, "reason": gap.reason} for gap in gaps]


def reasons_of(gaps: Iterable[Gap]) -> str:
    """In one line, `find: time was up; pay: denied`."""
    return "; ".join(f"{gap.step}: {gap.because}" for gap in gaps)


def lines_of(gaps: Iterable[Gap]) -> list[str]:
    """A line for each, as an answer that is worded by rule has it."""
    return [f"{gap.step}: not done ({gap.because})" for gap in gaps]
