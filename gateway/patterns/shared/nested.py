"""What a workflow that was a step of another says beside its answer. Pure."""

from dataclasses import replace
from typing import get_args

from gateway.core.json import json_list, json_object, json_text
from gateway.core.ports.orchestration import Gap, StepError, StepResult

WITHIN = "/"
"""Between a step and a step within it; no step's own name has it."""
_ERRORS: dict[str, StepError] = {each: each for each in get_args(StepError)}


def its_answer(result: StepResult) -> StepResult:
    """The result, of a workflow with its answer alone for a value: what a run says about itself is no part of it."""
    return replace(result, value=result.answer) if result.target.startswith("workflow:") else result


def gaps_in(result: StepResult) -> tuple[Gap, ...]:
    """What the answer of a workflow lacks; nothing for whoever is none."""
    if not result.target.startswith("workflow:"):
        return ()
    named = (json_object(each) for each in json_list(json_object(result.value).get("gaps")))
    return tuple(
        Gap(
            step=json_text(each.get("step")),
            target=json_text(each.get("target")),
            error=_ERRORS.get(json_text(each.get("error")), "failed"),
            reason=json_text(each.get("reason")),
        )
        for each in named
    )


def notices_in(result: StepResult) -> tuple[str, ...]:
    """What makes the answer of a workflow less than was asked for."""
    if not result.target.startswith("workflow:"):
        return ()
    return tuple(each for each in json_list(json_object(result.value).get("notices")) if isinstance(each, str))


def lifted_gaps(name: str, result: StepResult) -> tuple[Gap, ...]:
    """What the answer of a workflow that was the step `name` lacks, as what the run it was a step of lacks."""
    return tuple(replace(gap, step=f"{name}{WITHIN}{gap.step}") for gap in gaps_in(result)) if result.ok else ()


def is_lifted(gap: Gap) -> bool:
    return WITHIN in gap.step
