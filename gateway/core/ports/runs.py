"""What is kept of runs for whoever asks about them: listed, drawn as a tree, followed. Knows no pattern."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.core.json import Json, JsonObject
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Usage


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class Run:
    """A run as it is listed."""

    id: str
    workflow: str
    tenant: str
    owner: str
    """Subject of the principal who started it."""
    state: str
    """A `TaskState` value."""
    context_id: str
    created_at_us: int
    updated_at_us: int
    input: Json = None
    output: Json = None
    error: str = ""
    usage: Usage = Usage()
    key: str = ""
    """What finds the run again: (owner, workflow, message id or idempotency key)."""
    spec: Mapping[str, Json] = field(default_factory=dict[str, Json])
    paused_at_us: int = 0
    """Since when no further step begins; 0 for a run that is not paused."""
    held_us: int = 0
    """For how long the run's clock has stood still: pauses that are over, and what a stop or a fork left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """One step of a run as it is shown."""

    run_id: str
    id: str
    parent: str
    target: str
    state: str
    """`running`, `ok`, or a `StepError`."""
    attempt: int
    started_at_us: int
    duration_us: int
    phase: str = ""
    input: Json = None
    value: Json = None
    summary: str = ""
    reason: str = ""
    usage: Usage = Usage()
    labels: Labels = CLEAN
    record_id: str = ""
    remote_task: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    run_id: str
    seq: int
    """From 1, without gaps, in the order of the run."""
    at_us: int
    body: JsonObject
    """A serialised `Event`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event that is to be appended."""

    key: str
    """Unique in the run: what is told again after a crash counts once."""
    body: JsonObject
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Where a run stands now. Output and usage that are not given stay as they are."""

    state: str
    """A `TaskState` value."""
    at_us: int
    output: Json = None
    error: str = ""
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What others may have done to a run that is under way."""

    state: str
    """A `TaskState` value."""
    paused: bool
    held_us: int
    """As in `Run`."""


class RunStore(Protocol):
    """Runs, their steps and their event logs, for whoever asks about them. The journal stays the truth of execution."""

    async def open(self, run: Run) -> Run:
        """Store a new run, or give the one that exists under (tenant, key)."""
        ...

    async def update(
        self, run_id: str, *, state: str, at_us: int, output: Json = None, error: str = "", usage: Usage | None = None
    ) -> None: ...

    async def pause(self, run_id: str, at_us: int) -> bool:
        """No further step of the run is to begin. False where it is paused already."""
        ...

    async def unpause(self, run_id: str, at_us: int) -> bool:
        """Steps may begin again; its clock had stood still meanwhile. False where the run is not paused."""
        ...

    async def reopen(self, run_id: str, told: Told, *, by_us: int) -> bool:
        """A run that has ended is under way again, and `told` is its next event; its clock had stood still for `by_us`
        until then. False where it has not ended, or somebody else was first: nothing has changed."""
        ...

    async def hold(self, run_id: str, by_us: int) -> None:
        """Note that the run's clock has stood still for so much longer."""
        ...

    async def find(self, tenant: str, run_id: str) -> Run | None: ...

    async def standing(self, run_id: str) -> Standing | None:
        """How the run stands, at a fraction of what it costs to find it: every step of a run asks."""
        ...

    async def list(
        self,
        tenant: str,
        *,
        owner: str = "",
        workflow: str = "",
        context_id: str = "",
        before: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> tuple[Run, ...]:
        """Newest first; empty fields do not narrow. `before`: only those that began before this moment (UTC
        microseconds), or in it under an id that comes before this one."""
        ...

    async def note_step(self, step: RunStep) -> None:
        """Store or replace a step by (run, id, attempt). One that is `ok` is not `running` again: whoever says so was
        frozen, and comes too late. Survives the end of the process; a power loss, see `tell`."""
        ...

    async def tell(
        self,
        run_id: str,
        *,
        steps: Sequence[RunStep] = (),
        events: Sequence[Told] = (),
        moved: Moved | None = None,
        closed: Sequence[str] = (),
    ) -> None:
        """What has happened in a run, all of it or nothing: see `update`, `note_step` and `append`. Of steps that are
        `closed`, it takes away what `OpenSteps.shut` has left. A run that has ended is not moved back: it was canceled,
        and whoever tells it was under way still; only `reopen` and `update` let it go on. Survives the end of the
        process; a power loss only together with a later write, as that of the run's end."""
        ...

    async def steps(self, run_id: str) -> tuple[RunStep, ...]: ...

    async def append(self, run_id: str, key: str, body: JsonObject, at_us: int) -> RunEvent | None:
        """Append an event; None if (run, key) is there already, as on replay."""
        ...

    async def events(self, run_id: str, after: int = 0) -> tuple[RunEvent, ...]: ...

    async def wait_events(self, run_id: str, after: int, timeout_s: float) -> tuple[RunEvent, ...]:
        """Events after `after`, waiting for one at most `timeout_s`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NotePlace:
    """Where notes stand."""

    tenant: str
    workflow: str
    owner: str
    """Subject of the caller whose they are; empty for everybody's."""
    topic: str
    key: str


class NoteStore(Protocol):
    """What runs of a workflow keep for later runs of it."""

    async def put(self, place: NotePlace, note_id: str, value: Json, *, at_us: int, until_us: int) -> None:
        """Write or replace the note of that id; None takes it away. At most `NOTES_AT_MOST` stand in one place: the
        oldest go, as do those whose time is over."""
        ...

    async def get(self, place: NotePlace, *, now_us: int, limit: int) -> tuple[Json, ...]:
        """Values whose time is not over, newest first."""
        ...


NOTES_AT_MOST = 200
