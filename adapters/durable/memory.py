"""The engine's twin for tests: it keeps its journal in memory, and can crash wherever a test wants it to."""

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import anyio
from anyio.abc import TaskGroup

from adapters.durable.pending import refuse_more
from gateway.core.errors import Conflict, Internal, NotFound, Unavailable
from gateway.core.json import Json, JsonObject
from gateway.core.ports.journal import Recorded, RunBody, RunInterrupted, Slot

GIVEN_UP_AT_ONCE = 500

Where = Literal["before", "after", "unrecorded"]
"""Before a step acts; after it was recorded; or between the two, when its effect is there and its record is not."""


@dataclass(slots=True, kw_only=True)
class Entry:
    """One run, as it would be on disk."""

    spec: JsonObject
    state: str = "pending"
    outcome: JsonObject = field(default_factory=dict[str, Json])
    slots: dict[int, tuple[str, JsonObject]] = field(default_factory=dict[int, tuple[str, JsonObject]])
    messages: dict[str, tuple[str, Json]] = field(default_factory=dict[str, tuple[str, Json]])
    """By key: topic and message, those that were received too: what is sent again under a key is the same message."""
    received: set[str] = field(default_factory=set[str])
    """Keys of messages that are recorded as received."""
    arrived: anyio.Event = field(default_factory=anyio.Event)
    tenant: str = ""


@dataclass(slots=True)
class _Live:
    scope: anyio.CancelScope
    task_id: int
    drawn: int = 0


class MemoryJournal:
    """See `ports.journal.Journal`. What survives a crash is `entries`; give them to the next one."""

    def __init__(
        self,
        entries: dict[str, Entry] | None = None,
        *,
        pending_limit: int = 1000,
        on_slot: Callable[[str, int, Where], bool] | None = None,
    ) -> None:
        """`on_slot(run id, number, where)`: True crashes the engine there, as a killed process would."""
        self.entries: dict[str, Entry] = {} if entries is None else entries
        self.crashed = anyio.Event()
        self._pending_limit = pending_limit
        self._on_slot = on_slot
        self._group: TaskGroup | None = None
        self._body: RunBody | None = None
        self._live: dict[str, _Live] = {}
        self._changed = anyio.Event()

    async def launch(self, body: RunBody) -> None:
        self._body = body
        self._group = await anyio.create_task_group().__aenter__()
        for run_id, entry in self.entries.items():
            if entry.state == "pending":
                self._group.start_soon(self._run, run_id, entry)

    async def aclose(self) -> None:
        group, self._group = self._group, None
        if group is not None:
            group.cancel_scope.cancel()
            await group.__aexit__(None, None, None)

    async def start(self, run_id: str, spec: JsonObject, *, parent: str = "", tenant: str = "") -> None:
        if run_id in self.entries:
            return
        pending = [entry.tenant for entry in self.entries.values() if entry.state == "pending"]
        if not parent:
            refuse_more(pending.count(tenant), len(pending), self._pending_limit)
        if self._group is None:
            raise Unavailable("the engine is not running")
        entry = self.entries[run_id] = Entry(spec=_stored(spec), tenant=tenant)
        self._group.start_soon(self._run, run_id, entry)

    async def fork(
        self, run_id: str, spec: JsonObject, *, origin: str, slots: Collection[int], tenant: str = ""
    ) -> None:
        if run_id in self.entries:
            return
        recorded = self._entry(origin).slots
        if not recorded.keys() >= set(slots):
            raise NotFound(f"there is no run {origin}")
        await self.start(run_id, spec, tenant=tenant)
        # Its task has not begun yet: nothing was awaited.
        self.entries[run_id].slots |= {slot: recorded[slot] for slot in slots}

    async def recorded(self, run_id: str) -> Mapping[int, Recorded]:
        return {slot: Recorded(name, result) for slot, (name, result) in sorted(self._entry(run_id).slots.items())}

    async def attempts(self, run_id: str, step_id: str) -> tuple[JsonObject, ...]:
        entry = self.entries.get(run_id)
        results = [result for _, (_, result) in sorted(entry.slots.items(), reverse=True)] if entry else []
        return tuple(each for each in results if each.get("id") == step_id)

    async def wait(self, run_id: str) -> JsonObject:
        entry = self._entry(run_id)
        while entry.state == "pending":
            await self._changed.wait()
        if entry.state != "done":
            raise Internal(f"run {run_id} ended without an outcome: {entry.state}")
        return entry.outcome

    def holds(self) -> bool:
        return not self.crashed.is_set()

    def executes(self, run_id: str) -> bool:
        return run_id in self._live

    async def state(self, run_id: str) -> str:
        entry = self.entries.get(run_id)
        return "" if entry is None else entry.state

    async def spec(self, run_id: str) -> "JsonObject | None":
        entry = self.entries.get(run_id)
        return None if entry is None else entry.spec

    async def cancel(self, run_id: str) -> None:
        entry = self._entry(run_id)
        if entry.state not in ("pending", "dead"):
            return
        self._move(entry, "canceled")
        live = self._live.get(run_id)
        if live is not None:
            live.scope.cancel()
            while run_id in self._live:
                await self._changed.wait()

    async def resume(self, run_id: str) -> None:
        entry = self._entry(run_id)
        if entry.state == "pending":
            return
        if entry.state not in ("canceled", "dead") or self._group is None:
            raise Conflict(f"run {run_id} has ended and cannot be resumed", detail={"state": entry.state})
        self._move(entry, "pending")
        self._group.start_soon(self._run, run_id, entry)

    def draw(self) -> Slot:
        run_id, live = self._own()
        live.drawn += 1
        return _MemorySlot(self, run_id, live.drawn)

    async def receive(self, topic: str, timeout_s: float) -> Json:
        run_id, live = self._own()
        live.drawn += 1
        slot = _MemorySlot(self, run_id, live.drawn)
        entry = self.entries[run_id]
        taken: set[str] = set()

        async def act() -> JsonObject:
            with anyio.move_on_after(timeout_s):
                while True:
                    for key, (sent_to, message) in entry.messages.items():
                        if sent_to == topic and key not in entry.received:
                            taken.add(key)
                            return {"message": message}
                    await entry.arrived.wait()
            return {"message": None}

        # Taken and recorded at once: a process that dies in between has taken nothing.
        return (await slot.recorded(f"receive:{topic}", act, lambda: entry.received.update(taken)))["message"]

    async def send(self, run_id: str, topic: str, message: Json, key: str) -> None:
        entry = self._entry(run_id)
        entry.messages.setdefault(key, (topic, message))
        arrived, entry.arrived = entry.arrived, anyio.Event()
        arrived.set()

    async def given_up(self, skip: int = 0) -> tuple[str, ...]:
        ended = [run_id for run_id, entry in self.entries.items() if entry.state in ("failed", "dead")]
        return tuple(ended[::-1][skip : skip + GIVEN_UP_AT_ONCE])

    async def forget(self, run_ids: Collection[str]) -> frozenset[str]:
        known = self.entries.keys() & set(run_ids)
        under_way = frozenset(run_id for run_id in known if self.entries[run_id].state == "pending")
        for run_id in known - under_way:
            del self.entries[run_id]
        return under_way

    def crash(self) -> None:
        """End as a killed process would: nothing is recorded any more."""
        self._on_slot = None
        self.crashed.set()
        # Its runs and nothing else: whoever launched it is within the group's own scope.
        for live in self._live.values():
            live.scope.cancel()

    def reached(self, run_id: str, number: int, where: Where) -> bool:
        """Tell the test where a run is; True if that was its end."""
        if self.crashed.is_set():
            return True  # whoever works side by side with what crashed it gets no further either
        if self._on_slot is None or not self._on_slot(run_id, number, where):
            return False
        self.crash()
        return True

    async def _run(self, run_id: str, entry: Entry) -> None:
        if self._body is None:
            raise Internal("launched without a body")
        if self.crashed.is_set():
            return
        with anyio.CancelScope() as scope:
            live = self._live[run_id] = _Live(scope, anyio.get_current_task().id)
            try:
                outcome = await self._body(self, run_id, entry.spec)
            except RunInterrupted:
                pass  # whoever canceled it has noted the state; else it goes on at the next launch
            except Exception:  # noqa: BLE001 - the run's edge: its state says that it ended without an outcome
                self._move(entry, "failed")
            else:
                if entry.state == "pending":
                    entry.outcome = _stored(outcome)
                    self._move(entry, "done")
            finally:
                if self._live.get(run_id) is live:
                    del self._live[run_id]
                self._wake()

    def _own(self) -> tuple[str, _Live]:
        task_id = anyio.get_current_task().id
        for run_id, live in self._live.items():
            if live.task_id == task_id:
                return run_id, live
        raise Internal("steps of a run are drawn by its own task only: from another their order would be chance")

    def _entry(self, run_id: str) -> Entry:
        entry = self.entries.get(run_id)
        if entry is None:
            raise NotFound(f"there is no run {run_id}")
        return entry

    def _move(self, entry: Entry, state: str) -> None:
        entry.state = state
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


@dataclass(frozen=True, slots=True)
class _MemorySlot:
    """See `ports.journal.Slot`."""

    journal: MemoryJournal
    run_id: str
    number: int

    async def run(self, name: str, act: Callable[[], Awaitable[JsonObject]]) -> JsonObject:
        return await self.recorded(name, act, lambda: None)

    async def recorded(
        self, name: str, act: Callable[[], Awaitable[JsonObject]], with_it: Callable[[], None]
    ) -> JsonObject:
        """As `run`; `with_it` happens as the result is recorded, and not without it."""
        entry = self.journal.entries[self.run_id]
        if entry.state == "canceled":
            raise RunInterrupted
        recorded = entry.slots.get(self.number)
        if recorded is not None:
            if recorded[0] != name:
                raise Internal(f"the journal has {recorded[0]} in place {self.number}, not {name}")
            return recorded[1]
        await self._reach("before")
        try:
            result = _stored(await act())
        except Exception as error:
            raise RunInterrupted from error
        await self._reach("unrecorded")
        entry.slots[self.number] = (name, result)
        with_it()
        await self._reach("after")
        return result

    async def _reach(self, where: Where) -> None:
        if self.journal.reached(self.run_id, self.number, where):
            await anyio.sleep_forever()


def copied(entries: dict[str, Entry]) -> dict[str, Entry]:
    """What a process that starts now would find on disk; later changes to the original do not show."""
    return {
        run_id: replace(
            entry,
            slots=dict(entry.slots),
            messages=dict(entry.messages),
            received=set(entry.received),
            arrived=anyio.Event(),
        )
        for run_id, entry in entries.items()
    }


def _stored(value: JsonObject) -> JsonObject:
    """What comes back from a disk: nothing but JSON, and nobody's own object."""
    return json.loads(json.dumps(value))
