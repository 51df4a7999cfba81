"""What the policies have to do for one kind of call, worked out once instead of on every call.

A plan belongs to (agent class, capability) and to one snapshot. Where every policy gave its verdict in advance the
judgement is a lookup; otherwise only the policies that must see the call are run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from msgspec import structs

from gateway.core.catalog import Catalog, Entry
from gateway.core.model import Accepted, AgentClass, Event, Request, Result
from gateway.core.ports.costs import Meter
from gateway.core.ports.policy import EventPolicy, RequestPolicy, ResultPolicy
from gateway.core.verdict import Allow, Ask, Deny, Judgement, Rewrite, Verdict, judge

MOST_PLANS = 100_000
"""Plans kept per snapshot; beyond that the cache starts anew rather than grow with every new chain of actors."""

Step: TypeAlias = Verdict | RequestPolicy
_VERDICTS = (Allow, Deny, Rewrite, Ask)


def _reaches_nobody(agent: AgentClass, owner: str) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The ordered lists a snapshot judges by."""

    requests: Sequence[RequestPolicy]
    results: Sequence[ResultPolicy] = ()
    events: Sequence[EventPolicy] = ()
    meter: Meter | None = None
    """What counts, prices and limits calls; None for nothing."""
    may_reach: Callable[[AgentClass, str], bool] = _reaches_nobody
    """Whether a class could be granted something of an owner that nothing is known of yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How calls of one agent class to one capability are judged."""

    entry: Entry
    steps: tuple[Step, ...]
    decided: Judgement | None
    """The judgement of every such call, where no policy has to look at it."""
    reads_body: bool
    results: tuple[ResultPolicy, ...] = ()
    events: tuple[EventPolicy, ...] = ()
    meter: Meter | None = None
    """Through which such calls go; None where they have neither price nor budget."""

    @property
    def hidden(self) -> bool:
        """Whether every such call is denied, so that the capability is not listed either."""
        return self.decided is not None and isinstance(self.decided.deciding, Deny)

    def judge(self, request: Request) -> Judgement:
        """The judgement of one call. A policy that raises counts as a Deny."""
        if self.decided is not None:
            return self.decided
        capability = self.entry.capability
        said: list[Verdict] = []
        for step in self.steps:
            if isinstance(step, _VERDICTS):
                said.append(step)
                continue
            try:
                said.append(step.check_request(request, capability))
            except Exception as error:  # noqa: BLE001 - fail closed: an error in a policy stops the call
                said.append(_failed(step.name, error))
        return judge(said)

    def judge_result(self, request: Request, result: Result) -> Judgement | None:
        """The judgement of an answer; None where nobody has to look at it."""
        if not self.results:
            return None
        capability = self.entry.capability
        said: list[Verdict] = []
        for policy in self.results:
            try:
                said.append(policy.check_result(request, capability, result))
            except Exception as error:  # noqa: BLE001 - fail closed: an error in a policy stops the call
                said.append(_failed(policy.name, error))
        return _without_grant(said)

    def judge_event(self, request: Request, event: Event) -> Event | Deny:
        """The event as the caller may see it, or the Deny that ends the stream."""
        capability = self.entry.capability
        for policy in self.events:
            try:
                said = policy.check_event(request, capability, event)
            except Exception as error:  # noqa: BLE001 - fail closed: an error in a policy stops the call
                said = _failed(policy.name, error)
            if isinstance(said, Deny):
                return said
            event = said
        return event


class Snapshot:
    """Policies, catalog and the plans compiled from them. A call finishes on the snapshot it began with."""

    __slots__ = ("_count", "_plans", "catalog", "policies", "version")

    def __init__(self, *, version: str, catalog: Catalog, policies: Policies) -> None:
        self.version = version
        self.catalog = catalog
        self.policies = policies
        self._plans: dict[AgentClass, dict[str, Plan]] = {}
        self._count = 0

    def plan(self, agent: AgentClass, name: str) -> Plan | None:
        """The plan for calls of `agent` to the capability called `name`; None where its tenant has none."""
        plans = self._plans.get(agent)
        plan = plans.get(name) if plans is not None else None
        if plan is None:
            entry = self.catalog.find(agent.tenant, name)
            if entry is None:
                return None
            plan = self._compile(agent, entry)
            if name not in self.catalog.entries:
                # Of those there is no end.
                return plan
            if self._count >= MOST_PLANS:
                self._plans.clear()
                self._count = 0
            self._plans.setdefault(agent, {})[name] = plan
            self._count += 1
        return plan

    def gaps_for(self, agent: AgentClass) -> dict[str, str]:
        """Those of the gaps of whose owners `agent` sees something, or could."""
        gaps = self.catalog.gaps(agent.tenant)
        return {owner: reason for owner, reason in gaps.items() if self._reaches(agent, owner)}

    def gap_for(self, agent: AgentClass, owner: str) -> str:
        """As `gaps_for`, of one owner; empty where there is no gap, or none that `agent` is told of."""
        problem = self.catalog.gaps(agent.tenant).get(owner, "")
        return problem if problem and self._reaches(agent, owner) else ""

    def starts(self, agent: AgentClass, owner: str) -> bool:
        """Whether the owner has not answered yet, and `agent` is told so."""
        source = self.catalog.sources.get(owner)
        return source is not None and source.state == "starting" and bool(self.gap_for(agent, owner))

    def _reaches(self, agent: AgentClass, owner: str) -> bool:
        source = self.catalog.sources.get(owner)
        if source is None or source.listing is None:
            return self.policies.may_reach(agent, owner)
        plans = (self.plan(agent, each.name) for each in source.listing.capabilities)
        return any(plan is not None and not plan.hidden for plan in plans)

    def _compile(self, agent: AgentClass, entry: Entry) -> Plan:
        steps: list[Step] = []
        reads_body = False
        for policy in self.policies.requests:
            try:
                need = policy.plan(agent, entry.capability)
            except Exception as error:  # noqa: BLE001 - fail closed: an error in a policy stops the call
                need = _failed(policy.name, error)
            if isinstance(need, str):
                if need != "skip":
                    steps.append(policy)
                    reads_body = reads_body or need == "read"
            else:
                steps.append(need)
        fixed = [step for step in steps if isinstance(step, _VERDICTS)]
        denied = any(isinstance(verdict, Deny) for verdict in fixed)
        decided = judge(fixed) if denied or len(fixed) == len(steps) else None
        wanted = [each for each in self.policies.results if each.plan_result(agent, entry.capability) != "skip"]
        meter = self.policies.meter
        return Plan(
            entry=entry,
            steps=tuple(steps),
            decided=decided,
            reads_body=reads_body,
            results=tuple(wanted),
            events=tuple(self.policies.events),
            meter=meter if meter is not None and meter.concerns(agent.tenant, entry.capability) else None,
        )


def rewritten(request: Request, judgement: Judgement) -> Request:
    """The request with every Rewrite of the judgement applied, in list order."""
    body, labels = request.body, request.labels
    changed = False
    for verdict in judgement.verdicts:
        if isinstance(verdict, Rewrite):
            changed = True
            labels = labels.join(verdict.labels)
            body = body if verdict.body is None else verdict.body
    return structs.replace(request, body=body, labels=labels) if changed else request


def rewritten_result(result: Result, judgement: Judgement) -> Result:
    """The answer with every Rewrite of the judgement applied, in list order."""
    for verdict in judgement.verdicts:
        if isinstance(verdict, Rewrite):
            result = replace(result, labels=result.labels.join(verdict.labels))
            if verdict.body is not None and not isinstance(result, Accepted):
                result = replace(result, body=verdict.body)
    return result


def _without_grant(verdicts: list[Verdict]) -> Judgement:
    """Answers need no grant, the call had it; nobody can be asked about one any more, so an Ask refuses it."""
    for verdict in verdicts:
        if isinstance(verdict, Deny):
            return Judgement(deciding=verdict, verdicts=tuple(verdicts))
        if isinstance(verdict, Ask):
            refused = Deny(policy=verdict.policy, rule=verdict.rule, reason=verdict.reason)
            return Judgement(deciding=refused, verdicts=tuple(verdicts))
    deciding = next((v for v in verdicts if isinstance(v, Rewrite)), verdicts[0])
    return Judgement(deciding=deciding, verdicts=tuple(verdicts))


def _failed(policy: str, error: Exception) -> Deny:
    return Deny(policy=policy, rule="policy-error", reason=f"could not be evaluated: {type(error).__name__}")
