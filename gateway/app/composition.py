"""The gateway as one thing: the path and its neighbours, put together, and put right when the file changes."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import anyio
import structlog
from anyio import to_thread
from anyio.abc import TaskGroup

from adapters.a2a.registry import AgentDirectory
from adapters.durable.late import LateJournal
from adapters.events.door import MessageDoor
from adapters.identity.credentials import Credential, operator_credential, principal_credentials
from adapters.mcp.offers import Offers
from adapters.net.egress import EgressGuard
from adapters.storage.pins import PINS
from adapters.storage.registry import AGENTS
from gateway.app.agents import KnownAgents
from gateway.app.engine import durable_engine
from gateway.app.foundation import Foundation
from gateway.app.judging import access_policy, policies_of_runs
from gateway.app.mcp_offers import offers_of
from gateway.app.neighbours import Neighbours, Wanted, registered_agents
from gateway.app.oauth import recognise, recognition_from
from gateway.app.others import every
from gateway.app.pins import watched
from gateway.app.sections import Sections, load_configuration
from gateway.app.subscriptions import Subscriptions
from gateway.config.load import Configuration
from gateway.core.catalog import EVERY_TENANT, Shelf
from gateway.core.chaos import Chaos
from gateway.core.effects import Effects
from gateway.core.errors import InvalidRequest, Unavailable
from gateway.core.hearing import Hearing
from gateway.core.json import JsonObject
from gateway.core.lists import Lists
from gateway.core.model import principal
from gateway.core.pipeline import Pipeline
from gateway.core.plans import Policies, Snapshot
from gateway.core.ports.orchestration import PatternType
from gateway.core.ports.policy import RequestPolicy
from gateway.core.ports.storage import OpenStep
from gateway.core.record import Outcome, Record
from gateway.orchestration.messages.memories import Memories
from gateway.orchestration.orchestrator import NAME as WORKFLOWS
from gateway.orchestration.orchestrator import Orchestrator, check
from gateway.orchestration.step.run_server import RunServer
from gateway.orchestration.wiring import Wiring
from gateway.plugins import load_memory, load_pattern, load_patterns
from policies.access.policy import AccessPolicy
from policies.budgets.meter import CostMeter
from policies.pinning.keeper import Pinning
from policies.token import TokenPolicy

log = structlog.get_logger(__name__)

ONLY_AT_START = ("gateway", "limits", "storage", "audit", "egress")
"""Sections that take effect at the next start."""
BUDGETS_LOOKED_AT_S = 1.0
"""How often it is looked what other gateways have spent of the same budgets, seconds."""
FIRST_ANSWERS_WITHIN_S = 2.0
"""How long runs wait at a start for upstreams to answer for the first time, seconds."""


class Composition:
    """One running gateway."""

    def __init__(self, foundation: Foundation, sections: Sections, patterns: Mapping[str, PatternType]) -> None:
        self.foundation = foundation
        self.sections = sections
        self._began_with = sections
        self._serial = 0
        self._access = access_policy(sections)
        self._offers = replace(offers_of(sections), names=sections.listen.names)
        self.turn = anyio.Lock()
        self._journal = LateJournal(partial(durable_engine, foundation.directory.runs_db, foundation.postgres))
        limits = sections.limits
        self.chaos = Chaos(foundation.clock, foundation.ids) if sections.listen.chaos else None
        self.shelf = Shelf()
        self.pinning = Pinning(
            foundation.pins,
            foundation.clock,
            on_change=self._swap,
            relist=self._relist,
            note=self._note_in,
        )
        foundation.accounts.connecting.note = self._note_in
        self.pinning.configure(watched(sections))
        self.lists = Lists(self.shelf, limits=limits, on_change=self._swap, inspect=self.pinning.inspect)
        self.guard = EgressGuard(sections.egress)
        self.neighbours = Neighbours(foundation, self.lists, limits=limits, guard=self.guard)
        self._agents = KnownAgents(self.neighbours.agent_settings, lambda slug: self.pipeline.about(slug))
        self.directory = AgentDirectory(
            foundation.registry, self.neighbours.fetch_card, foundation.clock, lambda: self.sections.slugs
        )
        self.meter = self._made_meter()
        self.meter.configure(sections.prices, sections.budgets)
        self.memories = Memories(foundation.memory, foundation.clock, load_memory)
        self.memories.apply(self.memories.made(sections.memory), sections.remembering.values())
        self.orchestrator = Orchestrator(
            self._wiring(), patterns=patterns, workflows=sections.workflows, limits=limits, on_versions=self._regrant
        )
        self.retention = self.orchestrator.retention(foundation.archive, lambda: self.sections.retention)
        self.lists.add(self.orchestrator, EVERY_TENANT)
        run_server = RunServer(
            scratch=foundation.scratch,
            runs=foundation.runs,
            clock=foundation.clock,
            journal=self._journal,
            open_steps=foundation.open_steps,
            memories=self.memories,
        )
        self.lists.add(run_server, EVERY_TENANT)
        self.pipeline = Pipeline(
            snapshot=self._snapshot(),
            audit=foundation.audit,
            effects=Effects(foundation.effects, foundation.clock),
            clock=foundation.clock,
            ids=foundation.ids,
            limits=limits,
            chaos=self.chaos,
            hearing=Hearing(foundation.open_steps),
        )
        self.endings = self.orchestrator.endings(foundation.starts, self.pipeline, self.neighbours.bus)
        self.subscriptions = Subscriptions(self._message_door(), self.neighbours.bus)
        self.pipeline.share(foundation.others.hops)
        self.pipeline.count(self.orchestrator.own_calls)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Lists are kept warm and runs go on for as long as the block runs."""
        self.foundation.authenticator.reload(self._credentials(self.sections))
        recognise(recognition_from(self.sections.oauth, self.foundation, self.guard), self.foundation)
        self.neighbours.apply(self.neighbours.made(self.sections, await registered_agents(self.directory)))
        await self.meter.open()
        await self.pinning.load()
        async with anyio.create_task_group() as tasks:
            self.lists.start(tasks)
            if self.sections.agents and self.sections.prices.count_tokens:
                tasks.start_soon(to_thread.run_sync, self.foundation.counter.warm)
            self._watch_others(tasks)
            # A run that goes on needs the agents it calls; one that hangs must not hold up the others for long.
            await self.pipeline.settled(FIRST_ANSWERS_WITHIN_S)
            await self._launch_if_needed()
            tasks.start_soon(self.retention.run)
            tasks.start_soon(self.orchestrator.approving.keep_delivering)
            tasks.start_soon(self.endings.run)
            self.subscriptions.start(tasks, self.sections)
            tasks.start_soon(self.foundation.access_tokens.keep)
            try:
                yield
            finally:
                await self.subscriptions.aclose()
                self.leave()
                await self.orchestrator.aclose()
                tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await self.lists.aclose()

    async def reload(self) -> JsonObject:
        """Read the configuration again: as a whole, or not at all. Calls under way finish as they began.

        Raises: InvalidRequest: what is wrong with it; the present one stays.
        """
        async with self.turn:
            before = self.sections.configuration
            configuration = await to_thread.run_sync(load_configuration, before.source, self.foundation.directory)
            await self.apply(configuration)
        return {
            "version": self.pipeline.version,
            "changed": configuration.digest != before.digest,
            "restart_needed": [*self.waiting_for_a_start()],
        }

    async def apply(self, configuration: Configuration) -> None:
        """Bring a configuration into force. Whoever calls holds `turn`, and has since before the file was read.

        Raises: InvalidRequest: it cannot be; nothing changed.
        """
        sections = Sections(configuration)
        patterns = load_patterns(sections.patterns)
        check(patterns, sections.workflows)
        offers_of(sections)
        memories = self.memories.made(sections.memory)
        wanted = self.neighbours.made(sections, await registered_agents(self.directory))
        # Last, and with nothing awaited behind it: no run of an earlier version begins in between.
        access = access_policy(sections, self.orchestrator.grants(sections.workflows))
        recognition = recognition_from(sections.oauth, self.foundation, self.guard)
        self._apply(sections, access, patterns, wanted)
        recognise(recognition, self.foundation)
        self.memories.apply(memories, sections.remembering.values())
        await self._count_budgets()
        await self._launch_if_needed()
        self.subscriptions.apply(sections)
        self._note("configuration.apply", {"digest": configuration.digest})

    def offers(self) -> Offers:
        """How the MCP door offers what there is."""
        return self._offers

    def waiting_for_a_start(self) -> tuple[str, ...]:
        """Sections that say something else than at the start, and take effect at the next."""
        began, now = self._began_with.configuration.sections, self.sections.configuration.sections
        return tuple(name for name in ONLY_AT_START if began[name] != now[name])

    async def agents_changed(self) -> None:
        """The registry has changed: bring the neighbours in step."""
        async with self.turn:
            self.neighbours.apply(self.neighbours.made(self.sections, await registered_agents(self.directory)))
            self._swap()

    async def _launch_if_needed(self) -> None:
        """Run the engine from the first workflow on, and where an earlier process may have left runs behind."""
        foundation = self.foundation
        needed = self.sections.workflows or foundation.directory.runs_db.exists() or foundation.postgres is not None
        if needed and not self._journal.launched:
            await self.orchestrator.launch(self.pipeline)

    def _watch_others(self, tasks: TaskGroup) -> None:
        """Follow what other gateways on the same database change, for as long as `tasks` run."""
        changes = self.foundation.changes
        if changes is not None:
            changes.on(AGENTS, self.agents_changed)
            changes.each_time(every(BUDGETS_LOOKED_AT_S, self.meter.look, self.foundation.clock))
            changes.on(PINS, self.pinning.load)
            tasks.start_soon(changes.run)

    def leave(self) -> None:
        """The gateway is going down: steps under way take that for no answer, and cancel no task of their agents."""
        self.orchestrator.leave()
        self.neighbours.leave()

    @property
    def access(self) -> AccessPolicy:
        return self._access

    def _apply(
        self,
        sections: Sections,
        access: AccessPolicy,
        patterns: Mapping[str, PatternType],
        wanted: Mapping[str, Wanted],
    ) -> None:
        """Everything that can refuse comes first; what follows cannot fail."""
        before = self._credentials(self.sections)
        self.foundation.authenticator.reload(self._credentials(sections))
        try:
            self.neighbours.apply(wanted)
        except InvalidRequest:
            self.foundation.authenticator.reload(before)
            raise
        self.orchestrator.configure(patterns, sections.workflows)
        self.meter.configure(sections.prices, sections.budgets)
        self.pinning.configure(watched(sections))
        self.sections, self._access = sections, access
        self._offers = replace(offers_of(sections), names=self._offers.names)
        self.lists.poke(WORKFLOWS)
        self._swap()

    def _credentials(self, sections: Sections) -> list[Credential]:
        secrets = self.foundation.secrets
        found = [*principal_credentials(sections.principals, secrets), operator_credential(self.foundation.operator)]
        for slug, agent in sections.agents.items():
            who = principal(f"agent:{slug}", kind="agent", tenant=agent.tenant, roles=frozenset(agent.roles))
            key = secrets.resolve(agent.key) if agent.key else None
            found.append(Credential(principal=who, key=key, delegation_only=agent.delegation == "required"))
        return found

    def _made_meter(self) -> CostMeter:
        foundation = self.foundation
        return CostMeter(
            counter=foundation.counter,
            ledger=foundation.costs,
            clock=foundation.clock,
            warn=self._warn_of_budget,
            minutes=foundation.others.minutes,
        )

    def _wiring(self) -> Wiring:
        foundation = self.foundation
        return Wiring(
            journal=self._journal,
            runs=foundation.runs,
            open_steps=foundation.open_steps,
            scratch=foundation.scratch,
            notes=foundation.notes,
            approvals=foundation.approvals,
            dead_letters=foundation.dead_letters,
            load_pattern=load_pattern,
            alone=foundation.postgres is None,
            clock=foundation.clock,
            ids=foundation.ids,
            mint=self._token,
            agent_roles=self._agents.roles,
            counter=foundation.counter,
            reader=self._agents.reader,
            agent_labels=self._agents.labels,
            memories=self.memories,
        )

    def _message_door(self) -> MessageDoor:
        foundation = self.foundation
        return MessageDoor(
            gateway=self.pipeline,
            starts=foundation.starts,
            clock=foundation.clock,
            ids=foundation.ids,
            limits=self.sections.limits,
            begun=self.endings.watch,
            ended=self.endings.ended,
        )

    def _token(self, step: OpenStep) -> str:
        """What the agent of an open step shows; empty for one that does not take it."""
        takes = self._agents.reader(step.actor.tenant, step.agent).fetches
        return self.foundation.tokens.mint(step) if takes else ""

    def _snapshot(self) -> Snapshot:
        self._serial += 1
        judging: list[RequestPolicy] = [
            self._access,
            self.pinning.policy(),
            *policies_of_runs(self.sections),
            TokenPolicy(self.sections.oauth.scopes),
        ]
        return Snapshot(
            version=f"{self.sections.configuration.digest[:8]}.{self._serial}",
            catalog=self.shelf.catalog(),
            policies=Policies(requests=judging, meter=self.meter, may_reach=self._access.may_reach),
        )

    def _regrant(self) -> None:
        """A run goes on that began with an earlier version of its workflow."""
        self._access = access_policy(self.sections, self.orchestrator.grants(self.sections.workflows))
        self._swap()

    def _swap(self) -> None:
        self.pipeline.swap(self._snapshot())

    def _relist(self, owner: str) -> None:
        self.lists.poke(owner)

    async def _count_budgets(self) -> None:
        """Have new budgets begin with what was spent before them."""
        try:
            await self.meter.open()
        except Unavailable as error:
            log.warning("budgets that are new begin as if nothing had been spent", reason=error.message)

    def _warn_of_budget(self, tenant: str, detail: JsonObject) -> None:
        self._note("budget.warning", detail, tenant=tenant)

    def _note_in(self, tenant: str, operation: str, detail: JsonObject, outcome: Outcome = "ok") -> None:
        self._note(operation, detail, tenant=tenant, outcome=outcome)

    def _note(self, operation: str, detail: JsonObject, *, tenant: str = "", outcome: Outcome = "ok") -> None:
        foundation = self.foundation
        record = Record(
            id=foundation.ids.new("rec"),
            phase="event",
            at_us=foundation.clock.now_us(),
            principal=None,
            tenant=tenant,
            operation=operation,
            outcome=outcome,
            detail=detail,
        )
        self.pipeline.note(record)
