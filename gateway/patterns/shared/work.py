"""Work described step by step: what it asks for in turn, what it is told, and what it ends with.

Such a description says what is to be done and not when: the same work is carried out by itself, beside another, or for
many items at once. It is a generator, and as deterministic as what it is told.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from gateway.core.json import Json
from gateway.core.ports.orchestration import Answer, Node, Question, StepResult, Steps
from gateway.patterns.shared.writing import written

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Something to be kept; see `Steps.decided`."""

    what: str
    chosen: Json
    because: str
    detail: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """Something only a person can answer, and how long they have."""

    question: Question
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A result that stands, of a step that did not publish by itself: what it writes is to be written now."""

    result: StepResult


Wish: TypeAlias = "Node | Mapping[str, Node] | Decision | Inquiry | Publication"
"""One step; several that do not need each other, by name; or something to be kept, asked, or written."""
Told: TypeAlias = "StepResult | Mapping[str, StepResult] | Answer | None"
Work: TypeAlias = Generator[Wish, Told, T]


async def carried_out(work: Work[T], steps: Steps, *, limit: int, told: Told = None) -> T:
    """The end of the work, done by itself; `limit`: steps at once. `told`: what its last wish came to, where it has
    been begun already."""
    while True:
        try:
            wish = work.send(told)
        except StopIteration as end:
            return end.value
        match wish:
            case Node():
                told = await steps.call(wish)
            case Decision() | Inquiry():
                told = await settled(wish, steps)
            case Publication():
                told = await written(wish.result, steps)
            case _:
                told = await steps.graph(wish, limit=limit)


async def settled(wish: Decision | Inquiry, steps: Steps) -> Answer | None:
    """What a wish comes to that is no step."""
    if isinstance(wish, Inquiry):
        return await steps.ask(wish.question, timeout_s=wish.timeout_s)
    await steps.decided(wish.what, wish.chosen, because=wish.because, detail=wish.detail)
    return None


def called(node: Node) -> Work[StepResult]:
    """One step."""
    told = yield node
    if not isinstance(told, StepResult):
        raise TypeError("unreachable: a step comes to a result")
    return told


def published(result: StepResult) -> Work[StepResult]:
    """The result with its writes on the scratchpad; a `conflict` where it was overtaken."""
    if not result.writes:
        return result
    told = yield Publication(result=result)
    if not isinstance(told, StepResult):
        raise TypeError("unreachable: a publication comes to a result")
    return told


def side_by_side(nodes: Mapping[str, Node]) -> Work[Mapping[str, StepResult]]:
    """Steps that do not need each other."""
    if not nodes:
        return {}
    told = yield nodes
    if not isinstance(told, Mapping):
        raise TypeError("unreachable: several steps come to several results")
    return told


def asked(question: Question, timeout_s: float) -> Work[Answer]:
    """A person's answer."""
    told = yield Inquiry(question=question, timeout_s=timeout_s)
    if not isinstance(told, Answer):
        raise TypeError("unreachable: a question comes to an answer")
    return told


def decided(what: str, chosen: Json, *, because: str, detail: Mapping[str, Json] | None = None) -> Work[None]:
    """See `Steps.decided`."""
    yield Decision(what=what, chosen=chosen, because=because, detail=detail or {})
