"""The several wishes of one message: which rules hold in which of its parts, and whose each part is. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.json import JsonObject

_BREAK = re.compile(r"[.!?;,:]+(?=\s|$)|\n+|\b(?:and|then|also|plus|und|sowie)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A rule that holds, and what of it did. Holds nothing of the message itself."""

    worker: str
    rule: int
    """Number of the rule; -1 for a declared skill without one."""
    by: str
    """`keyword refund`, `regex`, `when`, `skill issue`."""
    weight: float
    part: int | None = None
    """The part of the message; None where it concerns all of it."""

    def to_json(self) -> JsonObject:
        return {"worker": self.worker, "rule": self.rule, "by": self.by, "weight": self.weight}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One wish of a message, and whose it is."""

    worker: str
    text: str


def breaks_in(text: str) -> list[int]:
    """Where one part ends and the next begins."""
    return [match.end() for match in _BREAK.finditer(text)]


def part_of(at: int, breaks: list[int]) -> int:
    """The number of the part a place is in."""
    return sum(end <= at for end in breaks)


def intents_in(hits: list[Hit], scores: Mapping[str, float], text: str) -> tuple[Intent, ...]:
    """The wishes of the message, where they are several and nothing about the request as a whole outweighs them."""
    whole = {hit.worker for hit in hits if hit.part is None}
    if whole and next(iter(scores)) in whole:
        return ()
    owners: dict[int, str] = {}
    for part in sorted({hit.part for hit in hits if hit.part is not None}):
        theirs: dict[str, float] = {}
        for hit in hits:
            if hit.part == part:
                theirs[hit.worker] = theirs.get(hit.worker, 0.0) + hit.weight
        best = max(theirs.values())
        strongest = [worker for worker, score in theirs.items() if score == best]
        # Who is as strong in this part as another does not make it a wish of its own.
        owners[part] = next((each for each in strongest if each in owners.values()), strongest[0])
    if len(set(owners.values())) < 2 or _torn(hits, owners):
        return ()
    worded: dict[str, list[str]] = {}
    current = owners[min(owners)]
    for part, said in enumerate(parts_of(text, breaks_in(text))):
        current = owners.get(part, current)
        worded.setdefault(current, []).append(said)
    return tuple(Intent(worker=worker, text=" ".join(each for each in said if each)) for worker, said in worded.items())


def _torn(hits: list[Hit], owners: Mapping[int, str]) -> bool:
    """Whether some worker's wish is only what another one claims as strongly."""
    return any(
        all(
            any(other.part == hit.part and other.worker != hit.worker and other.weight >= hit.weight for other in hits)
            for hit in hits
            if hit.worker == worker and hit.part is not None
        )
        for worker in set(owners.values())
    )


def parts_of(text: str, breaks: list[int]) -> list[str]:
    """The parts themselves, without what parts them."""
    starts, ends = [0, *breaks], [*breaks, len(text)]
    return [_BREAK.sub("", text[start:end]).strip() for start, end in zip(starts, ends, strict=True)]
