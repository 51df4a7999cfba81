"""What is told of a run while it is under way: steps and events, written beside it rather than before it goes on.

The journal is the truth of execution, and everything here can be told again from it: whatever a crash cuts off is told
on replay, under the same keys, and counts once.
"""

from collections.abc import Awaitable, Callable
from typing import Self, TypeAlias

import anyio
import structlog

from gateway.core.errors import GatewayError
from gateway.core.json import JsonObject
from gateway.core.ports.orchestration import RunStep
from gateway.orchestration.wiring import Wiring

log = structlog.get_logger(__name__)

QUEUED_AT_MOST = 256
DRAIN_S = 10.0

_Write: TypeAlias = Callable[[], Awaitable[object]]


class Chronicle:
    """One per run, as a context within which it is told. `write` runs beside the run, in its task group."""

    def __init__(self, wiring: Wiring, run_id: str) -> None:
        self._wiring = wiring
        self._run_id = run_id
        self._send, self._receive = anyio.create_memory_object_stream[_Write](QUEUED_AT_MOST)

    async def write(self) -> None:
        """Write what is told, in order, until nothing more will be."""
        async with self._receive:
            async for act in self._receive:
                try:
                    await act()
                except GatewayError as error:
                    # What is told of a run is no part of it; the journal still has everything.
                    log.warning("a run's chronicle has a gap", run=self._run_id, reason=error.message)

    async def step(self, step: RunStep) -> None:
        """A step as it stands now."""
        await self._send.send(lambda: self._wiring.runs.note_step(step))

    async def closed(self, step_id: str) -> None:
        """The step's token is worth nothing from now on."""
        await self._send.send(lambda: self._wiring.open_steps.close(self._run_id, step_id))

    async def event(self, key: str, body: JsonObject) -> None:
        """An event of the run, counted once per `key`."""
        at_us = self._wiring.clock.now_us()
        await self._send.send(lambda: self._wiring.runs.append(self._run_id, key, body, at_us))

    async def drained(self) -> None:
        """Return once everything told so far is written."""
        written = anyio.Event()

        async def mark() -> None:
            written.set()

        with anyio.move_on_after(DRAIN_S):
            await self._send.send(mark)
            await written.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing more will be told."""
        self._send.close()
