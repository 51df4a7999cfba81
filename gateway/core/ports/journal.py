"""What the orchestrator needs of the outside: the durable engine, a place for scratchpads. No pattern sees these."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.core.json import Json, JsonObject
from gateway.core.ports.scratchpad import Entry


class RunInterrupted(Exception):
    """The run does not go on here: it was canceled, or its journal or what it needs cannot be reached.

    Goes through a run's body untouched; no pattern has business with it. Unless it was canceled, the run goes on as
    soon as that can be reached again, at the latest at the next launch.
    """


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a run's journal has in one place."""

    name: str
    result: JsonObject
    """Empty where the place is not a step's: a message that was received, a pause."""


class Slot(Protocol):
    """The place of one step in a run's journal, drawn before anything is awaited."""

    @property
    def number(self) -> int: ...

    async def run(self, name: str, act: Callable[[], Awaitable[JsonObject]]) -> JsonObject:
        """What `act` returned, now or before the crash. `name` must be the same on replay.

        An `act` that raises is not recorded: an error would come back as another one. It returns what went wrong, or
        the run is interrupted.

        Raises: Internal: the journal has another step in this place; RunInterrupted.
        """
        ...


RunBody = Callable[["Journal", str, JsonObject], Awaitable[JsonObject]]
"""(journal, run id, spec) -> outcome. Registered once; every run goes through it, resumed ones too."""


class Journal(Protocol):
    """The durable engine. One run = one entry; finished steps are replayed, the one under way at a crash runs again."""

    async def launch(self, body: RunBody) -> None:
        """Begin to work: accepted runs that have not ended go on by themselves."""
        ...

    async def aclose(self) -> None:
        """Stop working; bounded. Shutting down is not canceling: runs under way go on at the next launch."""
        ...

    async def start(self, run_id: str, spec: JsonObject, *, parent: str = "", tenant: str = "") -> None:
        """Accept a run; it survives a crash from here on. An id that exists is left as it is.

        `parent` is the run that waits for this one: it is always admitted, or its parent could not go on. `tenant`:
        whose it is; one that has all it may have pending keeps no other from starting runs.

        Raises: Exhausted: too many runs are pending; Unavailable.
        """
        ...

    async def fork(
        self, run_id: str, spec: JsonObject, *, origin: str, slots: Collection[int], tenant: str = ""
    ) -> None:
        """As `start`, for a run that finds these slots of `origin` in its journal as if they were its own.

        `origin` has ended and does not go on; both share nothing from here on.

        Raises: NotFound: there is no `origin` any more, or not all of these slots; Exhausted; Unavailable.
        """
        ...

    async def recorded(self, run_id: str) -> Mapping[int, Recorded]:
        """What the run's journal has, by slot. Raises: NotFound."""
        ...

    async def attempts(self, run_id: str, step_id: str) -> tuple[JsonObject, ...]:
        """What the run's journal has under the `id` of one step, the latest attempt first. Reads nothing else of it."""
        ...

    async def wait(self, run_id: str) -> JsonObject:
        """The run's outcome, once it has one. Raises: NotFound; Internal: the run ended without one."""
        ...

    def holds(self) -> bool:
        """Whether the runs under way here are still this process's: another may have taken it for dead. What is told of
        them from then on is no longer this process's business."""
        ...

    def executes(self, run_id: str) -> bool:
        """Whether the run's body is being executed by this process: then it has not ended. Asks nobody."""
        ...

    async def state(self, run_id: str) -> str:
        """`pending`, `done`, `failed`, `canceled`, `dead`, or empty where there is no such run."""
        ...

    async def spec(self, run_id: str) -> "JsonObject | None":
        """With what the run was started; None where there is no such run."""
        ...

    async def cancel(self, run_id: str) -> None:
        """End a run where it stands; one that has ended stays as it is."""
        ...

    async def resume(self, run_id: str) -> None:
        """Let a canceled or dead run go on behind its last finished step. Raises: NotFound; Conflict: it has ended."""
        ...

    def draw(self) -> Slot:
        """The next slot of the run whose body is executing.

        Raises: Internal: called from a task other than the run's own: the order of slots would be chance.
        """
        ...

    async def receive(self, topic: str, timeout_s: float) -> Json:
        """Wait, durably, for a message to the run whose body is executing; None when the time is over. As `draw`."""
        ...

    async def send(self, run_id: str, topic: str, message: Json, key: str) -> None:
        """Send a message to a run; the same `key` counts once. Raises: NotFound."""
        ...

    async def given_up(self, skip: int = 0) -> tuple[str, ...]:
        """Runs that ended without an outcome, `failed` or `dead`, latest first: behind the first `skip` the next some
        hundreds. Empty where there are no more."""
        ...

    async def forget(self, run_ids: Collection[str]) -> frozenset[str]:
        """Erase what is kept of runs that have ended; those of them that are under way, which are left alone."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One write to a scratchpad that was made."""

    once: str
    key: str
    version: int
    writer: str


class ScratchStore(Protocol):
    """Scratchpads of all runs, apart from the journal's own file."""

    async def get(self, run_id: str, key: str) -> Entry | None: ...

    async def all(self, run_id: str) -> Mapping[str, Entry]:
        """Sorted by key."""
        ...

    async def put(self, run_id: str, entry: Entry, *, expected_version: int | None, once: str) -> Entry:
        """See `Scratchpad.put`; the entry's version is ignored. With `once` (unique in the run), the first outcome,
        Conflict included, is recorded in the same transaction and given to whoever comes with it again.

        Raises: Conflict.
        """
        ...

    async def belongs(self, run_id: str, to: str) -> None:
        """The run is nested in another: what one of the two claims, the other may claim as well."""
        ...

    async def claim(self, tenant: str, run_id: str, resource: str, *, until_us: int, now_us: int) -> bool:
        """See `Scratchpad.claim`. A run's own claim is prolonged; a lapsed one is free."""
        ...

    async def release(self, tenant: str, run_id: str, resource: str) -> None: ...

    async def release_all(self, run_id: str) -> None:
        """The run has ended."""
        ...

    async def hold(self, run_id: str) -> None:
        """The run is paused: what it has claimed does not lapse meanwhile."""
        ...

    async def let_go_on(self, run_id: str, held_us: int) -> None:
        """The pause is over: what was held lapses by so much later."""
        ...

    async def writes(self, run_id: str) -> tuple[Write, ...]:
        """Everything written under a name of its own, see `put`; refused writes left out."""
        ...

    async def copy(self, origin: str, run_id: str, once: Collection[str]) -> None:
        """Give a run the scratchpad that `origin` had when these of its writes, and no others, had been made. What the
        run has itself is replaced."""
        ...

    async def forget(self, run_id: str) -> None:
        """Erase everything of a run."""
        ...
