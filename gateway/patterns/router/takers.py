"""Who takes over one of several wishes, one after another, from a worker that failed at it. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.patterns.shared.settings import slug_of
from gateway.patterns.shared.tries import Tries


@dataclass(frozen=True, slots=True, kw_only=True)
class Taker:
    target: str
    notice: str = ""
    """What makes less of its answer; empty for who does the same as the one that failed."""


def takers(replicas: Sequence[str], tries: Tries, otherwise: str) -> Iterator[Taker]:
    """Those who do the same, whoever stands in or the last of them again, then whoever takes the rest.

    `replicas`: in the order in which they are asked; the first has been."""
    last = replicas[-1]
    yield from (Taker(target=each) for each in replicas[1:])
    stand_in = tries.stand_ins.get(last)
    again = Taker(target=last) if stand_in is None else Taker(target=stand_in.target, notice=stand_in.notice)
    yield from [again] * (tries.at_most - 1)
    if otherwise and otherwise not in replicas and stand_in is None:
        yield Taker(target=otherwise, notice=f"{slug_of(otherwise)} answers, because {slug_of(replicas[0])} failed")
