"""A pool of HTTP/1.1 connections to one origin, for the data path. Knows no protocol above HTTP.

One pool per upstream and process. Connections are reused last in, first out, and dropped when idle for longer than
servers usually keep theirs, because a request sent into a closing connection may or may not have been processed.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from adapters.net.address import Address
from adapters.net.connection import ClosedEarly, Connection, Response
from adapters.net.egress import EgressGuard
from gateway.core.errors import DeadlineExceeded, Exhausted, InvalidRequest, Unavailable

_NEVER = float("inf")
_UNSENT = {"sent": False}
"""Detail of a failure after which the request certainly was not processed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """Bounds of one pool."""

    connections: int = 64
    queue: int = 256
    """Requests waiting for a connection; beyond that they fail at once."""
    connect_timeout_s: float = 5.0
    idle_s: float = 4.0
    """Below the 5 seconds after which common servers (uvicorn, node) close an idle connection."""


def header_lines(headers: Iterable[tuple[str | bytes, str | bytes]]) -> bytes:
    """Headers as the bytes `Pool.send` takes.

    Raises: InvalidRequest: a name or value that could smuggle in another header.
    """
    lines: list[bytes] = []
    for name, value in headers:
        raw_name = name.encode() if isinstance(name, str) else name
        raw_value = value.encode() if isinstance(value, str) else value
        if not raw_name or raw_name.strip() != raw_name or b":" in raw_name or _breaks_line(raw_name + raw_value):
            raise InvalidRequest("a header's name or value holds characters that are not allowed there")
        lines.append(b"%b: %b\r\n" % (raw_name, raw_value))
    return b"".join(lines)


def _breaks_line(raw: bytes) -> bool:
    return b"\r" in raw or b"\n" in raw or b"\0" in raw


class Pool:
    """Connections to one origin. Used by many tasks at once; `name` stands in messages where the address must not."""

    def __init__(
        self,
        address: Address,
        *,
        name: str,
        tls: ssl.SSLContext | None = None,
        limits: PoolLimits | None = None,
        guard: EgressGuard | None = None,
    ) -> None:
        """`guard` vets each new connection; for addresses that users supplied. `tls` is needed for https only."""
        if address.secure and tls is None:
            raise InvalidRequest(f"{name}: https needs a TLS context")
        self._address = address
        self._tls = tls if address.secure else None
        self.name = name
        self._limits = limits or PoolLimits()
        self._guard = guard
        self._host_line = header_lines([("host", address.authority)])
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._members: set[Connection] = set()
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._count = 0
        self._sweep_at = _NEVER
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def send(
        self, method: bytes, target: bytes, headers: bytes, body: bytes, *, deadline_s: float, replay: bool = False
    ) -> Response:
        """The answer, as soon as its head is there. `headers` as from `header_lines`; `deadline_s` is monotonic.

        `replay` says that the request may be processed twice: then one that went into a connection just being closed is
        sent again. Canceling the call closes its connection.

        Raises: Unavailable: never sent; UpstreamFailed: broken off, or not HTTP; DeadlineExceeded; Exhausted: the queue
            is full.
        """
        message = b"%b %b HTTP/1.1\r\n%b%bcontent-length: %d\r\n\r\n%b" % (
            method,
            target,
            self._host_line,
            headers,
            len(body),
            body,
        )
        loop = asyncio.get_running_loop()
        while True:
            connection = self._pop_idle(loop.time()) or await self._acquire(deadline_s)
            reused = connection.used
            waiter: asyncio.Future[None] = loop.create_future()
            response = connection.start(message, waiter, deadline_s)
            self._busy.add(connection)
            if deadline_s < self._sweep_at:
                self.watch(deadline_s)
            try:
                await waiter
            except asyncio.CancelledError:
                response.close()
                raise
            except ClosedEarly:
                if not (reused and replay):
                    raise
            else:
                return response

    async def aclose(self) -> None:
        """Close every connection, those in use too. Idempotent."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in tuple(self._members):
            if connection.response is not None:
                connection.response.fail(Unavailable(f"the connection to {self.name} has been closed"))
            connection.abort()
        while self._hand_over(None):
            self._count += 1
        # Transports tell of their end in the next turn of the loop.
        await asyncio.sleep(0)

    @property
    def in_use(self) -> int:
        """Connections with an exchange under way."""
        return len(self._busy)

    # See `Owner`.

    def released(self, connection: Connection) -> None:
        self._busy.discard(connection)
        if self._closed:
            connection.abort()
        elif not self._hand_over(connection):
            now = asyncio.get_running_loop().time()
            connection.idle_since_s = now
            self._idle.append(connection)
            if len(self._idle) == 1:
                self.watch(now + self._limits.idle_s)

    def lost(self, connection: Connection) -> None:
        self._busy.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if connection in self._members:
            self._members.remove(connection)
            self._free_slot()

    def watch(self, deadline_s: float) -> None:
        if deadline_s < self._sweep_at and not self._closed:
            if self._sweeper is not None:
                self._sweeper.cancel()
            self._sweep_at = deadline_s
            self._sweeper = asyncio.get_running_loop().call_at(deadline_s, self._sweep)

    def _sweep(self) -> None:
        """End what is overdue. One timer for all exchanges: one each would cost more than parsing their answers."""
        now = asyncio.get_running_loop().time() + 0.002  # timers may fire a clock tick early
        self._sweep_at, self._sweeper = _NEVER, None
        soonest = _NEVER
        for connection in tuple(self._busy):
            response = connection.response
            if response is None:
                continue
            if response.deadline_s <= now:
                response.fail(DeadlineExceeded(f"{self.name} did not answer in time"))
            else:
                soonest = min(soonest, response.deadline_s)
        for connection in tuple(self._idle):
            closes_at = connection.idle_since_s + self._limits.idle_s
            if closes_at <= now:
                self._idle.remove(connection)
                connection.abort()
            else:
                soonest = min(soonest, closes_at)
        if soonest < _NEVER:
            self.watch(soonest)

    def _pop_idle(self, now_s: float) -> Connection | None:
        oldest = now_s - self._limits.idle_s
        while self._idle:
            connection = self._idle.pop()
            if connection.open and connection.idle_since_s > oldest:
                return connection
            connection.abort()
        return None

    async def _acquire(self, deadline_s: float) -> Connection:
        """A fresh connection, or one that another request has just finished with."""
        while True:
            if self._count < self._limits.connections:
                self._count += 1
                break
            connection = await self._wait_turn(deadline_s)
            if connection is None:
                break
            if connection.open:
                return connection
        try:
            connection = await self._dial(deadline_s)
        except BaseException:
            self._free_slot()
            raise
        self._members.add(connection)
        return connection

    async def _wait_turn(self, deadline_s: float) -> Connection | None:
        """A connection handed over, or None: the right to open one."""
        if len(self._waiting) >= self._limits.queue:
            raise Exhausted(f"too many requests are waiting for {self.name}", detail={"limit": "queue", **_UNSENT})
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout_at(deadline_s):
                connection = await turn
        except BaseException as error:
            self._give_up(turn)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(
                    f"{self.name} was too busy to be asked in time", detail={"limit": "queue", **_UNSENT}
                ) from None
            raise
        return connection

    def _give_up(self, turn: "asyncio.Future[Connection | None]") -> None:
        """What was handed to somebody who no longer waits goes to the next."""
        if turn in self._waiting:
            self._waiting.remove(turn)
        elif turn.done() and not turn.cancelled():
            connection = turn.result()
            if connection is None:
                self._free_slot()
            else:
                self.released(connection)

    def _hand_over(self, connection: Connection | None) -> bool:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False

    def _free_slot(self) -> None:
        if self._closed or not self._hand_over(None):
            self._count -= 1

    async def _dial(self, deadline_s: float) -> Connection:
        if self._closed:
            raise Unavailable(f"the connection to {self.name} has been closed", detail=_UNSENT)
        loop = asyncio.get_running_loop()
        until_s = min(deadline_s, loop.time() + self._limits.connect_timeout_s)
        try:
            async with asyncio.timeout_at(until_s):
                connection = await self._connect(loop)
        except TimeoutError:
            raise Unavailable(f"{self.name} did not accept a connection in time", detail=_UNSENT) from None
        except ssl.SSLError as error:
            raise Unavailable(f"no trusted TLS connection to {self.name}", detail=_UNSENT) from error
        except OSError as error:
            raise Unavailable(f"{self.name} cannot be reached", detail=_UNSENT) from error
        if not connection.open:
            raise Unavailable(f"{self.name} cannot be reached", detail=_UNSENT)
        return connection

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        address = self._address
        hosts = (address.host,) if self._guard is None else await self._guard.vet(address.host, address.port)
        failure: OSError | None = None
        for host in hosts:
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(self),
                    host,
                    address.port,
                    ssl=self._tls,
                    server_hostname=address.host if self._tls is not None else None,
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                failure = error
            else:
                return connection
        raise failure or OSError("no address")
