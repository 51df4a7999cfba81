"""Faults in a running gateway, for operators who want to see what becomes of them. There only when it is configured.

An injection strikes calls of its operator's own tenant, is written into the record of each call it strikes, and ends by
itself. Kept in memory: a start is the end of all chaos.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import anyio

from gateway.core.content import NOTHING
from gateway.core.errors import DeadlineExceeded, Exhausted, InvalidRequest
from gateway.core.faults import Fault, Injection, distorted, error_of
from gateway.core.json import Json
from gateway.core.model import Capability, Complete, Emit, Operation, Request, Result
from gateway.core.ports.upstream import Listing, Upstream
from gateway.core.ports.world import Clock, Ids
from gateway.core.record import Record

MOST_INJECTIONS = 100
LONGEST_S = 24 * 3600
STRUCK: frozenset[Operation] = frozenset({"call", "get", "read"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosOrder:
    """What an operator asks for."""

    tenant: str
    by: str
    target: str
    fault: Fault
    share: float = 1.0
    for_s: float = 600.0
    seed: int = 0


@dataclass(slots=True, kw_only=True)
class Active:
    """An injection at work. Not frozen: it counts."""

    injection: Injection
    by: str
    """Subject of the operator."""
    until_us: int
    calls: int = 0
    """To its target, so far."""
    struck: int = 0


class Chaos:
    """Stands around the upstream, and nowhere else."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self._clock = clock
        self._ids = ids
        self._active: dict[str, Active] = {}

    def add(self, order: ChaosOrder) -> Active:
        """Raises: InvalidRequest: out of bounds; Exhausted: there are too many."""
        if not 0 < order.share <= 1:
            raise InvalidRequest("the share is above 0, up to 1")
        if not 0 < order.for_s <= LONGEST_S:
            raise InvalidRequest(f"it lasts above 0, up to {LONGEST_S} s")
        self._end_what_is_over()
        if len(self._active) >= MOST_INJECTIONS:
            raise Exhausted(f"there are {MOST_INJECTIONS} injections already; remove some")
        injection = Injection(
            id=self._ids.new("chaos"),
            tenant=order.tenant,
            target=order.target,
            fault=order.fault,
            share=order.share,
            seed=order.seed,
        )
        active = Active(injection=injection, by=order.by, until_us=self._clock.now_us() + int(order.for_s * 1_000_000))
        self._active[injection.id] = active
        return active

    def of(self, tenant: str) -> tuple[Active, ...]:
        """What is at work in the tenant, oldest first."""
        self._end_what_is_over()
        return tuple(each for each in self._active.values() if each.injection.tenant == tenant)

    def remove(self, tenant: str, injection_id: str) -> bool:
        """False where the tenant has no such injection (any more)."""
        if all(each.injection.id != injection_id for each in self.of(tenant)):
            return False
        del self._active[injection_id]
        return True

    def around(self, upstream: Upstream, record: Record) -> Upstream:
        """The upstream as one call finds it, whose record is `record`; itself while nothing is at work."""
        return _Shaken(self, upstream, record) if self._active else upstream

    async def call(
        self, upstream: Upstream, record: Record, request: Request, capability: Capability, emit: Emit
    ) -> Result:
        """The upstream's answer, or what is left of it. See `Upstream.call`."""
        struck = self._striking(request, capability.name) if request.operation in STRUCK else ()
        if not struck:
            return await upstream.call(request, capability, emit)
        _note(record, struck, {})
        for each in struck:
            await self._delayed(each, request, upstream.name)
            if (error := error_of(each.fault, upstream.name)) is not None:
                raise error
        failing = next((each for each in struck if each.fault.kind == "error"), None)
        if failing is not None:
            return distorted(Complete(body=NOTHING, labels=request.labels), failing)
        result = await upstream.call(request, capability, emit)
        unchanged: dict[str, Json] = {}
        for each in struck:
            left = distorted(result, each)
            if left is result and each.fault.kind != "delay":
                unchanged[each.id] = "found nothing to change"
            result = left
        if unchanged:
            _note(record, struck, unchanged)
        return result

    def _striking(self, request: Request, name: str) -> tuple[Injection, ...]:
        self._end_what_is_over()
        found: list[Injection] = []
        for active in self._active.values():
            if active.injection.concerns(request.principal.tenant, name):
                active.calls += 1
                if active.injection.strikes(str(active.calls)):
                    active.struck += 1
                    found.append(active.injection)
        return tuple(found)

    async def _delayed(self, injection: Injection, request: Request, name: str) -> None:
        delay_s = injection.fault.delay_s
        left_s = request.budget.seconds_left(self._clock.monotonic_s())
        await anyio.sleep(min(delay_s, left_s))
        if delay_s >= left_s:
            raise DeadlineExceeded(f"{name} did not finish in time")

    def _end_what_is_over(self) -> None:
        now_us = self._clock.now_us()
        over = [name for name, each in self._active.items() if each.until_us <= now_us]
        for name in over:
            del self._active[name]


class _Shaken:
    """See `Upstream`."""

    __slots__ = ("_chaos", "_record", "_upstream")

    def __init__(self, chaos: Chaos, upstream: Upstream, record: Record) -> None:
        self._chaos = chaos
        self._upstream = upstream
        self._record = record

    @property
    def name(self) -> str:
        return self._upstream.name

    async def capabilities(self) -> Listing:
        return await self._upstream.capabilities()

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        return await self._chaos.call(self._upstream, self._record, request, capability, emit)

    async def aclose(self) -> None:
        await self._upstream.aclose()


def _note(record: Record, struck: tuple[Injection, ...], remarks: Mapping[str, Json]) -> None:
    said: list[Json] = []
    for each in struck:
        noted: dict[str, Json] = {"id": each.id, "fault": str(each.fault)}
        if each.id in remarks:
            noted["remark"] = remarks[each.id]
        said.append(noted)
    record.detail = {**record.detail, "chaos": said}
