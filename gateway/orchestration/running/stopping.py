"""Stops the steps of a run that was canceled and has something to undo: they end, and the run goes on to undo it.

A run with nothing to undo needs none of this: its journal is told, and it ends where it stands.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from gateway.core.errors import Unavailable
from gateway.core.ports.journal import RunInterrupted
from gateway.orchestration.running.pauses import Gate

LOOK_AGAIN_S = 1.0
"""How often a run that may be canceled by another process looks whether it was."""


@dataclass(slots=True, kw_only=True)
class Stopping:
    """Of one run."""

    gate: Gate
    group: TaskGroup
    withdraw: Callable[[], Awaitable[None]]
    """Have what the run asks its caller answered with nothing."""
    _watch: anyio.CancelScope | None = None
    _scopes: list[anyio.CancelScope] = field(default_factory=list[anyio.CancelScope])

    def begin(self) -> None:
        """From now on the run may have something to undo: stop everything once it is canceled."""
        if self._watch is None:
            self._watch = anyio.CancelScope()
            self.group.start_soon(self._stop_when_canceled, self._watch)

    def end(self) -> None:
        """There is nothing more to stop."""
        if self._watch is not None:
            self._watch.cancel()

    @contextmanager
    def around(self, scope: anyio.CancelScope) -> Generator[None]:
        """Within this the scope is canceled when the run is."""
        self._scopes.append(scope)
        try:
            with scope:
                yield
        finally:
            self._scopes.remove(scope)

    async def _stop_when_canceled(self, watch: anyio.CancelScope) -> None:
        with watch:
            await self._canceled()
            for scope in self._scopes:
                scope.cancel()
            while not await _answered(self.withdraw):  # noqa: ASYNC110 - nobody tells when a storage is back
                await anyio.sleep(LOOK_AGAIN_S)

    async def _canceled(self) -> None:
        if self.gate.alone:
            await self.gate.canceled.wait()
        while not self.gate.canceled.is_set():
            with anyio.move_on_after(LOOK_AGAIN_S):
                await self.gate.canceled.wait()
            await _answered(self.gate.look)


async def _answered(ask: Callable[[], Awaitable[None]]) -> bool:
    """Whether the storage answered. That it does not is no reason to end a run that needs nothing of it meanwhile."""
    try:
        await ask()
    except (RunInterrupted, Unavailable):
        return False
    return True
