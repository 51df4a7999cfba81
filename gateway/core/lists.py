"""Keeps every upstream's lists warm, each on its own, so that nobody waits for one that hangs.

Owns one task per upstream. Knows upstreams only by their port.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import anyio
import structlog
from anyio.abc import TaskGroup

from gateway.core.catalog import Shelf
from gateway.core.errors import GatewayError
from gateway.core.limits import Limits
from gateway.core.ports.upstream import Listing, Upstream

log = structlog.get_logger(__name__)

LIST_ATTEMPT_S = 40.0
"""The longest one attempt to read an upstream's lists may take, seconds: more than any upstream gives itself, so that a
program that is slow to start is not ended, and begun anew, over and over."""
CLOSE_S = 10.0
"""The longest an upstream may take to close, seconds."""
FIRST_RETRY_S = 0.5


Watch: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Listens for changes of an upstream's lists until canceled; ends by itself where there is nothing to hear."""

Inspect: TypeAlias = Callable[[str, Listing], Awaitable[Listing]]
"""Looks at what an upstream listed before anybody sees it, and gives it as it may be shown; raises GatewayError."""


async def _as_it_is(owner: str, listing: Listing) -> Listing:
    return listing


class _Keeper:
    """The task that keeps one upstream's lists warm."""

    def __init__(self, upstream: Upstream, watch: Watch | None) -> None:
        self.upstream = upstream
        self.watch = watch
        self.scope = anyio.CancelScope()
        self.wanted = anyio.Event()

    def poke(self) -> None:
        self.wanted.set()


class Lists:
    """Reads lists at the start, when told that they changed, after a failure, and every `limits.refresh_s`."""

    def __init__(
        self, shelf: Shelf, *, limits: Limits, on_change: Callable[[], None], inspect: Inspect = _as_it_is
    ) -> None:
        self._shelf = shelf
        self._limits = limits
        self._inspect = inspect
        self._on_change = on_change
        self._keepers: dict[str, _Keeper] = {}
        self._tasks: TaskGroup | None = None

    def start(self, tasks: TaskGroup) -> None:
        """Keep lists warm in `tasks` from now on, those added before included."""
        self._tasks = tasks
        for keeper in self._keepers.values():
            tasks.start_soon(self._keep, keeper)

    def add(self, upstream: Upstream, tenant: str, watch: Watch | None = None) -> None:
        """Keep an upstream's lists; it shows up as `starting` until it has answered.

        `watch` runs beside, for as long as the upstream is kept: it listens for changes and pokes.
        """
        keeper = _Keeper(upstream, watch)
        self._keepers[upstream.name] = keeper
        self._shelf.add(upstream, tenant)
        if self._tasks is not None:
            self._tasks.start_soon(self._keep, keeper)

    def retire(self, owner: str) -> None:
        """Take an upstream off the shelf; it is closed once the calls under way have had their time."""
        keeper = self._keepers.pop(owner, None)
        if keeper is None:
            return
        self._shelf.remove(owner)
        keeper.scope.cancel()
        if self._tasks is not None:
            self._tasks.start_soon(self._close_later, keeper.upstream)

    def poke(self, owner: str) -> None:
        """An upstream said that its lists changed: read them again now."""
        keeper = self._keepers.get(owner)
        if keeper is not None:
            keeper.poke()

    async def aclose(self) -> None:
        """Close every upstream, all at once."""
        async with anyio.create_task_group() as tasks:
            for keeper in self._keepers.values():
                tasks.start_soon(keeper.upstream.aclose)

    async def _close_later(self, upstream: Upstream) -> None:
        try:
            await anyio.sleep(self._limits.call_timeout_s)
        finally:
            with anyio.move_on_after(CLOSE_S, shield=True):
                await upstream.aclose()

    async def _keep(self, keeper: _Keeper) -> None:
        with keeper.scope:
            async with anyio.create_task_group() as beside:
                if keeper.watch is not None:
                    beside.start_soon(self._listen, keeper.upstream.name, keeper.watch)
                await self._keep_reading(keeper)

    async def _listen(self, name: str, watch: Watch) -> None:
        try:
            await watch()
        except Exception:
            # A task boundary: without it the lists are still read again now and then.
            log.exception("no longer listening for changes", upstream=name)

    async def _keep_reading(self, keeper: _Keeper) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            keeper.wanted = anyio.Event()
            if await self._read(keeper.upstream):
                pause_s, retry_s = self._limits.refresh_s, FIRST_RETRY_S
            else:
                pause_s, retry_s = retry_s, min(retry_s * 2, self._limits.refresh_s)
            with anyio.move_on_after(pause_s):
                await keeper.wanted.wait()

    async def _read(self, upstream: Upstream) -> bool:
        problem = for_operators = ""
        try:
            with anyio.fail_after(LIST_ATTEMPT_S):
                listing = await self._inspect(upstream.name, await upstream.capabilities())
        except TimeoutError:
            problem = f"did not answer within {LIST_ATTEMPT_S:g} s"
        except GatewayError as error:
            problem, for_operators = error.message, error.for_operators
        except Exception:
            # A task boundary: one upstream's adapter failing must not end the lists of the others.
            log.exception("listing failed", upstream=upstream.name)
            problem = "the gateway failed to read its lists; the log has the rest"
        else:
            if self._shelf.arrived(upstream.name, listing):
                self._on_change()
            return True
        if self._shelf.failed(upstream.name, problem, for_operators):
            log.warning("upstream not listed", upstream=upstream.name, problem=for_operators or problem)
            self._on_change()
        return False
