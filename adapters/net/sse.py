"""Server-sent events (WHATWG HTML, section 9.2.6) from bytes, whatever the borders of the chunks. Pure and bounded."""

from dataclasses import dataclass

from gateway.core.errors import UpstreamFailed


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event; `data` may be empty where the stream had an empty `data` line."""

    data: bytes
    event: bytes = b"message"
    id: bytes = b""
    """Last event id seen so far in the stream."""


class SseParser:
    """Feed it the stream; it gives the events that became complete. One instance a stream."""

    __slots__ = (
        "_data",
        "_event",
        "_id",
        "_limit",
        "_limit_name",
        "_rest",
        "_size",
        "_skip_lf",
        "_start",
        "last_id",
        "name",
        "retry_ms",
    )

    def __init__(self, limit_bytes: int, name: str = "the server", limit_name: str = "") -> None:
        """`name` stands in messages for whoever sends the stream, `limit_name` is what settings call the limit."""
        self.name = name
        self.last_id = b""
        """Of the last event that came whole, an empty one included: what came is taken up from here."""
        self.retry_ms: int | None = None
        """How long the server wants a client to wait before it reconnects; None where it did not say."""
        self._limit = limit_bytes
        self._limit_name = limit_name
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._event = b""
        self._id = b""
        self._size = 0
        self._skip_lf = False
        self._start = True

    def go_on(self, earlier: "SseParser") -> None:
        """This stream takes up where another broke off."""
        self.last_id = self._id = earlier.last_id
        self.retry_ms = earlier.retry_ms

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Events completed by `chunk`. Raises: UpstreamFailed: an event, or a line of it, exceeds the limit."""
        if self._skip_lf and chunk:
            # The CR that ended the last chunk was a line end of its own; its LF, if there is one, belongs to it.
            self._skip_lf = False
            if chunk.startswith(b"\n"):
                chunk = chunk[1:]
        if b"\n" not in chunk and b"\r" not in chunk:
            # Kept apart from the rest below, so that a line sent byte by byte costs linear time.
            self._rest += chunk
            self._check(len(self._rest))
            return []
        if self._rest:
            chunk = bytes(self._rest) + chunk
            self._rest.clear()
        if self._start:
            self._start = False
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        self._skip_lf = chunk.endswith(b"\r")
        lines = chunk.splitlines()
        if not chunk.endswith((b"\n", b"\r")):
            self._rest += lines.pop()
        events: list[ServerSentEvent] = []
        for line in lines:
            if line:
                self._take(line)
            else:
                self.last_id = self._id
                if self._data or self._event:
                    self._dispatch(events)
        self._check(len(self._rest))
        return events

    def _take(self, line: bytes) -> None:
        name, colon, value = line.partition(b":")
        if colon and value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            self._check(0)
        elif name == b"event":
            self._check(len(value))
            self._event = value
        elif name == b"id" and b"\0" not in value:
            self._check(len(value))
            self._id = value
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry_ms = int(value)

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        data, self._data = self._data, []
        event, self._event, self._size = self._event, b"", 0
        if data:
            joined = data[0] if len(data) == 1 else b"\n".join(data)
            events.append(ServerSentEvent(joined, event or b"message", self.last_id))

    def _check(self, more: int) -> None:
        if self._size + more > self._limit:
            setting = f" (limits.{self._limit_name})" if self._limit_name else ""
            raise UpstreamFailed(f"{self.name} sent a server-sent event of more than {self._limit} bytes{setting}")
