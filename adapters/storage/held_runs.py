"""What this process knows of runs it has opened, for as long as somebody here holds them. Reads and writes nothing.

Whoever starts a run waits for it, in most cases, and the run itself begins with being looked up: both are told from
here, and the database is not asked for what this process has just written. A run that nobody holds any longer is
forgotten, so that one which waits for days costs nothing. Only for a database on which no other process is at work.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import ref

from gateway.core.ports.runs import Moved, Run
from gateway.core.task import TaskState


class HeldRuns:
    """By run."""

    def __init__(self) -> None:
        self._runs: dict[str, _Held] = {}

    def opened(self, run: Run) -> None:
        """The run was stored just now, as it is."""
        self._runs[run.id] = _Held(run, gone=partial(self.changed, run.id))

    def moved(self, run_id: str, moved: Moved) -> None:
        """That was told of it: one that has ended is not moved on."""
        held = self._runs.get(run_id)
        if held is not None:
            held.moved(moved)

    def changed(self, run_id: str) -> None:
        """Something else was written of it, or may have been: it has to be looked up."""
        self._runs.pop(run_id, None)

    def find(self, tenant: str, run_id: str) -> Run | None:
        """The run as it stands; None where that is not known here."""
        held = self._runs.get(run_id)
        run = None if held is None else held.now()
        return run if run is not None and run.tenant == tenant else None


class _Held:
    __slots__ = ("_run", "_since")

    def __init__(self, run: Run, gone: Callable[[], None]) -> None:
        self._run = ref(run, lambda _: gone())
        self._since: dict[str, Any] = {}
        """What has changed since."""

    def moved(self, moved: Moved) -> None:
        run = self.now()
        if run is None or (TaskState(run.state).terminal and not TaskState(moved.state).terminal):
            return
        self._since |= {"state": moved.state, "updated_at_us": moved.at_us, "error": moved.error}
        if moved.output is not None:
            self._since["output"] = moved.output
        if moved.usage is not None:
            self._since["usage"] = moved.usage

    def now(self) -> Run | None:
        run = self._run()
        return run if run is None or not self._since else replace(run, **self._since)
