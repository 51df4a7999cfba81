"""Stops the steps of a run that was canceled and has something to undo: they end, and the run goes on to undo it.

A run with nothing to undo needs none of this: its journal is told, and it ends where it stands.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from gateway.orchestration.pauses import Gate

LOOK_AGAIN_S = 1.0
"""How often a run that may be canceled by another process looks whether it was."""


@dataclass(slots=True, kw_only=True)
class Stopping:
    """Of one run."""

    gate: Gate
    undoes: Callable[[], bool]
    """Whether the run may have something to undo."""
    withdraw: Callable[[], Awaitable[None]]
    """Have what the run asks its caller answered with nothing."""
    watch: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Canceled when there is nothing more to stop."""
    _scopes: list[anyio.CancelScope] = field(default_factory=list[anyio.CancelScope])

    async def watched(self) -> None:
        """Stop everything once the run is canceled."""
        with self.watch:
            await self._canceled()
            for scope in self._scopes:
                scope.cancel()
            await self.withdraw()

    @contextmanager
    def around(self, scope: anyio.CancelScope) -> Generator[None]:
        """Within this the scope is canceled when the run is."""
        self._scopes.append(scope)
        try:
            with scope:
                yield
        finally:
            self._scopes.remove(scope)

    async def _canceled(self) -> None:
        if self.gate.alone:
            await self.gate.canceled.wait()
        while not self.gate.canceled.is_set():
            with anyio.move_on_after(LOOK_AGAIN_S):
                await self.gate.canceled.wait()
            if self.undoes():
                await self.gate.look()
