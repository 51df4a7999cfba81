"""An HTTP answer on its way in: fed by its connection's callbacks, read by one task. Knows no socket and no pool."""

import asyncio
from typing import Protocol

from gateway.core.errors import GatewayError, UpstreamFailed

HIGH_BYTES = 256 * 1024
"""A stream's unread bytes beyond which the socket is not read any further."""
DISCARD_BYTES = 64 * 1024
"""Most bytes of an answer's rest that are swallowed to keep a connection."""


class Source(Protocol):
    """The connection an answer comes by, as the answer sees it."""

    def abort(self) -> None:
        """Close it now."""
        ...

    def resume(self) -> None:
        """Read the socket again."""
        ...

    def hurry(self, until_s: float) -> None:
        """Bring the end of the current exchange forward."""
        ...


class Sink(Protocol):
    """Who takes a body as it comes; called by the connection's callbacks, so it neither waits nor raises."""

    def received(self, data: bytes) -> None:
        """A piece of it."""
        ...

    def ended(self, error: GatewayError | None) -> None:
        """Nothing more will come; `error` says why, where the body is not whole."""
        ...


class Response:
    """An answer: its head is there, its body may still be coming. Read it to the end, or close it."""

    __slots__ = (
        "_buffered",
        "_error",
        "_headers",
        "_high",
        "_name",
        "_nudged",
        "_parts",
        "_sink",
        "_source",
        "_waiter",
        "complete",
        "deadline_s",
        "status",
    )

    def __init__(self, source: Source, waiter: "asyncio.Future[None]", deadline_s: float, name: str) -> None:
        self.status = 0
        self.complete = False
        """Every byte has been received; the connection is no longer tied to it."""
        self.deadline_s = deadline_s
        self._headers: dict[bytes, bytes] = {}
        self._source: Source | None = source
        self._name = name
        self._waiter: asyncio.Future[None] | None = waiter
        self._parts: list[bytes] = []
        self._buffered = 0
        self._high = HIGH_BYTES
        self._error: GatewayError | None = None
        self._sink: Sink | None = None
        self._nudged = False

    def header(self, name: bytes) -> bytes:
        """A header's value by its lower-case name, several joined by a comma; empty where there is none."""
        return self._headers.get(name, b"")

    async def read(self, limit_bytes: int) -> bytes:
        """The rest of the body. Raises: see `arrive`."""
        await self.arrive(limit_bytes)
        return self._take()

    async def arrive(self, limit_bytes: int) -> None:
        """Return once the rest of the body can be read without waiting.

        Raises: UpstreamFailed: larger than the limit, or cut short; DeadlineExceeded.
        """
        if not self.complete:
            declared = self._headers.get(b"content-length", b"0")
            if declared.isdigit() and int(declared) > limit_bytes:
                self.fail(self._too_large(limit_bytes))
            self._high = limit_bytes
            if self._source is not None:
                # So much may have come before anybody asked that the socket is not being read.
                self._source.resume()
            while not self.complete and self._error is None and self._buffered <= limit_bytes:
                await self._more()
        if self._error is not None:
            raise self._error
        if self._buffered > limit_bytes:
            self.close()
            raise self._too_large(limit_bytes)

    async def chunk(self) -> bytes:
        """What has come since, at least one byte; empty at the end, and after a `nudge`. While nobody asks, the socket
        is not read.

        Raises: UpstreamFailed: cut short; DeadlineExceeded.
        """
        while not self._parts:
            if self._error is not None:
                raise self._error
            if self.complete:
                return b""
            self._high = 0
            await self._more()
            if self._nudged:
                break
        self._nudged = False
        self._high = HIGH_BYTES
        taken = self._take()
        if self._source is not None:
            self._source.resume()
        return taken

    def nudge(self) -> None:
        """Have whoever waits for a chunk look elsewhere first."""
        if self._waiter is not None:
            self._nudged = True
            self._wake()

    def pour(self, sink: Sink) -> None:
        """Give the body to `sink` from here on, what has come already included; the socket is read all the time."""
        self._sink = sink
        came = self._take()
        if came:
            sink.received(came)
        if self.complete or self._error is not None:
            sink.ended(self._error)
        elif self._source is not None:
            self._source.resume()

    def close(self) -> None:
        """Give up what has not come yet; closes the connection unless the answer is complete. Idempotent."""
        source, self._source = self._source, None
        if source is not None:
            source.abort()

    def leave(self, until_s: float) -> None:
        """Let the rest arrive unread, so that the connection can be used again; it is closed if that takes too long."""
        self._parts.clear()
        self._high = -1
        self._buffered = 0
        if self._source is not None:
            self._source.resume()
            self._source.hurry(until_s)

    async def _more(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        try:
            await waiter
        except asyncio.CancelledError:
            self.close()
            raise

    def _take(self) -> bytes:
        parts, self._parts = self._parts, []
        self._buffered = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # From here on: for the connection only.

    def begin(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The head is complete."""
        self.status = status
        self._headers = headers
        self._wake()

    def feed(self, data: bytes) -> bool:
        """Take a piece of body; False when there is no room for more."""
        if self._sink is not None:
            self._sink.received(data)
            return True
        self._buffered += len(data)
        if self._high < 0:
            if self._buffered > DISCARD_BYTES:
                self.close()
            return True
        self._parts.append(data)
        if self._buffered <= self._high:
            return True
        self._wake()
        return self._high == 0

    def finish(self) -> None:
        """Every byte has come."""
        self.complete = True
        self._source = None
        self._wake()
        if self._sink is not None:
            self._sink.ended(None)

    def fail(self, error: GatewayError) -> None:
        """It will not be completed; only the first reason counts."""
        if self._error is None and not self.complete:
            self._error = error
            waiter, self._waiter = self._waiter, None
            if self.status == 0 and waiter is not None and not waiter.done():
                waiter.set_exception(error)
            elif waiter is not None and not waiter.done():
                waiter.set_result(None)
            self.close()
            if self._sink is not None:
                self._sink.ended(error)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _too_large(self, limit_bytes: int) -> UpstreamFailed:
        return UpstreamFailed(f"{self._name} answered with more than {limit_bytes} bytes")
