"""Sessions with a legacy MCP server (until 2025-11-25), one per caller: what one caller set up is never another's."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import anyio

from adapters.mcp.client_told import Told
from adapters.mcp.wire import encode
from gateway.core.errors import DeadlineExceeded
from gateway.core.json import JsonObject
from gateway.core.model import Request
from gateway.core.ports.world import Clock

Key: TypeAlias = tuple[str, str, str]
"""Tenant, who calls (see `caller_of`), and what of the client's capabilities servers make use of, as JSON: servers
offer and ask according to them, so one caller's two clients are two. Empty strings are the gateway itself."""
GATEWAY: Key = ("", "", "")
_SHARE = 2
"""Whoever has more than this fraction of the places makes room for itself: a client can declare what it can be asked in
many ways."""


def caller_of(request: Request) -> tuple[str, str]:
    """Tenant, and everybody from whoever began it to whoever calls, as JSON: one workflow calls for many, and what is
    asked of one of them is not the others' to hear or to answer."""
    who = request.principal
    return who.tenant, encode(who.chain).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An initialized session."""

    id: bytes
    """Empty where the server keeps no state."""
    lines: bytes
    """Headers of every request in it."""
    init: JsonObject = field(repr=False)
    """The result of `initialize`."""
    told: Told = field(repr=False, compare=False)
    whose: Key = GATEWAY

    @property
    def mark(self) -> tuple[Key, bytes]:
        """What tells it from all others of its server, which may say the same id to two callers."""
        return self.whose, self.id


@dataclass(slots=True)
class _Place:
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    session: Session | None = None
    used_s: float = 0.0


class Sessions:
    """The sessions that are open; beyond the limit the one used longest ago is forgotten."""

    def __init__(
        self,
        open_session: Callable[[Key, float], Awaitable[Session]],
        let_go: Callable[[Session], None],
        lost: Callable[[Session], None],
        *,
        most: int,
        idle_s: float,
        clock: Clock,
    ) -> None:
        """`open_session` takes whose it is to be, and a deadline, monotonic seconds; `let_go` is told of each session
        that is forgotten, though calls may still be under way in it, `lost` of each that its server has forgotten."""
        self._open = open_session
        self._let_go = let_go
        self._lost = lost
        self._most = most
        self._idle_s = idle_s
        self._clock = clock
        self._places: OrderedDict[Key, _Place] = OrderedDict()

    async def get(self, key: Key, deadline_s: float) -> Session:
        """The caller's session, initialized now if there is none. Raises: what initializing raises."""
        now_s = self._clock.monotonic_s()
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place()
            self._make_room(key, now_s)
        else:
            self._places.move_to_end(key)
        if place.session is not None and now_s - place.used_s <= self._idle_s:
            place.used_s = now_s
            return place.session
        try:
            with anyio.fail_after(max(0.0, deadline_s - now_s)):
                async with place.lock:
                    if place.session is None or now_s - place.used_s > self._idle_s:
                        self._forget(place)
                        place.session = await self._open(key, deadline_s)
                        place.used_s = self._clock.monotonic_s()
                    return place.session
        except TimeoutError as error:
            raise DeadlineExceeded(
                "the session with the server was not ready in time", detail={"sent": False}
            ) from error

    def now(self, key: Key) -> Session | None:
        """The session there is, if there is one."""
        place = self._places.get(key)
        return None if place is None else place.session

    def drop(self, key: Key, session: Session) -> None:
        """The server no longer knows this session; another that was opened meanwhile stays."""
        place = self._places.get(key)
        if place is not None and place.session is session:
            place.session = None
            self._lost(session)

    def take_all(self) -> list[Session]:
        """Every open session, which is then forgotten."""
        places, self._places = self._places, OrderedDict()
        return [place.session for place in places.values() if place.session is not None]

    def _make_room(self, newest: Key, now_s: float) -> None:
        full = len(self._places) > self._most
        own = full and sum(each[:2] == newest[:2] for each in self._places) > max(1, self._most // _SHARE)
        for key, oldest in tuple(self._places.items())[:-1]:
            if oldest.lock.locked():
                continue  # it is being opened: of one that has no place by then nobody would tell its server the end
            idle = oldest.session is not None and now_s - oldest.used_s > self._idle_s
            if not idle and len(self._places) <= self._most:
                return
            if idle or not own or key[:2] == newest[:2]:
                self._forget(self._places.pop(key))

    def _forget(self, place: _Place) -> None:
        session, place.session = place.session, None
        if session is not None:
            self._let_go(session)
