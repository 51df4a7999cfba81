"""Upstreams that lie: an HTTP server that sends exactly the bytes it is told, on a real socket."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request as it came, and the means to answer it."""

    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    body: bytes
    connection: int
    """Number of the connection it came by, from 0."""
    transport: asyncio.Transport = field(repr=False)
    gone: asyncio.Event = field(repr=False)
    """Set when the peer has closed the connection."""

    def send(self, raw: bytes) -> None:
        self.transport.write(raw)

    def answer(self, body: bytes, *, status: int = 200, content_type: str = "application/json", more: str = "") -> None:
        """A well-formed answer with a length."""
        head = f"HTTP/1.1 {status} Any\r\ncontent-type: {content_type}\r\n{more}content-length: {len(body)}\r\n\r\n"
        self.send(head.encode() + body)

    def stream(self, *events: bytes) -> None:
        """The beginning of a chunked stream of server-sent events, each `data` of one event."""
        self.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in events:
            self.event(event)

    def event(self, data: bytes) -> None:
        raw = b"event: message\r\ndata: " + data + b"\r\n\r\n"
        self.send(b"%x\r\n%b\r\n" % (len(raw), raw))

    def end(self) -> None:
        """The end of a chunked stream."""
        self.send(b"0\r\n\r\n")

    def close(self) -> None:
        self.transport.close()

    def reset(self) -> None:
        self.transport.abort()


Behave = Callable[[Exchange], None]


class RawServer:
    """What came in, in order; `behave` may answer at once, else the test does with `next`."""

    def __init__(self, behave: Behave | None) -> None:
        self.behave = behave
        self.exchanges: list[Exchange] = []
        self.connections: list[asyncio.Transport] = []
        self.port = 0
        self._new: asyncio.Queue[Exchange] = asyncio.Queue()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def next(self) -> Exchange:
        """The next request that was not yet asked for."""
        return await self._new.get()

    def take(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        self._new.put_nowait(exchange)
        if self.behave is not None:
            self.behave(exchange)


class _Peer(asyncio.Protocol):
    def __init__(self, server: RawServer) -> None:
        self._server = server
        self._received = b""
        self._gone = asyncio.Event()
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._number = len(self._server.connections)
        self._server.connections.append(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            first, *lines = head.split(b"\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
            size = int(headers.get(b"content-length", b"0"))
            if len(rest) < size:
                return
            self._received = rest[size:]
            method, target, _ = first.split(b" ")
            self._server.take(
                Exchange(
                    method=method,
                    target=target,
                    headers=headers,
                    body=rest[:size],
                    connection=self._number,
                    transport=self._transport,
                    gone=self._gone,
                )
            )


@asynccontextmanager
async def raw_server(
    behave: Behave | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[RawServer, None]:
    """A raw server on a free port of the loopback."""
    server = RawServer(behave)
    listening = await asyncio.get_running_loop().create_server(lambda: _Peer(server), "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for transport in server.connections:
            transport.abort()
        await asyncio.sleep(0)
