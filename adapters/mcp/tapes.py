"""What legacy streams have said, kept within bounds so that a client whose connection broke can take them up again.

MCP 2025-03-26 to 2025-11-25, transports, "resumability": an event's id names its stream and its place in it. Ids mean
something in their own session only, and a session answers its own principal only. Knows no transport.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import anyio

from gateway.core.errors import InvalidRequest, NotFound

SHARE = 16
"""One session may hold at most this fraction of all that is kept."""
RETRY_MS = 1000
"""After which a client that lost a stream is to come back."""
_OVERHEAD_BYTES = 256
"""What keeping an event costs beside its own bytes, roughly."""
_MOST_ID = 40
_TAKEN_UP = frozenset({"2025-03-26", "2025-06-18", "2025-11-25"})
_PRIMED = frozenset({"2025-11-25"})
"""Clients of earlier versions take an event without data for a broken message."""


@dataclass(slots=True, kw_only=True, eq=False)
class Tape:
    """One stream of a session."""

    shelf: "Shelf"
    number: int
    last: int = 0
    """Of its newest event; 0 stands for its beginning."""
    lost: int = 0
    """Of the newest event that is no longer kept."""
    kept: int = 0
    done: bool = False
    news: anyio.Event = field(default_factory=anyio.Event)
    """Set, and replaced, with each event and at the end."""
    reader: anyio.CancelScope | None = None
    """Of whoever took the stream up; then nobody else is told what it says."""

    def after(self, number: int) -> list[tuple[int, bytes]]:
        """Its events after one of them, in order."""
        return self.shelf.since(self, number)

    @property
    def beginning(self) -> bytes:
        """An event without data, whose id stands for the beginning; it says when to come back, too."""
        return b"id: %d-0\nretry: %d\ndata:\n\n" % (self.number, RETRY_MS)

    def keep(self, event: bytes) -> bytes:
        """The event with its id, kept from now on."""
        self.last += 1
        event = b"id: %d-%d\n%b" % (self.number, self.last, event)
        self.shelf.add(self, event)
        self._stir()
        return event

    def end(self) -> None:
        """It says nothing more."""
        self.done = True
        self._stir()
        self.shelf.tidy(self)

    def said(self, event_id: bytes) -> bool:
        """Whether an id is of one of its events, kept or not."""
        return event_id.partition(b"-")[0] == b"%d" % self.number

    def take(self, reader: anyio.CancelScope) -> None:
        """Somebody reads it from here on; an earlier reader is sent away."""
        if self.reader is not None:
            self.reader.cancel()
        self.reader = reader

    def _stir(self) -> None:
        woken, self.news = self.news, anyio.Event()
        woken.set()


class Shelf:
    """The streams of one session."""

    def __init__(self, tapes: "Tapes", *, primed: bool) -> None:
        self.primed = primed
        """Streams begin with an event without data, so that they can be taken up before anything was said."""
        self._tapes = tapes
        self._last = 0
        self._open: dict[int, Tape] = {}
        self.events: deque[tuple[Tape, int, bytes]] = deque()
        self.size_bytes = 0

    def open(self) -> Tape:
        """A new stream."""
        self._last += 1
        tape = self._open[self._last] = Tape(shelf=self, number=self._last)
        return tape

    def find(self, event_id: bytes) -> tuple[Tape, int]:
        """The stream an event belongs to, and the event's number in it.

        Raises: InvalidRequest: no id of ours; NotFound: what came after it is not kept any more.
        """
        stream, _, event = event_id.partition(b"-")
        if not (stream.isdigit() and event.isdigit() and len(event_id) <= _MOST_ID):
            raise InvalidRequest("Last-Event-ID names no event of this gateway")
        tape, number = self._open.get(int(stream)), int(event)
        if tape is None or tape.lost > number:
            raise NotFound("what came after this event is no longer kept: send the request again")
        if number > tape.last:
            raise InvalidRequest("Last-Event-ID names no event of this session")
        return tape, number

    def since(self, tape: Tape, number: int) -> list[tuple[int, bytes]]:
        """Events of a stream after one of them, in order."""
        return [(each, event) for its, each, event in self.events if its is tape and each > number]

    def add(self, tape: Tape, event: bytes) -> None:
        """Keep an event; older ones make room."""
        self.events.append((tape, tape.last, event))
        self.size_bytes += len(event) + _OVERHEAD_BYTES
        tape.kept += 1
        self._tapes.added(self, len(event) + _OVERHEAD_BYTES)

    def drop(self) -> int:
        """Forget the oldest event; gives the bytes that are free now."""
        tape, number, event = self.events.popleft()
        tape.lost = number
        tape.kept -= 1
        self.tidy(tape)
        self.size_bytes -= len(event) + _OVERHEAD_BYTES
        return len(event) + _OVERHEAD_BYTES

    def tidy(self, tape: Tape) -> None:
        """Nothing is known of a stream any more that has ended and of which nothing is kept."""
        if tape.done and not tape.kept:
            self._open.pop(tape.number, None)

    def close(self) -> None:
        """The session has ended: whoever reads is sent away, and all is forgotten."""
        for tape in tuple(self._open.values()):
            if tape.reader is not None:
                tape.reader.cancel()
        self._tapes.forget(self)
        self._open.clear()


class Tapes:
    """The streams of all sessions. What makes room is the oldest of its own session, then of the one silent longest."""

    def __init__(self, *, events: int, size_bytes: int) -> None:
        """Bounds of all together; none is kept where one of them is 0."""
        self._most_events = events
        self._most_bytes = size_bytes
        self._shelves: OrderedDict[Shelf, None] = OrderedDict()
        self.events = 0
        self.size_bytes = 0

    def shelf_for(self, version: str) -> Shelf | None:
        """Of a new session; None where nothing is kept, or where its version knows nothing of that."""
        if version not in _TAKEN_UP or not (self._most_events and self._most_bytes):
            return None
        return Shelf(self, primed=version in _PRIMED)

    def added(self, shelf: Shelf, size_bytes: int) -> None:
        """An event was put on a shelf."""
        self._shelves[shelf] = None
        self._shelves.move_to_end(shelf)
        self.events += 1
        self.size_bytes += size_bytes
        while len(shelf.events) > max(1, self._most_events // SHARE) or shelf.size_bytes > self._most_bytes // SHARE:
            self._drop(shelf)
        for oldest in self._over():
            self._drop(oldest)

    def forget(self, shelf: Shelf) -> None:
        """Everything on this shelf."""
        while shelf.events:
            self._drop(shelf)
        self._shelves.pop(shelf, None)

    def _over(self) -> Iterator[Shelf]:
        while self.events > self._most_events or self.size_bytes > self._most_bytes:
            yield next(iter(self._shelves))

    def _drop(self, shelf: Shelf) -> None:
        self.size_bytes -= shelf.drop()
        self.events -= 1
        if not shelf.events:
            self._shelves.pop(shelf, None)
