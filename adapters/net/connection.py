"""One HTTP/1.1 connection, and the one answer it is receiving. Knows no pool policy and not what the bytes mean.

Callbacks all the way from the socket: on the data path a task, a stream or a timer per answer would each cost more than
the parsing itself. What is awaited are single futures, set by the callbacks.
"""

import asyncio
from typing import Protocol, cast

import httptools

from adapters.net.response import Response
from gateway.core.errors import UpstreamFailed

HEAD_BYTES = 64 * 1024
"""Most bytes received without a byte of body among them: head, interim answers, chunk extensions, trailers."""


class ClosedEarly(UpstreamFailed):
    """The connection ended before the first byte of an answer."""


class Owner(Protocol):
    """Whose connection it is."""

    @property
    def name(self) -> str:
        """What stands in messages for the upstream."""
        ...

    def released(self, connection: "Connection") -> None:
        """The answer is complete and the connection can be used again."""
        ...

    def lost(self, connection: "Connection") -> None:
        """The connection is gone for good."""
        ...

    def watch(self, deadline_s: float) -> None:
        """Something on a connection has to end by then."""
        ...


class Connection(asyncio.Protocol):
    """A socket that carries one exchange after another, never two at once."""

    __slots__ = (
        "_begun",
        "_finished",
        "_headers",
        "_keep",
        "_owner",
        "_parser",
        "_paused",
        "_poisoned",
        "_quiet",
        "_transport",
        "idle_since_s",
        "response",
        "used",
    )

    def __init__(self, owner: Owner) -> None:
        self.response: Response | None = None
        self.used = False
        """It has carried a complete exchange before."""
        self.idle_since_s = 0.0
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._quiet = 0
        self._begun = False
        self._finished = False
        self._keep = False
        self._poisoned = False
        self._paused = False

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def start(self, message: bytes, waiter: "asyncio.Future[None]", deadline_s: float) -> Response:
        """Send a whole request; `waiter` is set when the head of its answer is there, or fails."""
        response = Response(self, waiter, deadline_s, self._owner.name)
        self.response = response
        if self._transport is not None:
            self._transport.write(message)
        return response

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def resume(self) -> None:
        """Read the socket again."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def hurry(self, until_s: float) -> None:
        """Bring the end of the current exchange forward."""
        if self.response is not None:
            self.response.deadline_s = min(until_s, self.response.deadline_s)
            self._owner.watch(until_s)

    # From here on: called by the transport and by the parser.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        response, parser = self.response, self._parser
        if response is None or parser is None:
            # Bytes nobody asked for would be taken for the answer to the next request.
            self.abort()
            return
        self._quiet += len(data)
        self._begun = True
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._finished:
                response.fail(self._failed("answered with something that is not HTTP/1.1"))
            self._poisoned = True
        if self._finished:
            self._end_exchange()
        elif self._quiet > HEAD_BYTES:
            response.fail(self._failed(f"sent more than {HEAD_BYTES} bytes around its answer"))

    def connection_lost(self, exc: Exception | None) -> None:
        response, self.response = self.response, None
        self._parser = None  # it refers back to this object
        if response is not None:
            if not self._begun:
                response.fail(ClosedEarly(f"{self._owner.name} closed the connection before it answered"))
            elif response.status and exc is None and self._ends_with_connection(response):
                response.finish()
            else:
                response.fail(self._failed("cut its answer short"))
        self._owner.lost(self)

    def on_message_begin(self) -> None:
        if self._finished:
            self._poisoned = True

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        headers = self._headers
        headers[name] = value if name not in headers else headers[name] + b", " + value

    def on_headers_complete(self) -> None:
        parser, response = self._parser, self.response
        if parser is None or response is None or self._finished:
            return
        status = parser.get_status_code()
        headers, self._headers = self._headers, {}
        if status < 200:
            return
        if headers.get(b"content-encoding", b"identity") != b"identity":
            response.fail(self._failed("answered with a content coding it was not offered"))
        response.begin(status, headers)

    def on_body(self, data: bytes) -> None:
        self._quiet = 0
        response = self.response
        if response is not None and not self._finished and not response.feed(data) and not self._paused:
            self._paused = True
            if self._transport is not None:
                self._transport.pause_reading()

    def on_message_complete(self) -> None:
        parser, response = self._parser, self.response
        if parser is None or response is None or response.status == 0:
            return  # an interim answer (1xx); the real one follows
        self._finished = True
        self._keep = parser.should_keep_alive()

    def _end_exchange(self) -> None:
        response, self.response = self.response, None
        if response is not None:
            response.finish()
        self._finished = self._begun = False
        self._quiet = 0
        self._headers.clear()
        self.used = True
        self.resume()
        if self._keep and not self._poisoned and self.open:
            self._owner.released(self)
        else:
            self.abort()

    def _ends_with_connection(self, response: Response) -> bool:
        """Whether the answer's end is the connection's end (RFC 9112 section 6.3)."""
        coding = response.header(b"transfer-encoding").rpartition(b",")[2].strip().lower()
        return coding != b"chunked" and not response.header(b"content-length")

    def _failed(self, what: str) -> UpstreamFailed:
        return UpstreamFailed(f"{self._owner.name} {what}")
