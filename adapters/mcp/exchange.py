"""One POST being answered: plain JSON when the answer comes at once, server-sent events when something comes before.

A usual call is answered within milliseconds, so nothing watches it at first: a `Vigil` walks past now and then, and
what it meets twice gets an attendant that looks for the client's leaving, keeps the connection alive and bounds every
wait. A timer for each call would cost as much as reading the call.
"""

import asyncio
from dataclasses import dataclass
from typing import Literal

import anyio
from starlette.types import Receive, Send

from adapters.mcp.knock import Knock
from adapters.mcp.refusals import error_bytes
from adapters.mcp.render import LOG_NOTHING, LOG_RANKS, EventWriter, response_bytes, sse_bytes
from adapters.mcp.tapes import Shelf, Tape
from adapters.mcp.unread import KEPT, Unread
from adapters.mcp.wire import Era, as_text
from gateway.core.json import Json
from gateway.core.model import Event

HeaderLines = tuple[tuple[bytes, bytes], ...]

JSON_TYPE = (b"content-type", b"application/json")
SSE_HEADERS: HeaderLines = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
KEEP_ALIVE = b": keep-alive\n\n"
FAREWELL_S = 1.0
"""How long last words may take that nobody may be there to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How patient the door is, seconds."""

    attend_after_s: float = 0.05
    """A call shorter than this is not watched; one twice as long is."""
    keep_alive_s: float = 10.0
    """Silence after which an answer becomes a stream, and between two comments on it."""
    slow_body_s: float = 30.0
    slow_reader_s: float = 30.0
    """How long a client may leave what is written to it unread."""
    overdue_s: float = 5.0
    """How long after its deadline a call that did not end by itself is cut."""


Ending = Literal["", "gone", "canceled", "overdue", "slow"]
"""Why an exchange was cut: the client left, it cancelled, the call outlived its deadline, or the client reads or writes
too slowly."""


class Exchange:
    """The answer to one POST, and whatever cuts it short."""

    __slots__ = (
        "_attendant",
        "_events",
        "_lock",
        "_over",
        "_pace",
        "_receive",
        "_send",
        "_since_s",
        "_started",
        "_tape",
        "_task",
        "_unread",
        "_vigil",
        "accepts_json",
        "accepts_sse",
        "deadline_s",
        "ending",
        "era",
        "knock",
        "phase",
        "request_id",
        "session_header",
        "shelf",
    )

    def __init__(
        self,
        receive: Receive,
        send: Send,
        *,
        pace: Pace,
        vigil: "Vigil",
        accept: tuple[bool, bool],
        unread: Unread,
    ) -> None:
        self._receive = receive
        self._send = send
        self._pace = pace
        self.accepts_json, self.accepts_sse = accept
        self._attendant: anyio.CancelScope | None = None
        self._events: EventWriter | None = None
        self._lock: anyio.Lock | None = None
        self._over = False
        self._since_s = 0.0
        self._started = False
        self._tape: Tape | None = None
        self._task = asyncio.current_task()
        self._unread = unread
        self._vigil = vigil
        vigil.add(self)
        self.deadline_s = float("inf")
        """On the event loop's clock."""
        self.ending: Ending = ""
        self.knock: Knock | None = None
        self.era: Era = "modern"
        self.phase: Literal["reading", "calling", "answering"] = "reading"
        self.request_id = b""
        self.session_header: HeaderLines = ()
        self.shelf: Shelf | None = None
        """Where what it says is kept, should it become a stream that can be taken up again."""

    def calling(self, knock: Knock, deadline_s: float) -> None:
        """The body is read; from here on the call runs."""
        self.knock = knock
        self.era = knock.era
        self.deadline_s = deadline_s
        self.phase = "calling"

    def cancel(self) -> None:
        """The client no longer wants the answer."""
        self.cut("canceled")

    def cut(self, why: Ending) -> None:
        """End the call under way, once; nothing happens to one that has ended."""
        if not self.ending and self._task is not None and (why == "slow" or self.phase != "answering"):
            self.ending = why
            self._task.cancel()

    def absorbed(self) -> bool:
        """Whether the cancellation just caught was this exchange's own; only then may it be swallowed."""
        if not self.ending or self._task is None:
            return False
        self._task.uncancel()
        return True

    def close(self) -> None:
        """The exchange is over, however it went."""
        self.phase = "answering"
        self._task = None
        self._vigil.discard(self)
        if self._attendant is not None:
            self._attendant.cancel()
        if self._tape is not None and not self._tape.done:
            self._tape.end()

    async def emit(self, event: Event) -> None:
        """See `core.model.Emit`. Returns once the client's side has room again."""
        if not self.accepts_sse or self.ending or self.knock is None:
            return
        if self._events is None:
            self._events = _events(self.knock)
        notification = self._events.notification(event)
        if notification is not None:
            await self._write(self._kept(sse_bytes(notification)))

    async def ask(self, request: bytes) -> None:
        """Send the client a request, which it answers by a POST of its own. Legacy only."""
        await self._write(self._kept(sse_bytes(request)))

    async def answer(self, result: bytes, headers: HeaderLines = ()) -> None:
        """Send the `result`, raw JSON."""
        message = response_bytes(self.request_id, result)
        if self._lock is None and self.accepts_json:
            self.phase = "answering"
            await self._plain(message, 200, headers)
        else:
            await self._finish(message, 200, headers)

    async def refuse(self, code: int, message: str, data: Json, http: int, headers: HeaderLines = ()) -> None:
        """Send a JSON-RPC error."""
        await self._finish(error_bytes(self.request_id or b"null", code, message, data), http, headers)

    async def _finish(self, message: bytes, http: int, headers: HeaderLines) -> None:
        self.phase = "answering"
        self._since_s = 0.0
        plain = self.accepts_json or http >= 400  # what failed before it began keeps its status
        if self._lock is None and plain:
            await self._plain(message, http, headers)
            return
        async with self._sse_lock():
            if not self._started and plain:
                await self._plain(message, http, headers)
                return
            event = self._kept(sse_bytes(message))
            if self._tape is not None:
                self._tape.end()
            if self._over:
                return
            await self._begin_stream()
            last = b"" if self._taken else event
            await self._send({"type": "http.response.body", "body": last, "more_body": False})

    def _kept(self, event: bytes) -> bytes:
        """The event as it goes out: with an id, where its stream can be taken up."""
        if self.shelf is None:
            return event
        if self._tape is None:
            self._tape = self.shelf.open()
        return self._tape.keep(event)

    @property
    def _taken(self) -> bool:
        """Whether the client reads on by another connection (MCP 2025-11-25: no message goes to two streams)."""
        return self._tape is not None and self._tape.reader is not None

    async def _plain(self, message: bytes, http: int, headers: HeaderLines) -> None:
        lines = [JSON_TYPE, (b"content-length", b"%d" % len(message)), *self.session_header, *headers]
        await self._send({"type": "http.response.start", "status": http, "headers": lines})
        await self._send({"type": "http.response.body", "body": message})

    async def _write(self, chunk: bytes) -> None:
        """Write to the stream. Who does not read loses it, and the call too where it cannot be taken up again."""
        with anyio.move_on_after(self._pace.slow_reader_s) as patience:
            async with self._sse_lock():
                if not self.ending and self.phase == "calling" and not self._over and not self._taken:
                    await self._begin_stream()
                    await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        if patience.cancelled_caught and not self._over:
            await self._give_up()

    async def _give_up(self) -> None:
        if self.shelf is None:
            self.cut("slow")
            await anyio.lowlevel.checkpoint()  # a call that waits for nothing else would end as if nothing had happened
            return
        self._over = True
        self.left_unread()
        with anyio.move_on_after(FAREWELL_S):
            await self._begin_stream()
            await self._send({"type": "http.response.body", "body": KEPT, "more_body": False})

    def left_unread(self) -> None:
        """Count the client as one that does not read; what is written next waits for it no longer."""
        if self.knock is not None:
            self._unread.note(self.knock.identity.principal, self.knock.message.method)
            self.knock.last_word()

    async def _begin_stream(self) -> None:
        if not self._started:
            headers = [*SSE_HEADERS, *self.session_header]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            self._started = True
            if self.shelf is not None:
                self._tape = self._tape or self.shelf.open()
                if self.shelf.primed:
                    await self._send({"type": "http.response.body", "body": self._tape.beginning, "more_body": True})

    def _sse_lock(self) -> anyio.Lock:
        if self._lock is None:
            self._lock = anyio.Lock()
        return self._lock

    async def attend(self) -> None:
        """Runs in the vigil's task group until the exchange is closed."""
        if self._task is None:
            return
        with anyio.CancelScope() as self._attendant:
            try:
                while not self.ending:
                    await self._watch()
                    await self._tick()
            except OSError:  # the transport says in its own way that the client is gone
                if self.era == "modern":
                    self.cut("gone")

    async def _watch(self) -> None:
        pause_s = min(1.0, self._pace.keep_alive_s) if self.phase == "reading" else self._pace.keep_alive_s
        with anyio.move_on_after(pause_s):
            if self.phase == "calling" and self.era == "modern":
                await self._watch_for_leaving()
            else:
                await anyio.sleep_forever()

    async def _watch_for_leaving(self) -> None:
        """Closing the response is how a modern client cancels (MCP 2026-07-28, cancellation)."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.cut("gone")

    async def _tick(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self.phase == "calling":
            if now_s > self.deadline_s + self._pace.overdue_s:
                self.cut("overdue")
            elif self.accepts_sse:
                await self._write(KEEP_ALIVE)
            return
        self._since_s = self._since_s or now_s
        patience_s = self._pace.slow_body_s if self.phase == "reading" else self._pace.slow_reader_s
        if now_s - self._since_s > patience_s:
            self.cut("slow")


class Vigil:
    """Walks past the exchanges under way and gives those it meets twice an attendant."""

    def __init__(self, pace: Pace) -> None:
        self._pace_s = pace.attend_after_s
        self._new: set[Exchange] = set()
        self._some = anyio.Event()

    def add(self, exchange: Exchange) -> None:
        if not self._new:
            self._some.set()
        self._new.add(exchange)

    def discard(self, exchange: Exchange) -> None:
        self._new.discard(exchange)

    async def keep(self) -> None:
        """Runs as long as the door is open; owns the attendants."""
        met: set[Exchange] = set()
        async with anyio.create_task_group() as group:
            while True:
                if not self._new:
                    self._some = anyio.Event()
                    await self._some.wait()
                await anyio.sleep(self._pace_s)
                for exchange in self._new & met:
                    self._new.discard(exchange)
                    group.start_soon(exchange.attend)
                met = set(self._new)


def _events(knock: Knock) -> EventWriter:
    token = bytes(knock.message.meta.progress_token)
    asked = token[:1] == b'"' or token.lstrip(b"-").isdigit()
    level = as_text(knock.message.meta.log_level) or ""
    rank = LOG_RANKS.get(level, LOG_NOTHING) if knock.session is None else LOG_RANKS.get(knock.session.log_level, 0)
    return EventWriter(token=token if asked else b"", log_rank=rank)
