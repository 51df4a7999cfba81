"""Steps that were begun and go on beside the pattern. Knows their names and ends, and not how a step is done."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from gateway.core.errors import Internal, InvalidRequest
from gateway.core.json import JsonObject, json_text
from gateway.core.ports.journal import RunInterrupted, Slot
from gateway.core.ports.orchestration import StepResult
from gateway.orchestration.records.orders import Order
from gateway.orchestration.running.bell import Bell
from gateway.orchestration.running.pauses import Gate


@dataclass(slots=True, kw_only=True)
class Begun:
    """One step under way."""

    order: Order
    slot: Slot
    work: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Around the work itself: canceled, the step still ends, with a result that says so."""
    whole: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Around everything: canceled, nothing is left of it but what the journal has."""
    dropped: str = ""
    """Why it was stopped."""
    result: StepResult | None = None
    done: anyio.Event = field(default_factory=anyio.Event)


Do = Callable[[Begun], Awaitable[StepResult]]


class BegunSteps:
    """Those of one run."""

    def __init__(self, group: TaskGroup, gate: Gate, do: Do) -> None:
        self._group = group
        self._gate = gate
        self._do = do
        self._under_way: dict[str, Begun] = {}
        self._ended: list[str] = []
        """Names of those that have ended and were not asked for yet, the first to end first."""
        self._failures: list[Internal | RunInterrupted] = []
        self._changed = Bell()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._under_way)

    def start(self, name: str, begun: Begun) -> None:
        """Raises: InvalidRequest: a step of this name is under way."""
        if name in self._under_way:
            raise InvalidRequest(f"a step called {name} is under way already")
        self._under_way[name] = begun
        self._group.start_soon(self._run, name, begun)

    async def next(self, slot: Slot, timeout_s: float | None) -> tuple[Begun, StepResult] | None:
        """The next to end, as the journal has it or will have it. Raises: Internal; RunInterrupted."""

        async def act() -> JsonObject:
            await self._wait(timeout_s)
            if self._failures:
                raise self._failures[0]
            return {"name": self._ended[0] if self._ended else ""}

        try:
            name = json_text((await slot.run("finished", act))["name"])
        except RunInterrupted:
            self._raise_failure()
            raise
        return await self._taken(name) if name else None

    async def stopped(self, name: str, reason: str) -> tuple[Begun, StepResult]:
        """Stop one and wait for its end. Raises: InvalidRequest: no such step; Internal; RunInterrupted."""
        begun = self._under_way.get(name)
        if begun is None:
            raise InvalidRequest(f"no step called {name} is under way")
        begun.dropped = reason
        begun.work.cancel()
        return await self._taken(name)

    def abandon(self) -> None:
        """Let go of all of them at once; the journal has what had ended."""
        for begun in self._under_way.values():
            begun.whole.cancel()

    async def _wait(self, timeout_s: float | None) -> None:
        """Until one has ended, or time is up on the run's clock, which stands still while the run is paused."""
        while not self._ended and not self._failures:
            held_s = self._gate.held_s
            with anyio.move_on_after(timeout_s):
                await self._changed.wait()
                continue
            timeout_s = await self._gate.stood_still(held_s)
            if timeout_s <= 0:
                return

    async def _taken(self, name: str) -> tuple[Begun, StepResult]:
        begun = self._under_way[name]
        await begun.done.wait()
        if begun.result is None:
            self._raise_failure()
            raise RunInterrupted
        del self._under_way[name]
        self._ended = [each for each in self._ended if each != name]
        return begun, begun.result

    async def _run(self, name: str, begun: Begun) -> None:
        try:
            with begun.whole:
                begun.result = await self._do(begun)
        except (Internal, RunInterrupted) as failure:
            self._failures.append(failure)
        if begun.result is not None:
            self._ended.append(name)
        begun.done.set()
        self._changed.ring()

    def _raise_failure(self) -> None:
        if self._failures:
            raise self._failures[0]
