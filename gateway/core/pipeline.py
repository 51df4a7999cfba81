"""The one path: judge, route, run, judge the answer, record. The only code that acts on verdicts.

`Pipeline.call` reads from top to bottom as a call happens. Whatever leaves it, by return or by exception, has been
recorded; a call with side effects has been recorded, durably, before it left as well.
"""

from collections.abc import Callable, Mapping
from typing import assert_never

import anyio
import structlog
from msgspec import structs

from gateway.core.answers import TARGET_FAILED, Answers, question_of
from gateway.core.catalog import Catalog
from gateway.core.chaos import Chaos
from gateway.core.effects import Effects, effect_key
from gateway.core.errors import ApprovalNeeded, Denied, GatewayError, Internal, InvalidRequest, NotFound, Unavailable
from gateway.core.first_answers import first_plan
from gateway.core.hearing import Hearing
from gateway.core.hops import Hops, SharedHops
from gateway.core.json import Json
from gateway.core.labels import labels_of
from gateway.core.limits import NOTHING_USED, Limits
from gateway.core.model import (
    READ_OPERATIONS,
    Capability,
    CapabilityKind,
    Complete,
    Emit,
    Event,
    Principal,
    Request,
    Result,
)
from gateway.core.plans import Plan, Policies, Snapshot, rewritten, rewritten_result
from gateway.core.ports.own_calls import OwnCalls
from gateway.core.ports.storage import AuditLog
from gateway.core.ports.world import Clock, Ids
from gateway.core.record import Record, intent_of, outcome_of, record_id
from gateway.core.resilience import Load, Resilience
from gateway.core.verdict import Allow, Ask, Deny, Rewrite

log = structlog.get_logger(__name__)

TARGETS: frozenset[CapabilityKind] = frozenset({"tool", "prompt", "resource", "template", "agent"})
"""Kinds whose calls leave the gateway."""
SAY_GOODBYE_S = 2.0
"""How long what must still be written after a cancellation may take, seconds."""


class Pipeline:
    """See `ports.gateway.Gateway`, which it implements."""

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        audit: AuditLog,
        effects: Effects,
        clock: Clock,
        ids: Ids,
        limits: Limits,
        chaos: Chaos | None = None,
        hearing: Hearing | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._audit = audit
        self._effects = effects
        self._clock = clock
        self._ids = ids
        self._hearing = hearing
        self._own_calls: OwnCalls | None = None
        self._hops = Hops()
        self._shared_hops: SharedHops | None = None
        self._resilience = Resilience(clock=clock, limits=limits, chaos=chaos)
        self._answers = Answers(clock, entries=limits.answers, size_bytes=limits.answers_bytes)
        self._changed = anyio.Event()
        self._settled = anyio.Event()

    def share(self, hops: SharedHops | None) -> None:
        """Have the calls of other processes count that agents are at work on."""
        self._shared_hops = hops

    def count(self, own_calls: OwnCalls) -> None:
        """Have what agents call at work on a step spend what the step may."""
        self._own_calls = own_calls

    @property
    def version(self) -> str:
        return self._snapshot.version

    @property
    def catalog(self) -> Catalog:
        """The catalog calls are routed by now."""
        return self._snapshot.catalog

    @property
    def policies(self) -> Policies:
        """The policies calls are judged by now."""
        return self._snapshot.policies

    def swap(self, snapshot: Snapshot) -> None:
        """Judge and route by `snapshot` from the next call on; calls under way finish on their own."""
        changed = snapshot.catalog.made_anew_since(self._snapshot.catalog)
        self._resilience.forget(snapshot.catalog, changed)
        self._answers.forget(changed)
        self._snapshot = snapshot
        if all(source.state != "starting" for source in snapshot.catalog.sources.values()):
            self._settled.set()
        woken, self._changed = self._changed, anyio.Event()
        woken.set()

    async def changed(self, version: str) -> str:
        while self._snapshot.version == version:
            await self._changed.wait()
        return self._snapshot.version

    async def settled(self, timeout_s: float) -> None:
        if not self._settled.is_set():
            with anyio.move_on_after(timeout_s):
                await self._settled.wait()

    def find(self, principal: Principal, name: str) -> Capability | None:
        entry = self._snapshot.catalog.find(principal.tenant, name)
        return None if entry is None else entry.capability

    def visible(
        self, principal: Principal, kinds: frozenset[CapabilityKind], owner: str = ""
    ) -> tuple[Capability, ...]:
        snapshot = self._snapshot
        plans = (
            snapshot.plan(principal.agent_class, each.name)
            for each in snapshot.catalog.of(principal.tenant, kinds, owner)
        )
        return tuple(plan.entry.capability for plan in plans if plan is not None and not plan.hidden)

    def about(self, owner: str) -> Mapping[str, Json]:
        return self._snapshot.catalog.about(owner)

    def gaps(self, tenant: str) -> Mapping[str, str]:
        return self._snapshot.catalog.gaps(tenant)

    def gaps_for(self, principal: Principal) -> Mapping[str, str]:
        return self._snapshot.gaps_for(principal.agent_class)

    def load(self, tenant: str) -> Load:
        """How busy the tenant's servers and agents are now; for whoever scales or mends them."""
        first = {each.owner: each for each in self._snapshot.catalog.of(tenant, TARGETS)}
        owners = tuple(
            (self._resilience.view(owner, each), self._answers.view(owner)) for owner, each in sorted(first.items())
        )
        return Load(owners=owners, answers=self._answers.entries, answers_bytes=self._answers.size_bytes)

    def note(self, record: Record) -> None:
        record.snapshot = self._snapshot.version
        self._audit.record(record)

    async def call(self, request: Request, emit: Emit) -> Result:
        """See `ports.gateway.Gateway.call`."""
        started_s = self._clock.monotonic_s()
        record = self._record_of(request)
        try:
            plan = await self._plan(request)
            request = self._hops.bounded(request)
            if self._shared_hops is not None:
                request = await self._shared_hops.bounded(request)
            request = self._judged(request, plan, record)
            if self._own_calls is not None:
                request = await self._own_calls.begun(request)
            run = self._run_by_agent if plan.entry.capability.kind == "agent" else self._run
            result = await run(request, plan, record, emit)
            result = self._judged_result(request, plan, record, result)
            if self._hearing is not None:
                await self._hearing.hear(request, result.labels)
        except GatewayError as error:
            error.detail.setdefault("record", record.id)
            record.outcome, record.code = "denied" if isinstance(error, Denied) else "error", error.wire.code
            record.reason = record.reason or error.message
            record.labels = record.labels.join(labels_of(error))
            await self._refused(record, started_s)
            if error.sources and self._hearing is not None:
                await self._hearing.hear(request, labels_of(error))
            raise
        except anyio.get_cancelled_exc_class():
            record.outcome = "canceled"
            self._finish(record, started_s)
            raise
        except Exception as error:
            log.exception("call failed", capability=request.capability, record=record.id)
            record.outcome, record.code, record.reason = "error", Internal.wire.code, type(error).__name__
            self._finish(record, started_s)
            raise Internal("the gateway failed; its log has the rest", detail={"record": record.id}) from error
        record.outcome = outcome_of(result)
        if isinstance(result, Complete):
            record.result, record.usage = result.body, result.usage
            if result.usage is not NOTHING_USED:
                await self._report(request, plan, result)
        record.labels = result.labels
        self._finish(record, started_s)
        return result

    async def _plan(self, request: Request) -> Plan:
        plan = self._snapshot.plan(request.principal.agent_class, request.capability)
        if plan is None and request.step_id:
            plan = await first_plan(request, lambda: self._snapshot, lambda: self._changed.wait(), self._clock)
        if plan is None:
            raise self._unknown(request)
        return plan

    def _unknown(self, request: Request) -> GatewayError:
        """Nothing is called that; or nobody can tell, because its owner has not been reached yet."""
        kind, _, rest = request.capability.partition(":")
        owner = rest.partition("/")[0]
        problem = self._snapshot.gap_for(request.principal.agent_class, owner)
        if problem:
            return Unavailable(f"{owner} cannot be reached: {problem}", detail={"upstream": owner}, retry_after_s=1.0)
        return NotFound(f"there is no {kind} called {rest}" if rest else f"there is nothing called {kind}")

    def _judged(self, request: Request, plan: Plan, record: Record) -> Request:
        judgement = plan.judge(request)
        deciding = judgement.deciding
        record.policy, record.rule = deciding.policy, deciding.rule
        match deciding:
            case Allow():
                return request
            case Rewrite():
                return rewritten(request, judgement)
            case Deny():
                record.reason = deciding.reason
                raise _denied(request, deciding)
            case Ask():
                record.reason = deciding.reason
                raise ApprovalNeeded(
                    f"{request.capability} needs the agreement of {deciding.role}: {deciding.reason}",
                    detail={"policy": deciding.policy, "rule": deciding.rule},
                )
            case _:
                assert_never(deciding)

    async def _run_by_agent(self, request: Request, plan: Plan, record: Record, emit: Emit) -> Result:
        """As `_run`, while the agent has no more depth for calls of its own than this one leaves."""
        self._hops.began(request)
        try:
            if self._shared_hops is None:
                return await self._run(request, plan, record, emit)
            async with self._shared_hops.under_way(request):
                return await self._run(request, plan, record, emit)
        finally:
            self._hops.ended(request)

    async def _run(self, request: Request, plan: Plan, record: Record, emit: Emit) -> Result:
        capability = plan.entry.capability
        if capability.remembering is not None:
            question = question_of(request, capability)
            if question is not None:
                return await self._remembered(question, request, plan, record, emit)
        if capability.effect == "read" or request.operation in READ_OPERATIONS:
            return await self._route(request, plan, record, emit)
        key = effect_key(request, capability) if capability.kind == "tool" else ""
        if not key:
            await self._audit.record_durably(intent_of(record))
            return await self._route(request, plan, record, emit)
        record.idempotency_key = key
        remembered = await self._effects.begin(request, capability, key)
        if remembered is not None:
            record.detail = {**record.detail, "replayed": True}
            return remembered
        return await self._once(structs.replace(request, idempotency_key=key), plan, record, emit)

    async def _remembered(self, question: bytes, request: Request, plan: Plan, record: Record, emit: Emit) -> Result:
        """From memory what was answered before, from the target what was not, and from memory again if that fails."""
        capability = plan.entry.capability
        known = self._answers.fresh(question, capability)
        if known is not None:
            record.detail = {**record.detail, "cached": True}
            return known
        if capability.effect != "read":
            await self._audit.record_durably(intent_of(record))
        try:
            result = await self._route(request, plan, record, emit)
        except TARGET_FAILED as error:
            known = self._answers.stale(question, capability, error)
            if known is None:
                raise
            record.detail = {**record.detail, "cached": True, **known.meta, "reason": error.message}
            return known
        if "chaos" not in record.detail:
            self._answers.keep(question, capability, result)
        return result

    async def _once(self, request: Request, plan: Plan, record: Record, emit: Emit) -> Result:
        """Run a call whose effect was begun in the ledger, and tell the ledger what came of it."""
        key = request.idempotency_key
        left: list[bool] = []
        try:
            await self._audit.record_durably(intent_of(record))
            result = await self._route(request, plan, record, emit, lambda: left.append(True))
        except BaseException as error:
            # What is known of the effect must be written even when the call was cancelled. Whatever ended a call that
            # still stood in line, nothing came of it.
            with anyio.move_on_after(SAY_GOODBYE_S, shield=True):
                await self._effects.failed(request, key, error if left else Unavailable("it was never sent"))
            raise
        with anyio.CancelScope(shield=True):
            if isinstance(result, Complete):
                await self._effects.done(request, key, result)
            else:
                await self._effects.failed(request, key, InvalidRequest("asks back"))
        return result

    async def _route(
        self, request: Request, plan: Plan, record: Record, emit: Emit, leaves: Callable[[], None] | None = None
    ) -> Result:
        """Run the call at its upstream; `leaves` is called when nothing holds it back any longer."""
        if plan.events:
            emit = self._judging(request, plan, emit)
        return await self._resilience.call(plan, request, record, emit, leaves)

    def _judging(self, request: Request, plan: Plan, emit: Emit) -> Emit:
        async def judged(event: Event) -> None:
            said = plan.judge_event(request, event)
            if isinstance(said, Deny):
                denied = _denied(request, said)
                # The call had left already: what it has done by now, nobody here knows.
                del denied.detail["refused"]
                raise denied
            await emit(said)

        return judged

    def _judged_result(self, request: Request, plan: Plan, record: Record, result: Result) -> Result:
        judgement = plan.judge_result(request, result)
        if judgement is None:
            return result
        deciding = judgement.deciding
        record.policy, record.rule = deciding.policy, deciding.rule
        if isinstance(deciding, Deny):
            record.reason = deciding.reason
            raise _denied(request, deciding)
        return rewritten_result(result, judgement)

    def _record_of(self, request: Request) -> Record:
        return Record(
            id=record_id(request.id) or self._ids.new("rec"),
            phase="outcome",
            at_us=self._clock.now_us(),
            principal=request.principal,
            tenant=request.principal.tenant,
            operation=request.operation,
            capability=request.capability,
            protocol=request.protocol,
            snapshot=self._snapshot.version,
            request_id=request.id,
            run_id=request.run_id,
            step_id=request.step_id,
            traceparent=request.traceparent,
            labels=request.labels,
            request=request.body,
        )

    async def _report(self, request: Request, plan: Plan, result: Complete) -> None:
        meter = self._snapshot.policies.meter
        if meter is not None and plan.meter is None:
            meter.note(request, plan.entry.capability, result.usage)
        if self._own_calls is not None:
            await self._own_calls.ended(request, result.usage)

    async def _refused(self, record: Record, started_s: float) -> None:
        """A denial is told once it is on disk: who tried what they may not is to be known whatever happens next."""
        if record.outcome != "denied":
            self._finish(record, started_s)
            return
        record.duration_us = int((self._clock.monotonic_s() - started_s) * 1_000_000)
        await self._audit.record_durably(record)

    def _finish(self, record: Record, started_s: float) -> None:
        record.duration_us = int((self._clock.monotonic_s() - started_s) * 1_000_000)
        self._audit.record(record)


def _denied(request: Request, verdict: Deny) -> Denied:
    return Denied(
        f"{request.principal.subject} may not call {request.capability}: {verdict.reason}",
        detail={
            "policy": verdict.policy,
            "rule": verdict.rule,
            "refused": True,
            **({"scopes": [*verdict.scopes]} if verdict.scopes else {}),
        },
    )
