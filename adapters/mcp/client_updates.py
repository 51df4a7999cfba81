"""Who wants to hear that a resource of a server changed. One subscription with the server serves all of them.

Knows neither era nor transport: whoever listens to the server asks for `uris`, and says what it heard.
"""

from collections.abc import Awaitable, Callable, Mapping

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from adapters.mcp.wire import FOLLOWED, Frame, encode
from gateway.core.errors import Unavailable
from gateway.core.json import JsonObject
from gateway.core.model import Emit, Log

UPDATED = "notifications/resources/updated"
_WAITING = 16
"""Of one listener; it hears that something changed, not how often."""


class Updates:
    """The listeners of one server."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[MemoryObjectSendStream[None]]] = {}
        self.changed = anyio.Event()
        """Set, and replaced, when `uris` changes."""

    @property
    def uris(self) -> tuple[str, ...]:
        """What somebody wants to hear about."""
        return tuple(sorted(self._listeners))

    async def follow(self, uri: str, emit: Emit, begin: Callable[[], Awaitable[None]] | None = None) -> None:
        """Tell `emit` of each change, until canceled; what comes once `begin` has begun is heard already.

        Raises: Unavailable: nobody listens to the server any more; what `begin` raises.
        """
        await emit(Log(level="debug", text=FOLLOWED))  # first, for those who only want to know whether they may
        send, receive = anyio.create_memory_object_stream[None](_WAITING)
        listeners = self._listeners.setdefault(uri, set())
        listeners.add(send)
        if len(listeners) == 1:
            self._stir()
        try:
            if begin is not None:
                await begin()
            async for _ in receive:
                message: JsonObject = {"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": uri}}
                await emit(Log(level="info", text=UPDATED, native=Frame(encode(message))))
        finally:
            send.close()
            receive.close()
            listeners.discard(send)
            if not listeners and self._listeners.get(uri) is listeners:
                del self._listeners[uri]
                self._stir()
        raise Unavailable("the server is not listened to any more")

    def end(self) -> None:
        """Nobody listens to the server any more: those who follow learn of it."""
        for listeners in self._listeners.values():
            for send in listeners:
                send.close()

    def publish(self, params: Mapping[str, object]) -> None:
        """The server said that a resource changed."""
        for send in self._listeners.get(str(params.get("uri")), ()):
            try:
                send.send_nowait(None)
            except (anyio.WouldBlock, anyio.ClosedResourceError):
                continue  # it has not read of earlier changes yet, or of the end

    def publish_all(self) -> None:
        """The server could not be heard for a while: any of them may have changed."""
        for uri in self.uris:
            self.publish({"uri": uri})

    def _stir(self) -> None:
        woken, self.changed = self.changed, anyio.Event()
        woken.set()
