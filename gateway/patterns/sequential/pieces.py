"""The items of a batch on their way through the stages, and what is said of them in the end."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from gateway.core.json import Json, JsonObject
from gateway.core.ports.orchestration import Gap, Node, Outcome, StepResult
from gateway.patterns.sequential.handover import Before
from gateway.patterns.sequential.queues import BoundedQueue
from gateway.patterns.sequential.shares import StageShare
from gateway.patterns.sequential.stages import Stage

_NAMED_AT_MOST = 10
"""Items named in the words of the answer; its gaps name all."""


@dataclass(slots=True, kw_only=True)
class Piece:
    """One item."""

    number: int
    item: Json
    state: Literal["", "done", "lost"] = ""
    done: dict[str, StepResult] = field(default_factory=dict[str, StepResult])
    undo: list[tuple[str, Node]] = field(default_factory=list[tuple[str, Node]])
    """Stage, `reserve[2]`, and what makes it undone, in their order."""
    gaps: list[Gap] = field(default_factory=list[Gap])
    notices: list[str] = field(default_factory=list[str])

    def to_json(self) -> JsonObject:
        if self.state == "done":
            value = self.done[[*self.done][-1]].value if self.done else None
            return {"item": self.number, "ok": True, "value": value}
        last = self.gaps[-1] if self.gaps else None
        reason = "the run ended before it" if last is None else last.because
        return {"item": self.number, "ok": False, "reason": reason}


@dataclass(slots=True, kw_only=True)
class Station:
    """A stage and the queue before it; it is at work on one item, or one list of them, at a time."""

    stage: Stage
    queue: BoundedQueue[Piece]
    share: StageShare
    busy: bool = False
    held: deque[Piece] = field(default_factory=deque[Piece])
    """Ready, and not passed on yet: the queue after it is full."""

    def taken(self, most: int, before: Callable[[Piece], Before]) -> list[Piece]:
        """The next pieces to work on; those the stage is not needed for are ready at once."""
        taken: list[Piece] = []
        when = self.stage.when
        while len(taken) < most and (found := self.queue.take(1)):
            if when is None or when.holds(before(found[0]).known):
                taken += found
            else:
                self.held += found
                if not taken:
                    break
        return taken


def outcome_of(pieces: list[Piece], line: list[Station], failed: str) -> Outcome:
    """The answer: each item's result in the order in which they were given, and what is missing."""
    items: list[Json] = [piece.to_json() for piece in pieces]
    gaps = tuple(gap for piece in pieces for gap in piece.gaps)
    through = sum(piece.state == "done" for piece in pieces)
    text = f"{through} of {len(pieces)} items are done."
    lost = [f"{piece.number} ({piece.to_json()['reason']})" for piece in pieces if piece.state != "done"]
    if lost:
        more = f", and {len(lost) - _NAMED_AT_MOST} more" if len(lost) > _NAMED_AT_MOST else ""
        text += f"\nLeft out: {'; '.join(lost[:_NAMED_AT_MOST])}{more}"
    error = failed or ("no item came through" if pieces and not through else "")
    spent: JsonObject = {station.stage.name: station.share.to_json() for station in line}
    return Outcome(
        text=text,
        value={"items": items},
        gaps=gaps,
        error=error,
        notices=tuple(dict.fromkeys(notice for piece in pieces for notice in piece.notices)),
        why={"stages": spent},
    )
