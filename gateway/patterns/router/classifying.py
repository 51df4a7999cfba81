"""Asks whoever fills the role of classifier whose a request is. Keeps nothing and decides nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject
from gateway.core.labels import CLEAN, Labels
from gateway.core.ports.orchestration import Offer, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.router.rules import Ruling
from gateway.patterns.router.verdicts import RoutingVerdict, by_words, verdict_from
from gateway.patterns.shared.roles import Role
from gateway.patterns.shared.settings import slug_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedRequest:
    """What is to be routed."""

    message: str
    data: Json = None

    @classmethod
    def of(cls, task: Task) -> "RoutedRequest":
        if task.message is None:
            return cls(message="")
        return cls(message=task.message.text, data=task.message.structured)


async def verdict_on(
    role: Role, request: RoutedRequest, steps: Steps, candidates: Sequence[str], ruling: Ruling
) -> tuple[RoutingVerdict, Labels] | str:
    """The classifier's verdict and the labels of its words; or why there is none. Asked again once if it is none."""
    offers = await steps.offers(candidates)
    if role.rule:
        return by_words(request.message, offers), CLEAN
    given = question_on(request, [*offers.values()], ruling)
    before: StepResult | None = None
    wrong = ""
    for _ in range(2):
        node = replace(role.node(given), note=wrong, again="" if before is None else before.id)
        said = await steps.call(node)
        if not said.ok and said.error != "schema":
            return f"the classifier failed ({said.because})"
        found = _read(said, candidates)
        if isinstance(found, RoutingVerdict):
            return found, said.labels
        wrong, before = found, said
    return f"the classifier's answer is none: {wrong}"


def question_on(request: RoutedRequest, offers: Sequence[Offer], ruling: Ruling) -> JsonObject:
    """What a classifier is asked. `offers`: of everybody it may name."""
    scores: JsonObject = {slug_of(worker): score for worker, score in ruling.scores.items()}
    return {
        "instruction": "Say which worker this request is for, and how sure you are: "
        '{"worker": NAME, "confidence": 0 to 1}. Where it has several wishes for different workers, add '
        '"intents": [{"worker", "text"}].',
        "request": request.message,
        "workers": [_described(each) for each in offers],
        "scores": scores,
    }


def _read(said: StepResult, candidates: Sequence[str]) -> RoutingVerdict | str:
    """The verdict in a classifier's answer, or what is wrong with that."""
    if not said.ok:
        return said.reason
    try:
        return verdict_from(said.answer, candidates)
    except InvalidRequest as error:
        return error.message


def _described(offer: Offer) -> JsonObject:
    described: JsonObject = {"worker": slug_of(offer.target)}
    said: JsonObject = {"title": offer.title, "description": offer.description, "skills": [*sorted(offer.skills)]}
    return described | {name: value for name, value in said.items() if value}
