"""Scratchpads of runs, in memory."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from gateway.core.errors import Conflict
from gateway.core.json import JsonObject
from gateway.core.ports.journal import Write
from gateway.core.ports.scratchpad import Entry


@dataclass(slots=True, kw_only=True)
class Claimed:
    """One claim."""

    job: str
    """The outermost run."""
    until_us: int = 0
    by: set[str] = field(default_factory=set[str])
    paused: bool = False
    """It does not lapse."""


class MemoryScratch:
    """See `ScratchStore`."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}
        self.outcomes: dict[tuple[str, str], Entry | Conflict] = {}
        self.claims: dict[tuple[str, str], Claimed] = {}
        self.jobs: dict[str, str] = {}
        """The outermost run, by those nested in it."""

    async def get(self, run_id: str, key: str) -> Entry | None:
        return self.entries.get((run_id, key))

    async def all(self, run_id: str) -> Mapping[str, Entry]:
        return {key: entry for (of_run, key), entry in sorted(self.entries.items()) if of_run == run_id}

    async def put(self, run_id: str, entry: Entry, *, expected_version: int | None, once: str) -> Entry:
        outcome = self.outcomes.get((run_id, once)) if once else None
        if outcome is None:
            outcome = self._put(run_id, entry, expected_version)
            if once:
                self.outcomes[run_id, once] = outcome
        if isinstance(outcome, Conflict):
            raise Conflict(outcome.message, detail=outcome.detail)
        return outcome

    def _put(self, run_id: str, entry: Entry, expected_version: int | None) -> Entry | Conflict:
        known = self.entries.get((run_id, entry.key))
        actual = 0 if known is None else known.version
        if expected_version is not None and expected_version != actual:
            detail: JsonObject = {"key": entry.key, "expected": expected_version, "actual": actual}
            return Conflict(f"{entry.key} is at version {actual}", detail=detail)
        written = self.entries[run_id, entry.key] = replace(entry, version=actual + 1)
        return written

    async def writes(self, run_id: str) -> tuple[Write, ...]:
        return tuple(
            Write(once=once, key=made.key, version=made.version, writer=made.writer)
            for (of_run, once), made in self.outcomes.items()
            if of_run == run_id and isinstance(made, Entry)
        )

    async def copy(self, origin: str, run_id: str, once: Collection[str]) -> None:
        self.entries = {place: entry for place, entry in self.entries.items() if place[0] != run_id}
        self.outcomes = {place: outcome for place, outcome in self.outcomes.items() if place[0] != run_id}
        for (of_run, name), made in list(self.outcomes.items()):
            if of_run == origin and name in once and isinstance(made, Entry):
                self.outcomes[run_id, name] = made
                known = self.entries.get((run_id, made.key))
                if known is None or known.version < made.version:
                    self.entries[run_id, made.key] = made

    async def belongs(self, run_id: str, to: str) -> None:
        self.jobs.setdefault(run_id, self.jobs.get(to, to))

    async def claim(self, tenant: str, run_id: str, resource: str, *, until_us: int, now_us: int) -> bool:
        job = self.jobs.get(run_id, run_id)
        held = self.claims.get((tenant, resource))
        if held is not None and held.job != job and (held.paused or held.until_us > now_us):
            return False
        if held is None or held.job != job:
            held = self.claims[tenant, resource] = Claimed(job=job)
        held.until_us = max(held.until_us, until_us) if held.by - {run_id} else until_us
        held.by.add(run_id)
        return True

    async def release(self, tenant: str, run_id: str, resource: str) -> None:
        held = self.claims.get((tenant, resource))
        if held is not None:
            held.by.discard(run_id)
            if not held.by:
                del self.claims[tenant, resource]

    async def release_all(self, run_id: str) -> None:
        for tenant, resource in [*self.claims]:
            await self.release(tenant, run_id, resource)

    async def hold(self, run_id: str) -> None:
        for held in self.claims.values():
            if run_id in held.by:
                held.paused = True

    async def let_go_on(self, run_id: str, held_us: int) -> None:
        for held in self.claims.values():
            if run_id in held.by and held.paused:
                held.paused, held.until_us = False, held.until_us + held_us

    async def forget(self, run_id: str) -> None:
        await self.release_all(run_id)
        self.entries = {place: entry for place, entry in self.entries.items() if place[0] != run_id}
        self.outcomes = {place: outcome for place, outcome in self.outcomes.items() if place[0] != run_id}
