"""In-memory twins of the ports, for tests of whoever uses them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from gateway.core.catalog import Shelf
from gateway.core.chaos import Chaos
from gateway.core.content import NOTHING, Body, plain
from gateway.core.effects import Effects
from gateway.core.errors import Unavailable
from gateway.core.hops import SharedHops
from gateway.core.json import Json
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Budget, Limits
from gateway.core.model import (
    AgentClass,
    Capability,
    CapabilityKind,
    Complete,
    Effect,
    Emit,
    Event,
    Operation,
    Principal,
    Request,
    Result,
    principal,
)
from gateway.core.pipeline import Pipeline
from gateway.core.plans import Policies, Snapshot
from gateway.core.ports.policy import Need, RequestPolicy
from gateway.core.ports.storage import AgentCalls
from gateway.core.ports.upstream import Listing
from gateway.core.record import Record
from gateway.core.verdict import Allow, Verdict
from gateway.testing.stores.effects import MemoryEffectLedger


class FakeClock:
    """Stands still until told."""

    def __init__(self, *, now_us: int = 1_700_000_000_000_000) -> None:
        self._now_us = now_us
        self._monotonic_s = 1000.0

    def now_us(self) -> int:
        return self._now_us

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        self._now_us += int(seconds * 1_000_000)
        self._monotonic_s += seconds


class CountingIds:
    def __init__(self) -> None:
        self._count = 0

    def new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count:026d}"


class ListAudit:
    """Keeps records in a list, each with whether it was written durably."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.durable: list[bool] = []
        self.full = False

    def record(self, record: Record) -> None:
        self._add(record, durable=False)

    async def record_durably(self, record: Record) -> None:
        self._add(record, durable=True)

    def _add(self, record: Record, *, durable: bool) -> None:
        if self.full:
            raise Unavailable("the audit log takes no more records")
        self.records.append(record)
        self.durable.append(durable)

    def phases(self) -> list[tuple[str, str]]:
        return [(record.phase, record.outcome) for record in self.records]


class WatchedLedger(MemoryEffectLedger):
    """The ledger that is shipped, which also tells what was tried again."""

    def __init__(self) -> None:
        super().__init__()
        self.tried_again: list[str] = []

    async def again(self, tenant: str, key: str, at_us: int) -> None:
        self.tried_again.append(key)
        await super().again(tenant, key, at_us)


Behaviour = Callable[[Request, Capability, Emit], Awaitable[Result]]


async def echo(request: Request, capability: Capability, emit: Emit) -> Result:
    """Answers with the arguments it was given."""
    return Complete(body=plain(request.body.content().structured))


class FakeUpstream:
    """Offers what it is told, and does what `behave` does."""

    def __init__(self, name: str, capabilities: Sequence[Capability] = (), behave: Behaviour = echo) -> None:
        self._name = name
        self.offered = tuple(capabilities)
        self.behave = behave
        self.calls: list[Request] = []
        self.closed = False

    @property
    def name(self) -> str:
        return self._name

    async def capabilities(self) -> Listing:
        return Listing(capabilities=self.offered)

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        self.calls.append(request)
        return await self.behave(request, capability, emit)

    async def aclose(self) -> None:
        self.closed = True


class Says:
    """A request policy with one answer for every call, given in advance or only when asked."""

    def __init__(
        self,
        verdict: Verdict,
        *,
        name: str = "access",
        when_planned: bool = True,
        need: Literal["check", "read"] = "check",
    ) -> None:
        self._name = name
        self.verdict = verdict
        self.when_planned = when_planned
        self.need: Literal["check", "read"] = need
        self.asked = 0

    @property
    def name(self) -> str:
        return self._name

    def plan(self, agent: AgentClass, capability: Capability) -> Need:
        return self.verdict if self.when_planned else self.need

    def check_request(self, request: Request, capability: Capability) -> Verdict:
        self.asked += 1
        return self.verdict


GRANT = Allow(policy="access", rule="support.allow[0]", grant=True)
ANA = principal("ana", roles=frozenset({"support"}))


def tool(
    local: str = "refund", *, owner: str = "orders", effect: Effect = "sink", kind: CapabilityKind = "tool", **more: str
) -> Capability:
    """A capability called `KIND:OWNER/LOCAL`."""
    return Capability(
        name=f"{kind}:{owner}/{local}",
        kind=kind,
        owner=owner,
        local=local,
        effect=effect,
        idempotency=more.get("idempotency", ""),
        tenant=more.get("tenant", "default"),
    )


def a_request(
    capability: str = "tool:orders/refund",
    *,
    who: Principal = ANA,
    operation: Operation = "call",
    arguments: Mapping[str, Json] | None = None,
    key: str = "",
    run: tuple[str, str] = ("", ""),
    labels: Labels = CLEAN,
    deadline_s: float = 1060.0,
) -> Request:
    body: Body = NOTHING if arguments is None else plain(dict(arguments))
    return Request(
        id="req_1",
        principal=who,
        capability=capability,
        operation=operation,
        budget=Budget(deadline_s=deadline_s),
        body=body,
        idempotency_key=key,
        run_id=run[0],
        step_id=run[1],
        labels=labels,
    )


class Path:
    """A pipeline over fake upstreams, with everything a test may want to look at."""

    def __init__(
        self,
        *upstreams: FakeUpstream,
        policies: Sequence[RequestPolicy] | None = None,
        limits: Limits | None = None,
        tenant: str = "default",
        calls: AgentCalls | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.chaos = Chaos(self.clock, CountingIds())
        self.audit = ListAudit()
        self.ledger = WatchedLedger()
        self.shelf = Shelf()
        for upstream in upstreams:
            self.shelf.add(upstream, tenant)
            self.shelf.arrived(upstream.name, Listing(capabilities=upstream.offered))
        self.policies = Policies(requests=[Says(GRANT)] if policies is None else policies)
        self.pipeline = Pipeline(
            snapshot=self.snapshot("1"),
            audit=self.audit,
            effects=Effects(self.ledger, self.clock),
            clock=self.clock,
            ids=CountingIds(),
            limits=limits or Limits(),
            chaos=self.chaos,
        )
        self.pipeline.share(None if calls is None else SharedHops(calls, self.clock))
        self.events: list[Event] = []

    def snapshot(self, version: str) -> Snapshot:
        return Snapshot(version=version, catalog=self.shelf.catalog(), policies=self.policies)

    async def emit(self, event: Event) -> None:
        self.events.append(event)

    async def call(self, request: Request) -> Result:
        return await self.pipeline.call(request, self.emit)
