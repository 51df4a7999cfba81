"""The last stretch of the path: a place at the target, its breaker, and the call itself.

A call to a healthy target with room pays for looking up its lane, and for three comparisons.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from msgspec import structs

from gateway.core.answers import AnswersView
from gateway.core.breaker import Breaker, BreakerView
from gateway.core.bulkhead import Bulkhead, Room, room
from gateway.core.catalog import EVERY_TENANT, Catalog
from gateway.core.chaos import Chaos
from gateway.core.errors import DeadlineExceeded, GatewayError, Internal, Unavailable, UpstreamFailed
from gateway.core.json import json_object
from gateway.core.limits import Limits
from gateway.core.model import Capability, Emit, Request, Result
from gateway.core.plans import Plan
from gateway.core.ports.upstream import Upstream
from gateway.core.ports.world import Clock
from gateway.core.record import Record

log = structlog.get_logger(__name__)

STREAMS = ("task.subscribe", "subscribe")
CANCELS_AT_ONCE = 8
"""Cancellations under way at one server or agent, beside the calls to it."""
MOST_OF_ITS_TIME = 0.9
"""A target that had this share of the time calls are given has used it up, although the caller's deadline came first by
what the way to it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacesView:
    """How full a bulkhead is."""

    name: str
    in_flight: int
    waiting: int
    concurrency: int
    queue: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerView:
    """How a server or agent is doing by the calls to it."""

    owner: str
    places: PlacesView
    capabilities: tuple[PlacesView, ...] = ()
    """Those with room of their own."""
    breakers: tuple[BreakerView, ...] = ()
    """Those that are not closed, or have counted failures."""

    @property
    def open_breakers(self) -> tuple[BreakerView, ...]:
        """Those that let no call through, or only a probe."""
        return tuple(each for each in self.breakers if each.state != "closed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is under way, waits, fails and is remembered, by server and agent."""

    owners: tuple[tuple[OwnerView, AnswersView], ...]
    answers: int
    """Remembered now."""
    answers_bytes: int
    """What they take; of all tenants together, as is the number."""


class Lane:
    """What stands between the path and one capability. Made at its first call, renewed when it is listed anew."""

    __slots__ = ("breaker", "capability", "own", "owner")

    def __init__(self, capability: Capability, owner: Bulkhead, own: Bulkhead | None, breaker: Breaker | None) -> None:
        self.capability = capability
        self.owner = owner
        self.own = own
        """Room of its own, inside its owner's."""
        self.breaker = breaker


class Resilience:
    """See the module. Belongs to the event loop."""

    def __init__(self, *, clock: Clock, limits: Limits, chaos: Chaos | None = None) -> None:
        self._clock = clock
        self._limits = limits
        self._chaos = chaos
        self._owners: dict[str, Bulkhead] = {}
        self._cancels: dict[str, Bulkhead] = {}
        """By owner, as are the others."""
        self._lanes: dict[str, Lane] = {}

    async def call(
        self, plan: Plan, request: Request, record: Record, emit: Emit, leaves: Callable[[], None] | None = None
    ) -> Result:
        """Run the call at its upstream; `leaves` is called when nothing holds it back any longer.

        Raises: as `Upstream.call`; Exhausted: there is no room; Unavailable: its breaker is open.
        """
        capability = plan.entry.capability
        caller_s = request.budget.deadline_s
        if capability.timeout_s is not None:
            budget = request.budget.until(self._clock.monotonic_s() + capability.timeout_s)
            if budget is not request.budget:
                request = structs.replace(request, budget=budget)
        if capability.kind == "workflow" or request.operation in STREAMS:
            # Runs are bounded by the orchestrator, and a wait for one must not take a place from its own steps; doors
            # bound the streams that only listen.
            return await self._upstream(plan, record).call(request, capability, emit)
        if request.operation == "task.cancel":
            return await self._canceled(caller_s, plan, request, record, emit)
        lane = self._lanes.get(capability.name)
        if lane is None or lane.capability is not capability:
            lane = self._laid(capability)
        breaker = lane.breaker
        if breaker is not None and not breaker.closed:
            _checked(breaker, record)
        tenant, own = request.principal.tenant, lane.own
        if own is not None and not own.try_enter(tenant):
            await own.enter(tenant, request.budget.deadline_s)
        try:
            if not lane.owner.try_enter(tenant):
                await lane.owner.enter(tenant, request.budget.deadline_s)
            try:
                return await self._made(breaker, caller_s, plan, request, record, emit, leaves)
            finally:
                lane.owner.leave(tenant)
        finally:
            if own is not None:
                own.leave(tenant)

    def forget(self, catalog: Catalog, changed: frozenset[str]) -> None:
        """Drop what is known of owners that were made anew, and of capabilities that are gone."""
        for name, lane in list(self._lanes.items()):
            if lane.capability.owner in changed or name not in catalog.entries:
                del self._lanes[name]
        for owner in changed:
            self._owners.pop(owner, None)
            self._cancels.pop(owner, None)

    def view(self, owner: str, capability: Capability) -> OwnerView:
        """How the owner of `capability` is doing now."""
        lanes = [lane for lane in self._lanes.values() if lane.capability.owner == owner]
        places = self._owners.get(owner) or Bulkhead(owner, self._room(capability), clock=self._clock)
        breakers = [lane.breaker.view() for lane in lanes if lane.breaker is not None]
        return OwnerView(
            owner=owner,
            places=_places(owner, places),
            capabilities=tuple(_places(lane.capability.name, lane.own) for lane in lanes if lane.own is not None),
            breakers=tuple(each for each in breakers if each.failures),
        )

    def _laid(self, capability: Capability) -> Lane:
        """The lane to a capability; what was known of it under an earlier listing stays known."""
        before = self._lanes.get(capability.name)
        owner = self._owners.get(capability.owner)
        if owner is None:
            owner = self._owners[capability.owner] = Bulkhead(
                capability.owner, self._room(capability), clock=self._clock
            )
        else:
            owner.resize(self._room(capability))
        own = before.own if before is not None else None
        concurrency = capability.bounds.concurrency
        if concurrency is None:
            own = None
        elif own is None:
            own = Bulkhead(capability.name, self._room(capability, concurrency), clock=self._clock)
        else:
            own.resize(self._room(capability, concurrency))
        breaker = before.breaker if before is not None else self._breaker(capability.name)
        lane = self._lanes[capability.name] = Lane(capability, owner, own, breaker)
        return lane

    async def _canceled(self, caller_s: float, plan: Plan, request: Request, record: Record, emit: Emit) -> Result:
        """Who gives up a task must be heard, by whoever is left there to hear it: past the breaker, and past the calls
        that take up the target's places. What is canceled is one of them."""
        capability, tenant = plan.entry.capability, request.principal.tenant
        places = self._cancels.get(capability.owner)
        if places is None:
            name = f"{capability.owner}, asked to cancel,"
            places = Bulkhead(name, self._room_for_cancels(capability), clock=self._clock)
            self._cancels[capability.owner] = places
        if not places.try_enter(tenant):
            await places.enter(tenant, request.budget.deadline_s)
        try:
            return await self._made(None, caller_s, plan, request, record, emit, None)
        finally:
            places.leave(tenant)

    def _breaker(self, name: str) -> Breaker | None:
        if self._limits.breaker_failures <= 0:
            return None
        return Breaker(
            name,
            failures=self._limits.breaker_failures,
            cooldown_s=self._limits.breaker_cooldown_s,
            clock=self._clock,
        )

    def _room(self, capability: Capability, concurrency: int | None = None) -> Room:
        limits, bounds = self._limits, capability.bounds
        if concurrency is None:
            concurrency = bounds.owner_concurrency
        return room(
            limits.upstream_concurrency if concurrency is None else concurrency,
            limits.upstream_queue if bounds.owner_queue is None else bounds.owner_queue,
            shared=capability.tenant == EVERY_TENANT,
            tenant_concurrency=limits.tenant_concurrency,
            tenant_queue=limits.tenant_queue,
        )

    def _room_for_cancels(self, capability: Capability) -> Room:
        limits = self._limits
        return room(
            CANCELS_AT_ONCE,
            limits.upstream_queue,
            shared=capability.tenant == EVERY_TENANT,
            tenant_concurrency=limits.tenant_concurrency,
            tenant_queue=limits.tenant_queue,
        )

    def _upstream(self, plan: Plan, record: Record) -> Upstream:
        upstream = plan.entry.upstream
        return upstream if self._chaos is None else self._chaos.around(upstream, record)

    async def _made(
        self,
        breaker: Breaker | None,
        caller_s: float,
        plan: Plan,
        request: Request,
        record: Record,
        emit: Emit,
        leaves: Callable[[], None] | None,
    ) -> Result:
        """The call, with what came of it told to the breaker; `caller_s` is until when the caller waits."""
        ticket = 0 if breaker is None else _admitted(breaker, record)
        if leaves is not None:
            leaves()
        upstream, capability, meter = self._upstream(plan, record), plan.entry.capability, plan.meter
        began_s = self._clock.monotonic_s()
        try:
            # A frame fewer on every call than a method of its own.
            if meter is None:
                result = await upstream.call(request, capability, emit)
            else:
                result = await meter.call(request, capability, upstream, emit)
        except GatewayError as error:
            if breaker is not None:
                if not self._is_its_failure(error, capability, caller_s, began_s):
                    breaker.said_nothing(ticket)
                elif breaker.failed(ticket, _why_of(error)):
                    log.warning("a breaker opened", target=capability.name, code=error.wire.code)
                    record.detail = {**record.detail, "breaker": "opened"}
            raise
        except BaseException:
            if breaker is not None:
                breaker.said_nothing(ticket)
            raise
        if breaker is not None:
            breaker.succeeded(ticket)
        return result

    def _is_its_failure(self, error: GatewayError, capability: Capability, caller_s: float, began_s: float) -> bool:
        """Whether the target failed, rather than the caller, a policy or the time the caller had."""
        if isinstance(error, DeadlineExceeded):
            now_s = self._clock.monotonic_s()
            its_time_s = capability.timeout_s or self._limits.call_timeout_s
            return now_s < caller_s or now_s - began_s >= its_time_s * MOST_OF_ITS_TIME
        if isinstance(error, UpstreamFailed):
            # What a server says about one request says nothing about the server, unless it says that it is broken:
            # or anybody could have a tool closed for everybody by three wrong arguments.
            code = json_object(error.detail.get("upstream")).get("code", Internal.wire.jsonrpc)
            return code == Internal.wire.jsonrpc
        return isinstance(error, Unavailable)


def _why_of(error: GatewayError) -> str:
    """How it failed, in no words of whoever's call it was."""
    match error:
        case DeadlineExceeded():
            return "did not answer in time"
        case UpstreamFailed():
            return "said that it is broken"
        case _:
            return "could not be reached"


def _checked(breaker: Breaker, record: Record) -> None:
    try:
        breaker.check()
    except Unavailable as error:
        record.detail = {**record.detail, "breaker": error.detail["breaker"]}
        raise


def _admitted(breaker: Breaker, record: Record) -> int:
    if breaker.closed:
        return breaker.admit()
    _checked(breaker, record)
    record.detail = {**record.detail, "breaker": "probe"}
    return breaker.admit()


def _places(name: str, bulkhead: Bulkhead) -> PlacesView:
    return PlacesView(
        name=name,
        in_flight=bulkhead.in_flight,
        waiting=bulkhead.waiting,
        concurrency=bulkhead.room.concurrency,
        queue=bulkhead.room.queue,
    )
