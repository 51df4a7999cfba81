"""One write for what an answer says in one go: its head and its body. Built on asyncio's transports, under uvicorn.

Uvicorn writes the head of an answer and its body separately, and each write is a system call and a wake-up of whoever
reads. Here what is written in one turn of the event loop leaves together at its end; nothing is held back longer.
"""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Gathering(asyncio.Transport):
    """A transport whose writes of one turn of the loop become one. Everything else goes to `inner` at once."""

    __slots__ = ("_inner", "_loop", "_parts")

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(bytes(data))

    def _flush(self) -> None:
        parts = self._parts
        if parts:
            self._parts = []
            self._inner.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        self._flush()
        self._inner.close()

    def abort(self) -> None:
        self._parts.clear()
        self._inner.abort()

    def is_closing(self) -> bool:
        return self._inner.is_closing()

    def pause_reading(self) -> None:
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        self._inner.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._inner.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._inner.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._inner.get_protocol()


class GatheringProtocol(HttpToolsProtocol):
    """Uvicorn's own protocol over a `Gathering` transport, with a limit to how long the head of a request may take.

    Uvicorn has none: connections that never finish their first line would fill its places for good, and nobody has to
    be known to hold one.
    """

    head_within_s: ClassVar[float] = 15.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn's own
        super().connection_made(Gathering(transport, self.loop))
        self._in_head = True
        self._patience: asyncio.TimerHandle | None = self.loop.call_later(self.head_within_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # A head usually comes whole, within the call above: then there is a timer for the connection's first one only.
        if not self._in_head:
            self._lose_no_patience()
        elif self._patience is None:
            self._patience = self.loop.call_later(self.head_within_s, self.transport.abort)

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose_no_patience()
        super().connection_lost(exc)

    def _lose_no_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
