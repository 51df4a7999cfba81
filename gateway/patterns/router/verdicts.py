"""What a classifier says of a request, and the rule that can stand in for one. Pure."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.ports.orchestration import Offer
from gateway.patterns.shared.settings import slug_of
from gateway.patterns.shared.spoken import object_said
from gateway.patterns.shared.wishes import Intent

WORDS = "words"
"""Compares the words of the request with those by which workers describe themselves."""
NOBODY = ("", "none", "nobody", "other")
"""What a classifier may say where no worker is the right one."""
MOST_INTENTS = 8
_WORD = re.compile(r"\w{3,}")
_STEM_CHARS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingVerdict:
    """Who should have the request, and how sure that is."""

    worker: str
    """Capability name; empty for nobody."""
    confidence: float
    intents: tuple[Intent, ...] = ()
    """Where there are several, of different workers."""


def verdict_from(value: Json, workers: Sequence[str]) -> RoutingVerdict:
    """What a classifier answered. Raises: InvalidRequest: it is no verdict; says what one looks like."""
    said = object_said(value)
    intents = tuple(_intent(json_object(each), workers) for each in json_list(said.get("intents"))[:MOST_INTENTS])
    confidence = said.get("confidence")
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise InvalidRequest('answer {"worker": NAME, "confidence": 0 to 1}; there is no confidence from 0 to 1')
    worker = worker_named(said.get("worker"), workers)
    several = len({each.worker for each in intents}) > 1
    return RoutingVerdict(worker=worker, confidence=float(confidence), intents=intents if several else ())


def worker_named(value: Json, workers: Sequence[str]) -> str:
    """The worker of that name, empty for nobody. Raises: InvalidRequest: there is none such; says which there are."""
    name = json_text(value).strip()
    if value is None or name.casefold() in NOBODY:
        return ""
    for worker in workers:
        if name in (worker, slug_of(worker)):
            return worker
    known = ", ".join(map(slug_of, workers))
    raise InvalidRequest(f"there is no worker {name[:60]!r}; there is {known}, or none")


def by_words(message: str, offers: Mapping[str, Offer]) -> RoutingVerdict:
    """The worker whose own description has most of the request's words; words that many workers use count less."""
    described = {target: _stems(_description(offer)) for target, offer in offers.items() if offer.found}
    scores: dict[str, float] = dict.fromkeys(described, 0.0)
    for word in _stems(message):
        users = [target for target, words in described.items() if word in words]
        for target in users:
            scores[target] += math.log((1 + len(described)) / len(users))
    ranked = sorted(scores.items(), key=lambda each: -each[1])
    if not ranked or not ranked[0][1]:
        return RoutingVerdict(worker="", confidence=0.0)
    second = ranked[1][1] if len(ranked) > 1 else 0.0
    return RoutingVerdict(worker=ranked[0][0], confidence=round(ranked[0][1] / (ranked[0][1] + second), 3))


def _intent(entry: JsonObject, workers: Sequence[str]) -> Intent:
    worker = worker_named(entry.get("worker"), workers)
    if not worker:
        raise InvalidRequest("each of the intents has a worker")
    return Intent(worker=worker, text=json_text(entry.get("text")))


def _description(offer: Offer) -> str:
    return " ".join((slug_of(offer.target), offer.title, offer.description, *sorted(offer.skills)))


def _stems(text: str) -> set[str]:
    """Its words by their beginnings, so that `refund` and `refunds` are the same."""
    return {word.casefold()[:_STEM_CHARS] for word in _WORD.findall(text.replace("-", " ").replace("_", " "))}
