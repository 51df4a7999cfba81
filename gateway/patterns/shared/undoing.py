"""What was done and is not to stay is made undone: the last of it first, each until it is, or was tried often enough.

A run that fails is undone by whoever runs it (`Steps.compensate`); here that happens to what a run goes on without.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from gateway.core.ports.orchestration import Gap, Node
from gateway.patterns.shared.effects import Effect
from gateway.patterns.shared.work import Work, called, decided

UNDONE_AT_MOST = 3
"""Attempts at making one stage undone."""

_UNDO = "undo "

Undoing: TypeAlias = "Callable[[Sequence[Effect]], Sequence[tuple[str, Node]]]"
"""Names, and what makes undone what was brought about, in the order in which that was."""


def nothing(effects: Sequence[Effect]) -> Sequence[tuple[str, Node]]:
    """See `Undoing`: there is nothing to be called."""
    return ()


def is_stuck(gap: Gap) -> bool:
    """Whether it says what could not be undone."""
    return gap.step.startswith(_UNDO)


def undone(undos: Sequence[tuple[str, Node]], because: str) -> Work[list[Gap]]:
    """Make it undone, the last one first; what could not be. `because`: why all of it is; a node may say more."""
    gaps: list[Gap] = []
    for name, given in reversed(undos):
        node = replace(given, undoes=f"{because}: {given.undoes}" if given.undoes else because)
        yield from decided("undo", name, because=node.undoes, detail={"target": node.target})
        result = yield from called(node)
        for _ in range(UNDONE_AT_MOST - 1):
            if result.ok or result.error in ("denied", "in_doubt", "canceled") or not result.attempts:
                break
            result = yield from called(replace(node, again=result.id))
        if not result.ok:
            gaps.append(Gap(step=f"{_UNDO}{name}", target=node.target, error=result.error, reason=result.reason))
    return gaps
