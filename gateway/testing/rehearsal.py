"""A pattern run once with scripted agents: what it answered, whom it asked, what it told. For tests of patterns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.core.content import Content, data_part, text_part
from gateway.core.errors import GatewayError
from gateway.core.json import Json, JsonObject
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Budget, Usage
from gateway.core.ports.orchestration import Outcome, Pattern, Question, StepResult
from gateway.core.task import Task, TaskState, Turn
from gateway.testing.agents import Agent, Asked
from gateway.testing.memory_scratchpad import MemoryScratchpad
from gateway.testing.memory_steps import MemorySteps, Told
from gateway.testing.work import Workshop

FOREVER = Budget(deadline_s=600.0, depth=4)
"""Ten virtual minutes, and nothing else that ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What became of one run."""

    outcome: Outcome
    results: tuple[tuple[str, StepResult], ...]
    """Every step's name and result, in the order in which the pattern got them."""
    asked: tuple[Asked, ...]
    """Every attempt at a step, in order."""
    questions: tuple[Question, ...]
    told: tuple[Told, ...]
    parts: Mapping[str, Json]
    undone: tuple[StepResult, ...]
    scratchpad: Mapping[str, Json]
    spent: Usage
    took_s: float
    """Virtual seconds."""

    def asked_of(self, target: str) -> list[Asked]:
        return [each for each in self.asked if each.target == target]

    def decisions(self, what: str = "") -> list[JsonObject]:
        """What was decided, in order; of one kind, or of all."""
        decided = [each.detail for each in self.told if each.event == "decided"]
        return [each for each in decided if what in ("", each.get("what"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything around the pattern. All of it has a default; `agents` are by capability name, `agent:refunds`."""

    agents: Mapping[str, Agent]
    skills: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """What targets are good for, as `Steps.offers` tells."""
    message: str = "do it"
    data: Json = None
    labels: Labels = CLEAN
    """Of the task."""
    context_id: str = "context"
    answers: Sequence[Json] = ()
    """What people say when they are asked, in order."""
    taken: frozenset[str] = frozenset()
    """Outside resources that another run holds."""
    budget: Budget = FOREVER
    """Its deadline is in virtual seconds from the start."""
    timeout_s: float = 60.0
    retries: int = 1


async def rehearse(pattern: Pattern, stage: Stage) -> Rehearsal:
    """Run the pattern to its end. What it raises becomes the outcome, as in a real run; its own mistakes are raised."""
    drawn: list[MemorySteps] = []
    scratchpad = MemoryScratchpad(lambda: drawn[0].draw(), stage.taken)
    workshop = Workshop(
        stage.agents,
        scratchpad,
        task=stage.message,
        labels=stage.labels,
        timeout_s=stage.timeout_s,
        retries=stage.retries,
        skills=stage.skills,
    )
    steps = MemorySteps(workshop, scratchpad, budget=stage.budget, answers=stage.answers)
    drawn.append(steps)
    try:
        outcome = await pattern.run(_task(stage), steps)
    except GatewayError as error:
        outcome = Outcome(text=f"it failed: {error.message}", error=error.message)
    await steps.dropped_all()
    undone = await steps.undo(f"the run failed: {outcome.error}") if outcome.error else []
    return Rehearsal(
        outcome=outcome,
        results=tuple(steps.results),
        asked=tuple(workshop.asked),
        questions=tuple(steps.questions),
        told=tuple(steps.told),
        parts=steps.parts,
        undone=tuple(each.result for each in undone),
        scratchpad={key: entry.value for key, entry in scratchpad.entries.items()},
        spent=steps.spent,
        took_s=steps.now_s,
    )


def _task(stage: Stage) -> Task:
    parts = [text_part(stage.message)] if stage.message else []
    if stage.data is not None:
        parts.append(data_part(stage.data))
    content = Content(parts=tuple(parts), structured=stage.data)
    return Task(
        id="run",
        context_id=stage.context_id,
        state=TaskState.WORKING,
        updated_at_us=0,
        message=content,
        history=(Turn(id="run/0", role="user", content=content),),
    )
