"""A gateway in one process and in memory, for scenarios: the real path, policies and orchestrator, and nothing behind
them but what a scenario makes up. What it keeps outlives the process, so that one can die and another go on.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TypeAlias

import anyio

from adapters.durable.memory import Entry as JournalEntry
from adapters.durable.memory import MemoryJournal, Where, copied
from adapters.tokens import VocabularyCounter
from gateway.app.agents import KnownAgents
from gateway.app.judging import access_policy, policies_of_runs
from gateway.app.sections import Sections
from gateway.app.trial_doors import TrialDoors
from gateway.core.catalog import EVERY_TENANT, Shelf
from gateway.core.content import Body, Content, Plain
from gateway.core.effects import Effects
from gateway.core.errors import Denied, GatewayError
from gateway.core.hearing import Hearing
from gateway.core.json import JsonObject
from gateway.core.limits import Budget
from gateway.core.model import Capability, Emit, Request, Result, ignore_event
from gateway.core.pipeline import Pipeline
from gateway.core.plans import Policies, Snapshot
from gateway.core.ports.policy import RequestPolicy
from gateway.core.ports.upstream import Upstream
from gateway.core.ports.world import Clock, Ids
from gateway.orchestration.messages.memories import Memories
from gateway.orchestration.orchestrator import Orchestrator, check
from gateway.orchestration.step.run_server import RunServer
from gateway.orchestration.wiring import Wiring
from gateway.plugins import load_memory, load_pattern, load_patterns
from gateway.testing.scenarios.faulty import FaultyUpstream, Ordered
from gateway.testing.scenarios.settings import KillSettings
from gateway.testing.scenarios.upstreams import Cast
from gateway.testing.stores.approvals import MemoryApprovals
from gateway.testing.stores.around_runs import MemoryDeadLetters, MemoryNotes, MemoryOpenSteps
from gateway.testing.stores.audit import MemoryAudit
from gateway.testing.stores.costs import MemoryCostLedger
from gateway.testing.stores.effects import KeptEffect, MemoryEffectLedger
from gateway.testing.stores.memory import MemoryInMemory
from gateway.testing.stores.runs import MemoryRuns
from gateway.testing.stores.scratch import MemoryScratch
from policies.budgets.meter import CostMeter

Neighbour: TypeAlias = tuple[Upstream, str]
"""An upstream, and whose it is."""
PENDING_AT_MOST = 100_000


@dataclass(slots=True, kw_only=True)
class TrialWorld:
    """Everything outside the gateway process, and everything it keeps."""

    sections: Sections
    neighbours: Sequence[Neighbour]
    cast: Cast
    faults: list[Ordered]
    kills: list[KillSettings]
    """Those that have not happened yet."""
    clock: Clock
    ids: Ids
    counter: VocabularyCounter
    seed: int
    runs: MemoryRuns = field(default_factory=MemoryRuns)
    open_steps: MemoryOpenSteps = field(default_factory=MemoryOpenSteps)
    scratch: MemoryScratch = field(default_factory=MemoryScratch)
    notes: MemoryNotes = field(default_factory=MemoryNotes)
    memory: MemoryInMemory = field(default_factory=MemoryInMemory)
    approvals: MemoryApprovals = field(default_factory=MemoryApprovals)
    dead_letters: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)
    audit: MemoryAudit = field(default_factory=MemoryAudit)
    costs: MemoryCostLedger = field(default_factory=MemoryCostLedger)
    effects: dict[tuple[str, str], KeptEffect] = field(default_factory=dict[tuple[str, str], KeptEffect])
    entries: dict[str, JournalEntry] = field(default_factory=dict[str, JournalEntry])
    doors: TrialDoors | None = None
    """Where agents call back; None where nobody is real."""
    processes: int = 0
    steps_called: int = 0
    """Calls of agents and tools that runs have made."""


class TrialGateway:
    """One gateway process. Made by `trial_gateway`."""

    def __init__(self, world: TrialWorld) -> None:
        self.world = world
        sections = world.sections
        world.processes += 1
        self._armed: list[KillSettings] = []
        self.journal = MemoryJournal(copied(world.entries), on_slot=self._slot_reached, pending_limit=PENDING_AT_MOST)
        patterns = load_patterns(sections.patterns)
        check(patterns, sections.workflows)
        self.meter = CostMeter(
            counter=world.counter, ledger=world.costs, clock=world.clock, warn=lambda tenant, detail: None
        )
        self.meter.configure(sections.prices, sections.budgets)
        self.memories = Memories(world.memory, world.clock, load_memory)
        self.memories.apply(self.memories.made(sections.memory), sections.remembering.values())
        self.orchestrator = Orchestrator(
            self._wiring(), patterns=patterns, workflows=sections.workflows, limits=sections.limits
        )
        self._shelf = Shelf()
        self.pipeline = Pipeline(
            snapshot=self._snapshot(0),
            audit=world.audit,
            effects=Effects(MemoryEffectLedger(process=f"{world.processes}", effects=world.effects), world.clock),
            clock=world.clock,
            ids=world.ids,
            limits=sections.limits,
            hearing=Hearing(world.open_steps),
        )
        self.pipeline.count(self.orchestrator.own_calls)

    async def start(self) -> None:
        """Offer everything there is, and go on with runs an earlier process left."""
        world = self.world
        run_server = RunServer(
            scratch=world.scratch,
            runs=world.runs,
            clock=world.clock,
            journal=self.journal,
            open_steps=world.open_steps,
            memories=self.memories,
        )
        for upstream, tenant in world.neighbours:
            await self._offer(FaultyUpstream(_Counted(self, upstream), world.faults, world.clock), tenant)
        for upstream in (self.orchestrator, run_server):
            await self._offer(upstream, EVERY_TENANT)
        self.pipeline.swap(self._snapshot(1))
        world.cast.call = self._call_as_agent
        await self.meter.open()
        await self.orchestrator.launch(self.pipeline)

    async def _offer(self, upstream: Upstream, tenant: str) -> None:
        """Put what an upstream has on the shelf; one that cannot be reached has nothing."""
        self._shelf.add(upstream, tenant)
        try:
            self._shelf.arrived(upstream.name, await upstream.capabilities())
        except GatewayError as error:
            self._shelf.failed(upstream.name, error.message)

    async def aclose(self) -> None:
        if not self.journal.crashed.is_set():
            self.orchestrator.leave()
        await self.journal.aclose()
        self.world.entries = self.journal.entries
        self.world.cast.call = None

    async def step_leaves(self) -> None:
        """A run calls somebody: the scenario may want the gateway to die over it."""
        world = self.world
        world.steps_called += 1
        for kill in [each for each in world.kills if each.step == world.steps_called]:
            world.kills.remove(kill)
            if kill.when == "before":
                self.journal.crash()
                await anyio.sleep_forever()
            self._armed.append(kill)

    def _slot_reached(self, run_id: str, number: int, where: Where) -> bool:
        for kill in self._armed:
            if kill.when == where:
                self._armed.remove(kill)
                return True
        return False

    async def _call_as_agent(self, step: Request, target: str, arguments: JsonObject) -> Result:
        """As an agent calls with the token of a step; see the MCP door."""
        world = self.world
        opened = world.open_steps.find(step.run_id, step.step_id)
        if opened is None:
            raise Denied("only an agent at work on a step of a run has a token", detail={"rule": "delegation"})
        request = Request(
            id=world.ids.new("req"),
            principal=opened.actor,
            capability=target,
            operation="call",
            budget=Budget(deadline_s=step.budget.deadline_s, depth=world.sections.limits.depth),
            body=_body_for(target, arguments),
            protocol="mcp",
            labels=opened.labels,
            traceparent=opened.traceparent,
            run_id=opened.run_id,
            step_id=opened.step_id,
            phase=opened.phase,
        )
        return await self.pipeline.call(request, ignore_event)

    def _wiring(self) -> Wiring:
        world = self.world
        agents = KnownAgents(world.sections.agents.get)
        return Wiring(
            journal=self.journal,
            runs=world.runs,
            open_steps=world.open_steps,
            scratch=world.scratch,
            notes=world.notes,
            approvals=world.approvals,
            dead_letters=world.dead_letters,
            load_pattern=load_pattern,
            clock=world.clock,
            ids=world.ids,
            mint=world.doors.mint if world.doors is not None else lambda step: step.step_id,
            agent_roles=agents.roles,
            agent_labels=agents.labels,
            counter=world.counter,
            reader=agents.reader,
            memories=self.memories,
        )

    def _snapshot(self, serial: int) -> Snapshot:
        sections = self.world.sections
        access = access_policy(sections)
        judging: list[RequestPolicy] = [access, *policies_of_runs(sections)]
        return Snapshot(
            version=f"{sections.configuration.digest[:8]}.{serial}",
            catalog=self._shelf.catalog(),
            policies=Policies(requests=judging, meter=self.meter, may_reach=access.may_reach),
        )


class _Counted:
    """See `Upstream`: tells the gateway of every call a run makes of somebody outside."""

    def __init__(self, gateway: TrialGateway, upstream: Upstream) -> None:
        self._gateway = gateway
        self._upstream = upstream
        self.name = upstream.name
        self.capabilities = upstream.capabilities
        self.aclose = upstream.aclose

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        if request.protocol == "run" and request.operation == "call":
            await self._gateway.step_leaves()
        return await self._upstream.call(request, capability, emit)


@asynccontextmanager
async def trial_gateway(world: TrialWorld) -> AsyncGenerator[TrialGateway]:
    """A gateway process, from its start to its end. Raises: InvalidRequest: a workflow cannot be set up."""
    gateway = TrialGateway(world)
    try:
        await gateway.start()
        async with nullcontext() if world.doors is None else world.doors.open(gateway.pipeline):
            yield gateway
    finally:
        # In no scope of its own: the journal's tasks were begun in the one around.
        await gateway.aclose()


def _body_for(target: str, arguments: JsonObject) -> Body:
    if target.startswith("tool:"):
        return Plain(Content(structured=arguments))
    return Plain(Content(structured=arguments if "message" in arguments else {"message": "", "data": arguments}))
