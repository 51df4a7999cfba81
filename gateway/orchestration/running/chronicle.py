"""What is told of a run while it is under way: steps and events, written beside it rather than before it goes on.

The journal is the truth of execution, and everything here can be told again from it: whatever a crash cuts off is told
on replay, under the same keys, and counts once. So it is written a moment late and together: a step that begins and
ends within that moment is written once, and all of it shares a commit. What cannot be told again is what an agent calls
its work: that is written at once, and everything that waits with it.
"""

from collections.abc import Awaitable, Callable
from typing import Self, TypeAlias

import anyio
import structlog
from anyio.abc import TaskGroup

from gateway.core.errors import GatewayError
from gateway.core.json import JsonObject
from gateway.core.ports.journal import RunInterrupted
from gateway.core.ports.orchestration import StepResult
from gateway.core.ports.runs import Told
from gateway.orchestration.records.orders import Order
from gateway.orchestration.running.bell import Bell, Latch
from gateway.orchestration.wiring import Wiring

log = structlog.get_logger(__name__)

LINGER_S = 0.05
EVENTS_AT_MOST = 256
"""Events that may wait to be written; whoever tells more waits for them."""
DRAIN_S = 10.0

_Place: TypeAlias = tuple[str, int]
_Standing: TypeAlias = tuple[Order, StepResult, str]
"""What a step's row is made of, once it is known that it will be written."""


class Chronicle:
    """One per run, as a context within which it is told; its writing goes on in the run's task group."""

    def __init__(self, wiring: Wiring, run_id: str, group: TaskGroup) -> None:
        self._wiring = wiring
        self._run_id = run_id
        self._group = group
        self._steps: dict[_Place, _Standing] = {}
        self._events: list[Told] = []
        self._closed: list[str] = []
        self._writing = False
        """Whether there is a writer; a run that only waits has none."""
        self._hurry, self._written = Latch(), Bell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing more will be told."""
        self._hurry.set()

    def step(self, order: Order, result: StepResult, state: str = "") -> None:
        """A step as it stands now; `state` as in `Order.row`."""
        self._steps[order.place(result)] = (order, result, state)
        self._write_soon()

    async def step_at_once(self, order: Order, result: StepResult, state: str) -> None:
        """As `step`, and everything told so far is written when this returns. Raises: RunInterrupted; Unavailable."""
        if not self._wiring.journal.holds():
            raise RunInterrupted
        self._steps[order.place(result)] = (order, result, state)
        await self._flush()

    def over(self, order: Order, result: StepResult) -> None:
        """The attempt has its outcome, which will be told: what it was like before need not be."""
        place = order.place(result)
        standing = self._steps.get(place)
        if standing is not None and standing[2] == "running":
            del self._steps[place]

    def closed(self, step_id: str) -> None:
        """The step's token is worth nothing from now on."""
        self._wiring.open_steps.shut(self._run_id, step_id)
        self._closed.append(step_id)
        self._write_soon()

    def reopens(self, step_id: str) -> None:
        """The step is about to be open once more: a closing that still waits to be written must not come after that."""
        while step_id in self._closed:
            self._closed.remove(step_id)
            self._wiring.open_steps.swept(self._run_id, step_id)

    async def event(self, key: str, body: JsonObject) -> None:
        """An event of the run, counted once per `key`."""
        if len(self._events) >= EVENTS_AT_MOST:
            await self.drained()
        self._events.append(Told(key=key, body=body, at_us=self._wiring.clock.now_us()))
        self._write_soon()

    async def drained(self) -> None:
        """Return once everything told so far is written, or could not be."""
        with anyio.move_on_after(DRAIN_S):
            while self._writing:
                self._hurry.set()
                await self._written.wait()

    def _write_soon(self) -> None:
        if not self._writing:
            self._writing = True
            self._group.start_soon(self._write)

    async def _write(self) -> None:
        try:
            while self._steps or self._events or self._closed:
                with anyio.move_on_after(LINGER_S):
                    await self._hurry.wait()
                self._hurry = Latch()
                await self._guarded(self._flush)
                self._written.ring()
        finally:
            # Of a run that was cut off: what it had open goes with its end.
            self._sweep(self._closed)
        self._writing = False
        self._written.ring()

    def _sweep(self, closed: list[str]) -> None:
        while closed:
            self._wiring.open_steps.swept(self._run_id, closed.pop())

    async def _flush(self) -> None:
        """Write what waits, in one transaction. Raises: Unavailable: none of it will be."""
        steps, self._steps = self._steps, {}
        events, self._events = self._events, []
        closed, self._closed = self._closed, []
        rows = [order.row(result, state=state) for order, result, state in steps.values()]
        try:
            if rows or events or closed:
                await self._wiring.runs.tell(self._run_id, steps=rows, events=events, closed=closed)
        finally:
            self._sweep(closed)

    async def _guarded(self, act: Callable[[], Awaitable[object]]) -> None:
        if not self._wiring.journal.holds():
            return  # whoever runs the run now tells it
        try:
            await act()
        except GatewayError as error:
            # What is told of a run is no part of it; the journal still has everything.
            log.warning("a run's chronicle has a gap", run=self._run_id, reason=error.message)
