"""An event stream a call waits on, and taking it up by its last event id when it breaks off (MCP until 2025-11-25).

Only what a server gave ids can be taken up; the call itself is never sent again for it.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import anyio

from adapters.mcp.batches import messages_in
from adapters.mcp.client_unanswered import Unanswered
from adapters.net.response import Response
from adapters.net.sse import SseParser
from gateway.core.errors import DeadlineExceeded, GatewayError, UpstreamFailed
from gateway.core.ports.world import Clock

EVENTS = b"text/event-stream"
_FIRST_WAIT_S, _MOST_WAIT_S = 0.1, 5.0
_MOST_TRIES = 5
"""Connections in a row that bring no event."""

TakeUp: TypeAlias = Callable[[bytes, float], Awaitable[Response]]
"""By the last event id, and a deadline, monotonic seconds: what the server answers to whoever reads on."""


class Held(Protocol):
    """A call that is not answered yet, as whoever keeps it sees it."""

    number: int

    @property
    def deadline_s(self) -> float:
        """When it must have ended, monotonic seconds."""
        ...

    @deadline_s.setter
    def deadline_s(self, deadline_s: float) -> None: ...

    def close(self) -> None:
        """Give it up."""
        ...


class Aside(Protocol):
    """What a session says beside its calls."""

    calls: "dict[int, Stream]"
    """Those whose answers have begun."""
    unanswered: "dict[int, Unanswered]"
    """Those whose answers have not."""
    early: deque[bytes]
    """Said for a call that has yet to begin."""


@dataclass(slots=True, kw_only=True)
class Stream:
    """An event stream that has not answered yet. Implements `Held`."""

    number: int
    lines: bytes
    """Headers of the session it belongs to."""
    response: Response
    parser: SseParser
    events: deque[bytes] = field(default_factory=deque[bytes])
    """Received and not looked at."""
    take_up: TakeUp | None = None
    """None where it cannot be read on once it has ended."""
    tries: int = 0
    """Connections since the last event."""
    aside: "Aside | None" = None
    """What its session says beside it."""

    @property
    def deadline_s(self) -> float:
        return self.response.deadline_s

    @deadline_s.setter
    def deadline_s(self, deadline_s: float) -> None:
        self.response.deadline_s = deadline_s

    def close(self) -> None:
        """See `Held`."""
        self.response.close()

    def nudge(self) -> None:
        """Something was said beside it."""
        self.response.nudge()

    async def more(self, ended: UpstreamFailed, limit_bytes: int, clock: Clock) -> None:
        """Add what comes next to `events`, from a new connection where the old one broke off.

        Raises: UpstreamFailed: cut short, or `ended`, and not to be taken up; DeadlineExceeded.
        """
        failure: GatewayError = ended
        try:
            chunk = await self.response.chunk()
        except UpstreamFailed as error:
            chunk, failure = b"", error
        if not chunk and self.events:
            return  # something was said aside
        if not chunk:
            await self._again(failure, limit_bytes, clock)
            return
        found = self.parser.feed(chunk)
        if found:
            self.tries = 0
        for event in found:
            if event.data[:1] == b"{":
                self.events.append(event.data)
            elif event.data:  # a priming event is an id to resume from, and nothing else
                self.events += messages_in(event.data)

    async def _again(self, failure: GatewayError, limit_bytes: int, clock: Clock) -> None:
        last, take_up = self.parser, self.take_up
        if take_up is None or not last.last_id or self.tries >= _MOST_TRIES:
            raise failure
        deadline_s = self.deadline_s
        wait_s = min(_MOST_WAIT_S, _FIRST_WAIT_S * 2**self.tries)
        if last.retry_ms is not None:
            wait_s = max(_FIRST_WAIT_S, last.retry_ms / 1000)
        self.tries += 1
        if clock.monotonic_s() + wait_s >= deadline_s:
            raise DeadlineExceeded("the server broke its answer off, and there is no time left to read on")
        await anyio.sleep(wait_s)
        try:
            response = await take_up(last.last_id, deadline_s)
        except DeadlineExceeded:
            raise
        except GatewayError:
            return  # it is tried once more, or fails with what broke it
        if response.status != 200 or not response.header(b"content-type").lower().startswith(EVENTS):
            response.close()
            raise failure
        self.response = response
        self.parser = SseParser(limit_bytes, last.name)
        self.parser.go_on(last)
