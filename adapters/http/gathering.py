"""One write for what an answer says in one go: its head and its body. Built on asyncio's transports, under uvicorn.

Uvicorn writes the head of an answer and its body separately, and each write is a system call and a wake-up of whoever
reads. Here what is written in one turn of the event loop leaves together at its end; nothing is held back longer.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.core.ports.gateway import LAST_WORD

LINGER_S = 2.0
"""For how long a client that is still sending what was refused is listened to, so that it gets to read why."""
GATHERED_BYTES = 65_536
"""What is held back at most: whoever writes more has to see that nobody reads it, also within one turn of the loop."""
UNREAD_S = 10.0
"""How long a client that does not read is waited for once its connection is to be closed."""


class Gathering(asyncio.Transport):
    """A transport whose writes of one turn of the loop become one. Everything else goes to `inner` at once.

    Closed in the middle of a request, it says that nothing more comes from here, and lets go a little later: a
    connection with unread bytes in it is reset, and a reset takes the answer away from whoever has not read it yet
    (RFC 9112, section 9.6).
    """

    __slots__ = ("_held_bytes", "_inner", "_lingering", "_loop", "_midway", "_parts", "_unread_s")

    def __init__(
        self,
        inner: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        midway: Callable[[], bool] = lambda: False,
        unread_s: float = UNREAD_S,
    ) -> None:
        """`midway`: whether the rest of a request is still to come. `unread_s`: see `UNREAD_S`."""
        self._unread_s = unread_s
        self._inner = inner
        self._loop = loop
        self._midway = midway
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._lingering: asyncio.TimerHandle | None = None

    @property
    def lingering(self) -> bool:
        """What comes now is read by nobody."""
        return self._lingering is not None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(bytes(data))
        self._held_bytes += len(data)
        if self._held_bytes >= GATHERED_BYTES:
            self._flush()

    def _flush(self) -> None:
        parts = self._parts
        if parts:
            self._parts, self._held_bytes = [], 0
            self._inner.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        self._flush()
        if self._lingering is not None or self._inner.is_closing():
            return
        if not self._midway() or not self._inner.can_write_eof():
            self._let_go()
            return
        self._inner.write_eof()
        # Whoever took no more of the body may have stopped it.
        self._inner.resume_reading()
        self._lingering = self._loop.call_later(LINGER_S, self._let_go)

    def _let_go(self) -> None:
        """Close what is written and read; what nobody reads would keep the connection and its buffer for good."""
        self._inner.close()
        if self._inner.get_write_buffer_size():
            self._lingering = self._loop.call_later(self._unread_s, self._inner.abort)

    def lost(self) -> None:
        """The connection is gone."""
        if self._lingering is not None:
            self._lingering.cancel()

    def abort(self) -> None:
        self._parts.clear()
        self._inner.abort()

    def is_closing(self) -> bool:
        return self._lingering is not None or self._inner.is_closing()

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
    unread_s: ClassVar[float] = UNREAD_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn's own
        self._gathering = Gathering(transport, self.loop, lambda: self._midway, self.unread_s)
        super().connection_made(self._gathering)
        self._in_head, self._midway = True, False
        self._patience: asyncio.TimerHandle | None = self.loop.call_later(self.head_within_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._gathering.lingering:
            return
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
        self._in_head, self._midway = False, True
        super().on_headers_complete()
        self.scope["extensions"] = {LAST_WORD: {"call": partial(self._last_word, self.cycle)}}

    def _last_word(self, cycle: RequestResponseCycle) -> None:
        """See `LAST_WORD`."""
        cycle.keep_alive = False
        self.flow.resume_writing()

    def on_message_complete(self) -> None:
        self._midway = False
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose_no_patience()
        self._gathering.lost()
        super().connection_lost(exc)

    def _lose_no_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
