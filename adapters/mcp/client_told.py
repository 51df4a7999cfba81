"""What a legacy server is told once for all calls of a session: the log level that is wanted, that roots changed. Pure.

And whom it may tell something that belongs to no call.
"""

from collections.abc import Generator
from contextlib import contextmanager
from weakref import WeakSet

from adapters.mcp.client_levels import LowestLevel, level_of
from adapters.mcp.wire import Client, Params, SaidBefore
from gateway.core.json import JsonObject, json_object
from gateway.core.model import Request

ROOTS_CHANGED: JsonObject = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}


class Told:
    """What the server of one session knows of those who use it."""

    def __init__(self, able: JsonObject, offered: JsonObject) -> None:
        """`able`: what the session declared to the server; `offered`: what the server declared in turn."""
        self._with_roots = json_object(able.get("roots")).get("listChanged") is True
        self._logs = isinstance(offered.get("logging"), dict)
        self._levels = LowestLevel()
        self._roots: object = None
        self._clients: WeakSet[Client] = WeakSet()

    def met(self, request: Request) -> None:
        """A client calls in this session."""
        said = _said_before(request)
        if said is not None and said.client is not None:
            self._clients.add(said.client)

    def say(self, raw: bytes) -> None:
        """The server says something to the session's clients: until 2025-11-25 they have streams for it."""
        for client in tuple(self._clients):
            client.say(raw)

    def new_level(self, number: int, request: Request) -> str:
        """The log level to be told before this call; empty where there is nothing to be told."""
        if not self._logs:
            return ""
        said = _said_before(request)
        return self._levels.want(number, level_of(request), None if said is None else said.client)

    def forget(self, number: int) -> None:
        """A call is over."""
        self._levels.forget(number)

    @contextmanager
    def noted(self, number: int) -> Generator[int]:
        """For the time of a call: what it wants is forgotten with it."""
        try:
            yield number
        finally:
            self.forget(number)

    def other_roots(self, request: Request) -> bool:
        """Whether the roots are others than at the last call: the client changed them, or it is another client."""
        said = _said_before(request)
        if not self._with_roots or said is None or said.roots is None:
            return False
        before, self._roots = self._roots, said.roots
        return before not in (None, said.roots)


def _said_before(request: Request) -> SaidBefore | None:
    return request.body.said_before if isinstance(request.body, Params) else None
