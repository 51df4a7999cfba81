"""The newest events of runs that somebody watches, kept in memory as they are appended. Reads and writes nothing.

A watcher that keeps up learns of an event from here, and the database is not asked for what this process has just
written. Of a run to which another process appends as well, what is kept has a hole: then it is let go, and the database
is asked again.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence

from gateway.core.ports.runs import RunEvent

RUNS_AT_MOST = 1000
EVENTS_AT_MOST = 32
"""Of one run. A watcher that is further behind reads them."""


class Tails:
    """By run."""

    def __init__(self) -> None:
        self._tails: OrderedDict[str, _Tail] = OrderedDict()

    def begin(self, run_id: str) -> None:
        """Keep what comes from now on: call before the database is asked, and `settle` with its answer."""
        if run_id not in self._tails:
            self._tails[run_id] = _Tail()
            while len(self._tails) > RUNS_AT_MOST:
                self._tails.popitem(last=False)
        self._tails.move_to_end(run_id)

    def settle(self, run_id: str, last: int) -> None:
        """The database has events up to `last`; what was appended while it was asked may be among them."""
        tail = self._tails.get(run_id)
        if tail is None or tail.last is not None:
            return
        early, tail.last = [*tail.events], last
        tail.events.clear()
        self.append(run_id, early)

    def end(self, run_id: str) -> None:
        """Nobody watches it any longer, or what is kept may be incomplete."""
        self._tails.pop(run_id, None)

    def append(self, run_id: str, events: Sequence[RunEvent]) -> None:
        """What was appended to the run, in order."""
        tail = self._tails.get(run_id)
        if tail is None:
            return
        for event in events:
            if tail.last is None:
                tail.events.append(event)
            elif event.seq == tail.last + 1:
                tail.events.append(event)
                tail.last = event.seq
            elif event.seq > tail.last:
                self.end(run_id)
                return

    def after(self, run_id: str, seq: int) -> "tuple[RunEvent, ...] | None":
        """The events behind `seq`; None where that is not known here."""
        tail = self._tails.get(run_id)
        if tail is None or tail.last is None or seq > tail.last:
            return None
        if seq == tail.last:
            return ()
        if not tail.events or tail.events[0].seq > seq + 1:
            return None
        return tuple(event for event in tail.events if event.seq > seq)


class _Tail:
    __slots__ = ("events", "last")

    def __init__(self) -> None:
        self.events: deque[RunEvent] = deque(maxlen=EVENTS_AT_MOST)
        self.last: int | None = None
        """Place of the newest event; None until the database has said where it is."""
