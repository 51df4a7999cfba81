"""The gateway's own session with a legacy server: what it is subscribed to, and the stream it is told by.

A server that was started again knows neither. Its sessions are opened anew then, and what was wanted is said again.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from adapters.mcp.client_exchange import Wire
from adapters.mcp.client_sessions import GATEWAY, Session, Sessions
from adapters.mcp.client_watch import listen_legacy
from adapters.net.response import Response
from gateway.core.errors import InvalidRequest, NotFound, UpstreamFailed
from gateway.core.json import JsonObject

_UNKNOWN = (400, 404)
"""MCP 2025-11-25, transports, "session management": 404 is the answer to whoever names a session the server does not
know; many servers say 400 instead."""
_MOST_ROUNDS = 3

Ask = Callable[[str, JsonObject, float], Awaitable[JsonObject]]
"""Makes a request in the gateway's own session: method, parameters, deadline."""


class Subscribed:
    """What one server has been asked to tell the gateway of."""

    def __init__(self, wire: Wire, sessions: Sessions, ask: Ask) -> None:
        self._wire = wire
        self._sessions = sessions
        self._ask = ask
        self._session: Session | None = None
        self._said: dict[str, Session | None] = {}
        """Resources, each with the session it was asked for in."""

    @property
    def session(self) -> Session | None:
        """The one that was subscribed last."""
        return self._session

    @property
    def any(self) -> bool:
        return bool(self._said)

    async def subscribe(self, wanted: tuple[str, ...], deadline_s: float) -> None:
        """Subscribe the gateway's own session to these resources, and to no others."""
        for _ in range(_MOST_ROUNDS):
            session = self._session = await self._sessions.get(GATEWAY, deadline_s)
            self._said = {uri: where for uri, where in self._said.items() if where is session}
            if self._said.keys() == set(wanted):
                return
            for uri in sorted(self._said.keys() - set(wanted)):
                await self._say("resources/unsubscribe", uri, deadline_s)
                del self._said[uri]
            for uri in sorted(set(wanted) - self._said.keys()):
                await self._say("resources/subscribe", uri, deadline_s)
                self._said[uri] = self._sessions.now(GATEWAY)  # another, where the server had forgotten the one before

    async def _say(self, method: str, uri: str, deadline_s: float) -> None:
        with suppress(InvalidRequest, NotFound, UpstreamFailed):  # nothing will be heard of it then
            await self._ask(method, {"uri": uri}, deadline_s)

    async def listen(self, wanted: tuple[str, ...], within_s: float, deadline_s: float) -> tuple[bytes, Response]:
        """The stream the server tells by, for as long as `deadline_s`, and the headers of its session.

        A session from before that the server no longer knows gives way to another, once: what a fresh one is refused
        is not to be had. Raises: see `Wire.result`.
        """
        before = self._sessions.now(GATEWAY)
        while True:
            await self.subscribe(wanted, within_s)
            session = await self._sessions.get(GATEWAY, within_s)
            response = await listen_legacy(self._wire, session.lines, deadline_s)
            if response.status not in _UNKNOWN or not session.id or session is not before:
                return session.lines, response
            response.close()
            self._sessions.drop(GATEWAY, session)
