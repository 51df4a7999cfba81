"""Questions of nested runs, put to whoever started the outer one, level by level.

The question stays the nested run's own: there it is kept, there its time runs, there its answer arrives. The outer run
only shows it, one at a time, and an answer to the outer run is handed down (`Control.answered`). So nothing has to be
kept here: after a crash the nested run's log says what is still open.
"""

from dataclasses import dataclass, field

import anyio

from gateway.core.errors import GatewayError
from gateway.core.json import JsonObject
from gateway.core.model import StatusChanged
from gateway.core.ports.journal import RunInterrupted
from gateway.core.ports.runs import Moved, Told
from gateway.core.task import TaskState
from gateway.orchestration.records.events import status_body
from gateway.orchestration.records.orders import Order
from gateway.orchestration.running.bell import Bell
from gateway.orchestration.running.persistence import persistently
from gateway.orchestration.running.waiting import waited_us
from gateway.orchestration.wiring import Wiring

SOON_S = 0.01
"""An end as near as that has come."""


@dataclass(slots=True)
class Floor:
    """Whose question the caller of one run has before them: one at a time, so that it is clear what is answered."""

    asked: dict[str, int] = field(default_factory=dict[str, int])
    """How many questions the agent at work under a message id has asked in this process."""
    open: dict[str, str] = field(default_factory=dict[str, str])
    """Names of the questions that agents wait with, by step id."""
    _taken: bool = False
    _left: Bell = field(default_factory=Bell)

    @property
    def free(self) -> bool:
        return not self._taken

    async def taken(self) -> None:
        while self._taken:
            await self._left.wait()
        self._taken = True

    def left(self) -> None:
        self._taken = False
        self._left.ring()


@dataclass(slots=True, kw_only=True)
class Relay:
    """One delivery of a step that is a run of its own."""

    wiring: Wiring
    floor: Floor
    order: Order
    tenant: str
    _asked: int = 0
    _open: bool = False
    """Whether the question asked last was shown and not yet told to be over."""
    _holds: bool = False

    async def heard(self, event: StatusChanged) -> None:
        """Pass on what the nested run says about its state. What an earlier process passed on counts once."""
        if event.state is TaskState.INPUT_REQUIRED:
            self._asked += 1
            await self._show(event)
        else:
            await self.over(event.task_id)

    async def over(self, nested: str = "") -> None:
        """Nobody has to answer any more, unless the nested run has asked something else. Raises: RunInterrupted."""
        if self._open:
            self._open = False
            # Answered while the gateway was down: then the run still says that it waits.
            moves = (self._holds or self.floor.free) and not (nested and await self._waits(nested))
            await self._tell(f"answered {self._name}", TaskState.WORKING, "", {}, moves=moves)
        if self._holds:
            self._holds = False
            self.floor.left()

    @property
    def _name(self) -> str:
        return f"{self.order.message_id} {self._asked}"

    async def _show(self, event: StatusChanged) -> None:
        nested = event.task_id
        if await self._waits(nested) and not self._holds:
            await self.floor.taken()
            self._holds = True
        # It may have been answered, or its time be over, while others were asked, or while the gateway was down.
        waits = await self._waits(nested)
        detail: JsonObject = {"run": nested, "question": self._asked, "step": self.order.id}
        text = f"{self.order.name}: {event.text}" if event.text else self.order.name
        self._open = True
        await self._tell(f"asked {self._name}", TaskState.INPUT_REQUIRED, text, detail, moves=waits)

    async def _waits(self, nested: str) -> bool:
        run = await persistently(lambda: self.wiring.runs.find(self.tenant, nested))
        return run is not None and run.state == TaskState.INPUT_REQUIRED.value

    async def _tell(self, key: str, state: TaskState, text: str, detail: JsonObject, *, moves: bool) -> None:
        if not self.wiring.journal.holds():
            raise RunInterrupted
        at_us = self.wiring.clock.now_us()
        told = Told(key=key, body={**status_body(state, text), "detail": detail}, at_us=at_us)
        moved = Moved(state=state.value, at_us=at_us) if moves else None
        await persistently(lambda: self.wiring.runs.tell(self.order.run_id, events=(told,), moved=moved))


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Until when a nested run is waited for: the step's time stands still while the run waits for people."""

    wiring: Wiring
    until_s: float
    """When the step's own time is up, monotonic."""
    at_most_s: float
    """When time is up for the outer run."""
    wait: anyio.CancelScope
    """Canceled when time is up."""
    watch: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Canceled by whoever does not wait any longer."""

    async def kept(self, remote_tasks: "dict[str, str]", step_id: str) -> None:
        clock, end_s = self.wiring.clock, self.until_s
        began_us = clock.now_us()
        with self.watch:
            while end_s < self.at_most_s:
                await anyio.sleep(end_s - clock.monotonic_s())
                waited_s = await self._waited_s(remote_tasks.get(step_id, ""), began_us)
                if self.until_s + waited_s <= clock.monotonic_s() + SOON_S:
                    self.wait.cancel()
                    return
                end_s = self.until_s + waited_s

    async def _waited_s(self, nested: str, since_us: int) -> float:
        if not nested:
            return 0.0
        now_us = self.wiring.clock.now_us()
        try:
            return await waited_us(self.wiring.runs, nested, since_us=since_us, now_us=now_us) / 1e6
        except GatewayError:
            return 0.0
