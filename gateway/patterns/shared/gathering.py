"""Several asked side by side: at most so many at once, until all have answered, enough have, or time is up.

Each answer is shown as soon as it is there. Who broke the contract is told so and asked once more; whoever fails has
his stand-in asked; who is still at work when time is up is dropped.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.core.json import JsonObject
from gateway.core.ports.orchestration import Gap, Node, StepError, StepResult, Steps
from gateway.patterns.shared.failures import ASK_TIMEOUT_S, OnFailure, another_way, what_to_do
from gateway.patterns.shared.gaps import gap_from
from gateway.patterns.shared.nested import gaps_in, notices_in
from gateway.patterns.shared.settings import DEFAULT_ROUNDS, StandIn, seconds, slug_of
from gateway.patterns.shared.work import carried_out

GATHER_SHARE = 0.9
"""Of the deadline; the rest is for making one of what came."""
_STOOD_IN_FOR: frozenset[StepError] = frozenset({"failed", "timeout", "unavailable", "schema", "input_required"})


def gather_s_in(block: JsonObject, limits: JsonObject) -> float | None:
    """Seconds for which they are waited for; None where nothing says."""
    given, deadline_s = seconds(block.get("gather_s")), seconds(limits.get("deadline_s"))
    return GATHER_SHARE * deadline_s if given is None and deadline_s is not None else given


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One that is to be asked."""

    name: str
    node: Node
    broke: int = 0
    """How often it has been told of the contract it broke."""
    stood_in: bool = False
    notice: str = ""
    """Said in the answer where this is who answered: somebody stood in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How they are asked."""

    concurrency: int
    on_failure: OnFailure = "partial"
    ask_timeout_s: float = ASK_TIMEOUT_S
    rounds: int = DEFAULT_ROUNDS
    """How often one is asked whose answers break their contract."""
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict[str, StandIn])
    first: bool = False
    """One good answer is enough; the others are dropped."""
    read: Callable[[StepResult], StepResult] = lambda result: result
    """What counts of an answer: it may turn out to break a contract that the steps do not know."""
    shown: bool = True
    """Whether whoever watches the run is shown each answer."""


@dataclass(slots=True, kw_only=True)
class Gathering:
    """What has come together in one run, over all rounds."""

    steps: Steps
    manner: Manner
    until: float | None = None
    """UTC seconds since 1970 at which nobody is waited for any more."""
    results: dict[str, StepResult] = field(default_factory=dict[str, StepResult])
    """By name, the first asked first: the last good one of each, else the last."""
    over: bool = False
    """Time is up, or enough have answered."""
    failed: str = ""
    """Why the whole is given up."""
    notices: dict[str, None] = field(default_factory=dict[str, None])
    """Of the whole; see `said`."""
    _of_answers: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """What makes the answer that counts of each less than was asked for."""
    _shown: dict[str, int] = field(default_factory=dict[str, int])
    _given_up: set[str] = field(default_factory=set[str])
    """Those the caller has been asked about."""

    @property
    def good(self) -> dict[str, StepResult]:
        return {name: result for name, result in self.results.items() if result.ok}

    @property
    def gaps(self) -> tuple[Gap, ...]:
        return tuple(
            gap_from(name, result)
            for name, result in self.results.items()
            if not result.ok and not (self.over and self.manner.first and self.good)
        ) + tuple(gap for result in self.good.values() for gap in gaps_in(result))

    @property
    def said(self) -> tuple[str, ...]:
        """Everything that makes less of what came together."""
        of_answers = (notice for name in self.good for notice in self._of_answers.get(name, ()))
        return tuple(dict.fromkeys((*of_answers, *self.notices)))

    async def ask(self, asks: Sequence[Ask]) -> None:
        """Ask them, and take in what they answer."""
        known = {ask.name: ask for ask in asks}
        for name in known:
            # Those are asked in the order of the settings, and end in any.
            self.results.setdefault(name, StepResult(id="", target=known[name].node.target, ok=False))
        latest = await self._gathered(deque(asks))
        while self.manner.on_failure == "ask" and not self.over and not self.failed:
            again = [
                replace(known[name], node=_again(known[name].node, result))
                for name, result in latest.items()
                if not result.ok and name not in self._given_up and await self._try_again(name, result)
            ]
            if not again or self.failed:
                break
            latest = await self._gathered(deque(again))

    async def _gathered(self, waiting: deque[Ask]) -> dict[str, StepResult]:
        latest: dict[str, StepResult] = {}
        under_way: dict[str, Ask] = {}
        while (waiting or under_way) and not self.over and not self.failed:
            while waiting and len(under_way) < self.manner.concurrency:
                ask = waiting.popleft()
                await self.steps.begin(ask.name, ask.node)
                under_way[ask.name] = ask
            found = await self.steps.finished(timeout_s=await self._left())
            if found is None:
                self.over = True
                break
            name, result = found[0], self.manner.read(found[1])
            ask = under_way.pop(name)
            another = await self._another(ask, result)
            if another is not None:
                waiting.appendleft(another)
                continue
            latest[name] = result
            await self._taken(ask, result)
        await self._let_go(under_way, waiting)
        return latest

    async def _taken(self, ask: Ask, result: StepResult) -> None:
        name = ask.name
        if result.ok or not self.results[name].ok:
            self.results[name] = result
        if result.ok:
            self._of_answers[name] = (*filter(None, (ask.notice,)), *notices_in(result))
            if self.manner.shown:
                self._shown[name] = self._shown.get(name, 0) + 1
                part = name if self._shown[name] == 1 else f"{name}-{self._shown[name]}"
                await self.steps.part(part, result.value, text=result.text)
            if self.manner.first:
                self.over = True
                await self.steps.decided("winner", name, because=f"{name} was the first to answer")
        elif self.manner.on_failure == "fail":
            self.failed = f"{name} failed: {result.because}"

    async def _another(self, ask: Ask, result: StepResult) -> Ask | None:
        """Another attempt at it, where one may help."""
        if result.ok:
            return None
        if result.error == "schema" and ask.broke + 1 < self.manner.rounds and result.attempts:
            await self.steps.decided("retry", ask.name, because=f"{ask.name} broke its contract", detail=_why(result))
            return replace(ask, node=_again(ask.node, result), broke=ask.broke + 1)
        stand_in = self.manner.stand_ins.get(result.target)
        if stand_in is None or ask.stood_in or result.error not in _STOOD_IN_FOR:
            return None
        slug = slug_of(stand_in.target)
        await self.steps.decided("fallback", slug, because=f"{slug_of(result.target)} failed", detail=_why(result))
        node = replace(ask.node, target=stand_in.target, again=result.id)
        return replace(ask, node=node, stood_in=True, broke=self.manner.rounds, notice=stand_in.notice)

    async def _let_go(self, under_way: Mapping[str, Ask], waiting: deque[Ask]) -> None:
        """Stop those still at work, and note those never begun."""
        if not under_way and not waiting:
            return
        reason = "time was up" if not self.failed else "another failed"
        reason = "another was first" if self.manner.first and self.good else reason
        error: StepError = "deadline" if reason == "time was up" else "canceled"
        for name in under_way:
            result = self.manner.read(await self.steps.drop(name, reason=f"dropped at work: {reason}"))
            if result.ok and not (self.manner.first and self.good):
                await self._taken(under_way[name], result)
                continue
            await self.steps.decided("drop", name, because=f"still at work when {reason}")
            dropped = replace(result, ok=False, error=error, reason=f"still at work when {reason}")
            self.results[name] = self.results[name] if self.results[name].ok else dropped
        for ask in waiting:
            if not self.results[ask.name].ok:
                self.results[ask.name] = StepResult(
                    id=self.results[ask.name].id,
                    target=ask.node.target,
                    ok=False,
                    error=error,
                    reason=f"not begun when {reason}",
                )

    async def _try_again(self, name: str, result: StepResult) -> bool:
        """Ask the caller what to do about a failure; nothing said is as good as going on without."""
        self._given_up.add(name)
        left = await self._left()
        timeout_s = self.manner.ask_timeout_s if left is None else min(left, self.manner.ask_timeout_s)
        choice = await carried_out(what_to_do(name, result, timeout_s), self.steps, limit=1)
        if choice == "fail":
            self.failed = f"{name} failed: {result.because}"
        return choice == "retry"

    async def _left(self) -> float | None:
        return None if self.until is None else max(0.0, self.until - await self.steps.now())


async def answered(node: Node, steps: Steps) -> StepResult:
    """What a role says; one that broke its contract is told so and asked once more."""
    said = await steps.call(node)
    if said.error != "schema" or not said.attempts:
        return said
    slug = slug_of(node.target)
    await steps.decided("retry", slug, because=f"{slug} broke its contract", detail=_why(said))
    return await steps.call(_again(node, said))


def _again(node: Node, result: StepResult) -> Node:
    """The same once more, with what was wrong; which may be in words of the answer itself, so with its labels."""
    note = f"{node.note}\n{another_way(result)}".strip()
    return replace(node, again=result.id, note=note, labels=node.labels.join(result.labels))


def _why(result: StepResult) -> JsonObject:
    return {"target": result.target, "error": result.error, "reason": result.reason}
