"""What a stream hears of single resources and tasks, and that it goes on hearing of them. Knows no transport."""

import math
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio

from adapters.mcp.wire import FOLLOWED
from gateway.core.errors import Denied, GatewayError, InvalidRequest, NotFound
from gateway.core.model import Emit, Event, Log
from gateway.core.ports.gateway import Gateway

Watched: TypeAlias = Callable[[], tuple[frozenset[str], anyio.Event]]
"""The resources whose changes are told, and what is set when there are others."""
Follow: TypeAlias = Callable[[str, Emit], Awaitable[None]]
"""Has a resource's changes told, until canceled. Raises: GatewayError: not, or no longer."""
Still: TypeAlias = Callable[[str], Awaitable[bool]]
"""Whether a resource's changes may still be told, now that what anybody may do has changed. Raises: GatewayError."""

AGAIN_S = (1.0, 60.0)
"""First and longest pause before a resource that could not be followed is followed again, seconds."""


async def always(uri: str) -> bool:
    """See `Still`."""
    return True


class News:
    """What a stream has to tell next; several changes of one resource or task are one."""

    def __init__(self) -> None:
        self.uris: dict[str, None] = {}
        self._tasks: dict[str, bytes] = {}
        self._told: dict[str, bytes] = {}
        self._some = anyio.Event()

    def stir(self) -> None:
        self._some.set()

    async def wait(self) -> None:
        await self._some.wait()
        self._some = anyio.Event()

    def task_is(self, task_id: str, state: bytes) -> None:
        """All there is to say of a task by now, a JSON object, raw; what it says newly is told."""
        if self._told.get(task_id) != state:
            self._told[task_id] = self._tasks[task_id] = state
            self.stir()

    def take_tasks(self) -> list[bytes]:
        states, self._tasks = [*self._tasks.values()], {}
        return states

    def take(self) -> list[str]:
        uris, self.uris = [*self.uris], {}
        return uris


async def follow_all(watched: Watched, follow: Follow, news: News, gateway: Gateway, still: Still = always) -> None:
    """Follow each resource that is watched, for as long as it is, and may be."""
    followed: dict[str, anyio.CancelScope] = {}
    async with anyio.create_task_group() as group:
        while True:
            wanted, stirred = watched()
            for uri in followed.keys() - wanted:
                followed.pop(uri).cancel()
            for uri in wanted - followed.keys():
                scope = followed[uri] = anyio.CancelScope()
                group.start_soon(_follow, _Followed(uri, follow, news, gateway, still), gateway, scope)
            await stirred.wait()


class _Followed:
    """One resource that is watched."""

    def __init__(self, uri: str, follow: Follow, news: News, gateway: Gateway, still: Still) -> None:
        self._uri = uri
        self._follow = follow
        self._news = news
        self._gateway = gateway
        self._still = still
        self._again = False
        self._judged = ""
        """The version of the gateway at which it may be told of."""
        self._held = False
        """Whether it changed since that is another."""

    async def try_once(self) -> bool:
        """Tell of its changes until that fails, or may be no longer; whether it may be had without anything being
        changed here.
        """
        self._judged, self._held = self._gateway.version, False
        to_be_had = False
        async with anyio.create_task_group() as group:
            group.start_soon(self._judge_again, group.cancel_scope)
            to_be_had = await self._try()
            group.cancel_scope.cancel()
        return to_be_had

    async def _judge_again(self, scope: anyio.CancelScope) -> None:
        """Whenever what anybody may do has changed."""
        while True:
            version = await self._gateway.changed(self._judged)
            try:
                allowed = await self._still(self._uri)
            except GatewayError:
                allowed = False
            if not allowed:
                scope.cancel()
                return
            self._judged = version
            if self._held:
                self._held = False
                self._note()

    async def _try(self) -> bool:
        try:
            await self._follow(self._uri, self._tell)
        except (Denied, NotFound, InvalidRequest):
            return False
        except GatewayError:
            return True
        finally:
            self._again = True
        return True

    async def _tell(self, event: Event) -> None:
        # Whoever begins again may have missed something.
        if not self._again and isinstance(event, Log) and event.text == FOLLOWED:
            return
        if self._gateway.version == self._judged:
            self._note()
        else:
            self._held = True

    def _note(self) -> None:
        self._news.uris[self._uri] = None
        self._news.stir()


async def _follow(resource: _Followed, gateway: Gateway, scope: anyio.CancelScope) -> None:
    first_s, longest_s = AGAIN_S
    pause_s = first_s
    with scope:
        while True:
            version, began_s = gateway.version, anyio.current_time()
            to_be_had = await resource.try_once()
            if anyio.current_time() - began_s > longest_s:
                pause_s = first_s
            with anyio.move_on_after(pause_s if to_be_had else math.inf):
                await gateway.changed(version)
            pause_s = min(2 * pause_s, longest_s)
