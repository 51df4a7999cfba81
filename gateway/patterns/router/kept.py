"""What a router keeps of a classifier's verdict for the next time: names, numbers, and where in the request. Pure.

A note has no labels, so nothing that a classifier said is in one: of each wish it is kept where its words stand in the
request itself. A wish in other words than the request's cannot be kept like that.
"""

from collections.abc import Sequence

from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.patterns.router.verdicts import RoutingVerdict
from gateway.patterns.shared.wishes import Intent

_AROUND = ".,;:!?\"'()[]"


def kept_of(verdict: RoutingVerdict, message: str) -> "JsonObject | None":
    """What is to be kept; None where it cannot be told without the classifier's words."""
    said: JsonObject = {"worker": verdict.worker, "confidence": verdict.confidence}
    words = [_plain(each) for each in message.split()]
    intents: list[Json] = []
    for intent in verdict.intents:
        found = _found(words, [_plain(each) for each in intent.text.split()])
        if found is None:
            return None
        intents.append({"worker": intent.worker, "words": [*found]})
    return {**said, "intents": intents} if intents else said


def verdict_kept(kept: JsonObject, message: str, candidates: Sequence[str]) -> RoutingVerdict | None:
    """The verdict on the same request, however it was typed; None where it is of no use any more."""
    worker, confidence = json_text(kept.get("worker")), kept.get("confidence")
    intents = [_intent(json_object(each), message.split()) for each in json_list(kept.get("intents"))]
    named = [*(each.worker for each in intents), *([worker] if worker or not intents else [])]
    if not isinstance(confidence, int | float) or any(each not in candidates for each in named):
        return None
    return RoutingVerdict(worker=worker, confidence=float(confidence), intents=tuple(intents))


def _intent(kept: JsonObject, words: Sequence[str]) -> Intent:
    first, end = ([each for each in json_list(kept.get("words")) if isinstance(each, int)] + [0, 0])[:2]
    return Intent(worker=json_text(kept.get("worker")), text=" ".join(words[first:end]))


def _found(words: Sequence[str], part: Sequence[str]) -> tuple[int, int] | None:
    """Where the part stands among the words: first one, and behind the last."""
    if not part:
        return 0, 0
    places = (at for at in range(len(words) - len(part) + 1) if words[at : at + len(part)] == part)
    return next(((at, at + len(part)) for at in places), None)


def _plain(word: str) -> str:
    return word.casefold().strip(_AROUND)
