"""Which pattern fits: every pattern argues for and against itself, and the best case wins. Pure.

Weights are small whole numbers because nothing finer could be defended: 3 decides, 2 speaks for, 1 leans towards.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.orchestration.runs.advice.traits import Traits

SINGLE = "single agent"
"""No pattern at all."""
PATTERNS = (
    SINGLE,
    "router",
    "sequential",
    "concurrent",
    "supervisor",
    "plan_execute",
    "consensus",
    "mesh",
    "reflection",
    "event_driven",
)
TOOLS_AT_MOST = 20
"""Per agent; with more, models choose worse."""


@dataclass(frozen=True, slots=True)
class Argument:
    """Why a pattern fits, or does not."""

    pattern: str
    weight: int
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All arguments of one pattern."""

    pattern: str
    score: int
    arguments: tuple[Argument, ...]


def cases(traits: Traits) -> tuple[Case, ...]:
    """Every pattern's case, the best first; of equals the simpler one."""
    said = [*_arguments(traits)]
    found: list[Case] = []
    for pattern in PATTERNS:
        own = tuple(each for each in said if each.pattern == pattern)
        found.append(Case(pattern=pattern, score=sum(each.weight for each in own), arguments=own))
    return tuple(sorted(found, key=lambda case: (-case.score, PATTERNS.index(case.pattern))))


def _arguments(traits: Traits) -> Iterator[Argument]:
    yield from _for_one_agent(traits)
    yield from _for_known_work(traits)
    yield from _for_several_things(traits)
    yield from _for_better_answers(traits)
    yield from _for_unknown_work(traits)


def _for_one_agent(traits: Traits) -> Iterator[Argument]:
    if traits.specialists == 1 and traits.sources == 1:
        yield Argument(SINGLE, 3, "one kind of know-how does it all: every hand-over would only add cost and failure")
    if traits.steps <= 2 and not traits.high_stakes:
        yield Argument(SINGLE, 1, "there is little to do")
    if traits.tools > TOOLS_AT_MOST:
        yield Argument(SINGLE, -3, f"{traits.tools} tools are more than one agent chooses among well")
    if traits.specialists > 1:
        yield Argument(SINGLE, -2, f"it takes {traits.specialists} kinds of know-how")


def _for_known_work(traits: Traits) -> Iterator[Argument]:
    several = traits.specialists > 1
    if several and traits.intents < 1.2 and traits.steps <= 2:
        yield Argument("router", 3, "a message asks for one thing, and one specialist can do it")
    if traits.dependencies == "chain" and traits.predictable and traits.steps > 1:
        yield Argument("sequential", 3, "the pieces are known, and each needs the one before")
    if traits.dependencies != "chain" and traits.predictable:
        yield Argument("sequential", -1, "pieces that do not need each other would wait for each other")
    if not traits.predictable:
        yield Argument("sequential", -3, "what is to be done is not known beforehand")
    if traits.sources > 1:
        yield Argument("concurrent", 3, f"{traits.sources} places are asked the same kind of thing, at the same time")
    if several and traits.dependencies == "none" and traits.predictable and traits.steps > 2:
        yield Argument("concurrent", 2, "known pieces that do not need each other can all be done at once")


def _for_several_things(traits: Traits) -> Iterator[Argument]:
    if traits.intents >= 1.2:
        yield Argument(
            "supervisor", 3, f"a message asks for {traits.intents:g} things, and a router would drop all but one"
        )
        yield Argument("router", -3, "it sends a message to one worker, and several would be needed")
    if traits.dependencies == "graph":
        yield Argument("supervisor", 2, "some pieces need others' results, and the rest can be done meanwhile")
    if not traits.predictable and traits.steps > 2:
        yield Argument("supervisor", 1, "somebody has to find out what is to be done, and look at what came of it")
        yield Argument("plan_execute", 2, "a plan made once by a strong model is carried out by cheaper ones")
    if traits.steps > 5 and not traits.predictable and traits.step_usd * traits.steps > 0.1:
        yield Argument("plan_execute", 2, f"{traits.steps} pieces at the top price are dear")


def _for_better_answers(traits: Traits) -> Iterator[Argument]:
    if traits.opinions:
        yield Argument("consensus", 3, "independent answers and a judge find what one alone gets wrong")
    if traits.opinions and not traits.high_stakes:
        yield Argument("consensus", -1, "several answers cost several times as much, and little is at stake")
    if traits.high_stakes and traits.opinions:
        yield Argument("consensus", 1, "a wrong answer is dear")
    if traits.polish:
        yield Argument("reflection", 4, "a critic makes the answer better, round by round")
    if traits.polish and traits.patience_s < 3 * traits.step_s:
        yield Argument("reflection", -2, "there is no time for a second round")


def _for_unknown_work(traits: Traits) -> Iterator[Argument]:
    if traits.open_ended:
        yield Argument("event_driven", 4, "work turns up while working: a queue takes it, and a goal ends it")
    if traits.peers and not traits.predictable:
        yield Argument("mesh", 4, "specialists know best whom to ask next, and nobody above them does")
    if traits.peers and traits.patience_s < 5 * traits.step_s:
        yield Argument("mesh", -2, "hand-ons take long, and whoever asks will not wait")
