"""In-memory twins of what the REST API works with, and the API on a real socket."""

import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal

import anyio
import uvicorn

from adapters.http.api import Api, ApiParts
from adapters.http.api_configuration import RefusedConfiguration
from adapters.http.api_ports import (
    AgentEntry,
    AuditQuery,
    IssuerState,
    KeyOrder,
    NotOffered,
    ToolsGranted,
    ToolsOfRun,
    UpstreamState,
)
from gateway.app.accounts import ConnectedAccounts
from gateway.app.pins import PinsOfGateway
from gateway.core.answers import AnswersView
from gateway.core.breaker import BreakerView
from gateway.core.chaos import Chaos
from gateway.core.errors import Conflict, GatewayError, NotFound, Unauthenticated
from gateway.core.json import Json, JsonObject
from gateway.core.limits import Usage
from gateway.core.model import Capability, CapabilityKind, Emit, Principal, Request, Result, principal
from gateway.core.ports.approvals import Approval, ApprovalState
from gateway.core.ports.costs import Spent
from gateway.core.ports.dead_letters import DeadLetter, DeadState
from gateway.core.ports.gateway import Identity
from gateway.core.ports.memory import MemoryType
from gateway.core.ports.runs import Run, RunEvent, RunStep
from gateway.core.ports.storage import ApiKey
from gateway.core.ports.world import Secret
from gateway.core.record import Record
from gateway.core.resilience import Load, OwnerView, PlacesView
from gateway.core.spread import seq_of
from gateway.orchestration.messages.memories import Memories
from gateway.orchestration.runs.retention import Pruned
from gateway.testing.stores.accounts import MemoryAccounts
from gateway.testing.stores.claims import MemoryClaims
from gateway.testing.stores.memory import MemoryInMemory
from gateway.testing.stores.pins import MemoryPins
from gateway.testing.stores.runs import MemoryRuns
from policies.pinning.keeper import Pinning, Watched
from tests.fakes import CountingIds, FakeClock, tool
from tests.fakes_orchestration import MemoryDeadLetters

OLGA = principal("olga", kind="operator", roles=frozenset({"owner"}))
BEA = principal("bea", roles=frozenset({"support"}))
CARD: JsonObject = {
    "name": "Refunds",
    "version": "2.1",
    "skills": [{"id": "issue", "name": "Issue a refund"}],
    "securitySchemes": {"bearer": {}},
}


class TableAuthenticator:
    """Knows the bearer tokens it is given."""

    def __init__(self, tokens: Mapping[str, Principal]) -> None:
        self.tokens = dict(tokens)

    async def authenticate(self, authorization: bytes, path: str = "/") -> Identity:
        who = self.tokens.get(authorization.decode("latin-1").removeprefix("Bearer "))
        if who is None:
            raise Unauthenticated("an API key is expected")
        return Identity(principal=who)


@dataclass(kw_only=True)
class ListGateway:
    """Shows each principal what it is told to."""

    shown: Mapping[str, Sequence[Capability]] = field(default_factory=dict[str, Sequence[Capability]])
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    records: list[Record] = field(default_factory=list[Record])
    refuse: GatewayError | None = None
    version: str = "snap-1"

    async def call(self, request: Request, emit: Emit) -> Result:
        raise NotFound("nothing is called here")

    def find(self, principal: Principal, name: str) -> Capability | None:
        return None

    def visible(
        self, principal: Principal, kinds: frozenset[CapabilityKind], owner: str = ""
    ) -> tuple[Capability, ...]:
        return tuple(each for each in self.shown.get(principal.subject, ()) if each.kind in kinds)

    def about(self, owner: str) -> Mapping[str, object]:
        return {}

    def gaps(self, tenant: str) -> Mapping[str, str]:
        return self.missing

    def gaps_for(self, principal: Principal) -> Mapping[str, str]:
        return self.missing

    async def settled(self, timeout_s: float) -> None:
        return

    async def changed(self, version: str) -> str:
        return self.version

    def note(self, record: Record) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.records.append(record)


class ListDirectory:
    def __init__(self) -> None:
        self.known: list[Capability] = [tool("find", effect="read"), tool("refund")]

    def capabilities(self, tenant: str) -> Sequence[Capability]:
        return self.known

    def issuers(self) -> Sequence[IssuerState]:
        return [IssuerState(name="corp", keys=2, age_s=61.2, problem="")]

    def not_offered(self, tenant: str) -> Sequence[NotOffered]:
        return [NotOffered(at="/mcp", name=f"tool:orders/t{number}", reason="it has no name") for number in range(101)]

    def upstreams(self, tenant: str) -> Sequence[UpstreamState]:
        return [UpstreamState(slug="orders", kind="server", state="up", capabilities=2)]


class ListPrincipals:
    def __init__(self, *known: Principal) -> None:
        self.known = known

    def all(self, tenant: str) -> Sequence[Principal]:
        return [each for each in self.known if each.tenant == tenant]

    def find(self, tenant: str, subject: str) -> Principal | None:
        return next((each for each in self.all(tenant) if each.subject == subject), None)


class FixedLoad:
    """A busy server, and an agent whose breaker is open."""

    def __init__(self) -> None:
        full = PlacesView(name="orders", in_flight=3, waiting=2, concurrency=3, queue=10)
        idle = PlacesView(name="refunds", in_flight=0, waiting=0, concurrency=64, queue=256)
        own = PlacesView(name="tool:orders/refund", in_flight=1, waiting=0, concurrency=1, queue=10)
        breaker = BreakerView(target="agent:refunds", state="open", failures=3, retry_after_s=12.34)
        self.said = Load(
            owners=(
                (OwnerView(owner="orders", places=full, capabilities=(own,)), AnswersView(hits=3, misses=1)),
                (OwnerView(owner="refunds", places=idle, breakers=(breaker,)), AnswersView()),
            ),
            answers=1,
            answers_bytes=200,
        )

    def load(self, tenant: str) -> Load:
        return self.said


class OneAnswer:
    """Explains everything alike."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Json]] = []
        self.answer: JsonObject = {
            "decision": "deny",
            "rule": "no-grant",
            "reason": "no rule grants this call",
            "change": ["add it"],
        }

    def explain(self, who: Principal, call: str, arguments: "JsonObject | None") -> JsonObject:
        self.asked.append((who.subject, call, arguments))
        return self.answer


class DictAgents:
    def __init__(self) -> None:
        self.known = {
            "refunds": AgentEntry(slug="refunds", card_url="http://127.0.0.1:9/card", configured=True, card=CARD)
        }

    async def entries(self, tenant: str) -> Sequence[AgentEntry]:
        return [self.known[slug] for slug in sorted(self.known)]

    async def register(self, who: Principal, url: str, slug: str) -> AgentEntry:
        if slug in self.known:
            raise Conflict("the slug is taken")
        entry = AgentEntry(
            slug=slug or "fetched", card_url=url, configured=False, card=CARD, digest="ab", added_by=who.subject
        )
        self.known[entry.slug] = entry
        return entry

    async def unregister(self, who: Principal, slug: str) -> None:
        if slug not in self.known:
            raise NotFound("no such agent")
        if self.known[slug].configured:
            raise Conflict("it stands in the configuration")
        del self.known[slug]


class DictKeys:
    def __init__(self) -> None:
        self.rows: dict[str, ApiKey] = {}

    async def mint(self, order: KeyOrder) -> tuple[ApiKey, Secret]:
        key = ApiKey(
            id=f"k{len(self.rows) + 1}",
            digest=b"",
            subject=order.subject,
            kind=order.kind,
            tenant=order.tenant,
            roles=order.roles,
            created_at_us=1_000_000,
            expires_at_us=order.expires_at_us,
            note=order.note,
        )
        self.rows[key.id] = key
        return key, Secret(f"drawbridge_{key.id}_secret")

    async def all(self, tenant: str) -> Sequence[ApiKey]:
        return [key for key in self.rows.values() if key.tenant == tenant]

    async def revoke(self, tenant: str, key_id: str) -> bool:
        key = self.rows.get(key_id)
        if key is None or key.tenant != tenant or key.revoked_at_us is not None:
            return False
        self.rows[key_id] = replace(key, revoked_at_us=2_000_000)
        return True


class WatchedRuns(MemoryRuns):
    """Runs of which is known when somebody waits for their events."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = anyio.Event()

    async def wait_events(self, run_id: str, after: int, timeout_s: float) -> tuple[RunEvent, ...]:
        if not await self.events(run_id, after):
            self.waiting.set()
        return await super().wait_events(run_id, after, timeout_s)


class ListAuditReader:
    def __init__(self, records: Sequence[JsonObject] = ()) -> None:
        self.records = records
        self.asked: list[AuditQuery] = []

    async def search(self, query: AuditQuery) -> Sequence[JsonObject]:
        self.asked.append(query)
        if query.after is None:
            return self.records
        behind = [each for each in self.records if seq_of(each) > query.after]
        return behind[: query.limit]

    async def find(self, tenant: str, record_id: str) -> Sequence[JsonObject]:
        return [record for record in self.records if record["id"] == record_id and tenant == "default"]


class FixedBodies:
    """As many bodies as it is told, until they are erased."""

    def __init__(self) -> None:
        self.kept = 0
        self.asked: list[AuditQuery] = []

    async def count(self, query: AuditQuery) -> int:
        self.asked.append(query)
        return self.kept

    async def erase(self, query: AuditQuery) -> int:
        self.asked.append(query)
        erased, self.kept = self.kept, 0
        return erased


class ListCosts:
    def __init__(self) -> None:
        self.rows: list[Spent] = []
        self.limits: list[JsonObject] = []

    async def spent(self, tenant: str, since: str, until: str) -> tuple[Spent, ...]:
        return tuple(each for each in self.rows if each.tenant == tenant and since <= each.day <= until)

    def budgets(self, tenant: str) -> Sequence[JsonObject]:
        return self.limits


class StateControl:
    """Moves runs as they are told."""

    def __init__(self, runs: MemoryRuns) -> None:
        self._runs = runs

    async def cancel(self, run_id: str) -> None:
        await self._runs.update(run_id, state="canceled", at_us=9)

    async def resume(self, run_id: str) -> None:
        await self._runs.update(run_id, state="working", at_us=9)

    async def pause(self, run_id: str) -> None:
        await self._runs.pause(run_id, 9)

    async def fork(self, run_id: str, step: str) -> Run:
        run = replace(
            self._runs.runs[run_id], id=f"{run_id}_fork", key="", spec={"origin": run_id, "origin_step": step}
        )
        return await self._runs.open(run)


class CountingRetention:
    """Forgets nothing, and says what it was asked to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.memories: list[bool] = []

    async def prune(self, tenant: str, before_us: int, *, memories: bool = False) -> Pruned:
        self.asked.append((tenant, before_us))
        self.memories.append(memories)
        return Pruned(runs=3, effects=2, owners=1, memories=4 if memories else 0)


class ListDeadLetters:
    """A queue in memory; what is retried goes on itself."""

    def __init__(self) -> None:
        self.kept = MemoryDeadLetters()

    async def list(self, tenant: str, *, workflow: str, settled: bool, limit: int) -> Sequence[DeadLetter]:
        return await self.kept.list(tenant, workflow=workflow, settled=settled, limit=limit)

    async def find(self, tenant: str, run_id: str) -> DeadLetter:
        letter = await self.kept.find(tenant, run_id)
        if letter is None:
            raise NotFound("no such dead letter")
        return letter

    async def retry(self, tenant: str, run_id: str, *, by: str) -> DeadLetter:
        return await self._settled(tenant, run_id, "retried", by)

    async def drop(self, tenant: str, run_id: str, *, by: str) -> DeadLetter:
        return await self._settled(tenant, run_id, "dropped", by)

    async def _settled(self, tenant: str, run_id: str, state: DeadState, by: str) -> DeadLetter:
        retried_as = run_id if state == "retried" else ""
        if not await self.kept.settle(tenant, run_id, state, at_us=9, by=by, retried_as=retried_as):
            raise Conflict("it is settled")
        return await self.find(tenant, run_id)


class Advised:
    """Says what it was asked about, and which tools it was told of."""

    async def advise(
        self, who: Principal, tools: ToolsOfRun, granted: ToolsGranted, *, run_id: str = "", workflow: str = ""
    ) -> JsonObject:
        used = await tools(run_id or "run_1")
        called: JsonObject = {subject: [*sorted(names)] for subject, names in used.items()}
        return {"about": run_id or workflow, "tools": called, "granted": [*sorted(granted("bea"))]}


class NoExplaining:
    """Says of every run that nothing happened."""

    async def explain(self, who: Principal, run_id: str) -> JsonObject:
        return {"run": {"id": run_id}, "steps": []}


class DictApproving:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self, *approvals: Approval) -> None:
        self.kept = {each.id: each for each in approvals}

    async def list(self, who: Principal, *, state: str = "", run_id: str = "", limit: int = 100) -> list[Approval]:
        found = [each for each in self.kept.values() if state in ("", each.state) and run_id in ("", each.run_id)]
        return [each for each in found if who.kind == "operator" or each.role in who.roles][:limit]

    async def find(self, who: Principal, approval_id: str) -> Approval:
        found = [each for each in await self.list(who) if each.id == approval_id]
        if not found:
            raise NotFound(f"there is no approval {approval_id}")
        return found[0]

    async def answer(
        self, who: Principal, approval_id: str, state: ApprovalState, *, value: Json = None, comment: str = ""
    ) -> Approval:
        known = await self.find(who, approval_id)
        answered = replace(known, state=state, answered_by=who.subject, answered_at_us=5, value=value, comment=comment)
        self.kept[approval_id] = answered
        return answered


def an_approval(approval_id: str = "run_1.q1", *, role: str = "chief") -> Approval:
    return Approval(
        id=approval_id,
        tenant="default",
        run_id="run_1",
        number=1,
        workflow="claim",
        owner="ana",
        role=role,
        prompt="Pay 900?",
        asked_at_us=1_000_000,
        expires_at_us=2_000_000,
    )


class FixedReload:
    """Nothing is wrong with the file, unless it is told so."""

    refused: RefusedConfiguration | None = None

    async def __call__(self) -> JsonObject:
        return {"version": "snap-2", "changed": True}


def a_run(run_id: str = "run_1", *, state: str = "working", tenant: str = "default") -> Run:
    return Run(
        id=run_id,
        workflow="help",
        tenant=tenant,
        owner="bea",
        state=state,
        context_id="ctx",
        created_at_us=1_000_000,
        updated_at_us=2_000_000,
        input="My blender arrived broken",
        usage=Usage(calls=3, tokens=10, cost_usd=Decimal("0.20"), input_tokens=6, output_tokens=4, models=("m",)),
    )


def a_step(step_id: str, *, parent: str = "", attempt: int = 1, state: str = "ok", started: int = 1) -> RunStep:
    return RunStep(
        run_id="run_1",
        id=step_id,
        parent=parent,
        target="agent:refunds",
        state=state,
        attempt=attempt,
        started_at_us=started,
        duration_us=2500,
        record_id=f"rec-{step_id}",
    )


def no_engine(name: str) -> MemoryType:
    raise NotFound(f"there is no engine {name}")


class ApiBench:
    """The API over fakes, each within reach."""

    def __init__(self) -> None:
        self.authenticator = TableAuthenticator({"olga-key": OLGA, "bea-key": BEA})
        self.directory = ListDirectory()
        self.gateway = ListGateway(shown={"olga": self.directory.known, "bea": self.directory.known[:1]})
        self.principals = ListPrincipals(OLGA, BEA)
        self.explainer = OneAnswer()
        self.agents = DictAgents()
        self.keys = DictKeys()
        self.runs = WatchedRuns()
        self.approving = DictApproving(an_approval(), an_approval("run_1.q2", role="support"))
        self.audit = ListAuditReader()
        self.bodies = FixedBodies()
        self.reload = FixedReload()
        self.retention = CountingRetention()
        self.dead_letters = ListDeadLetters()
        self.costs = ListCosts()
        self.clock = FakeClock()
        self.load = FixedLoad()
        self.chaos = Chaos(self.clock, CountingIds())
        self.memories = Memories(MemoryInMemory(), self.clock, no_engine)
        self.accounts = ConnectedAccounts(MemoryAccounts(), MemoryClaims(), bytes(32), self.clock)
        self.pinning = Pinning(
            MemoryPins(),
            self.clock,
            on_change=lambda: None,
            relist=lambda owner: None,
            note=lambda tenant, operation, detail: None,
        )
        self.pinning.configure({"orders": Watched(tenant="default", mode="first_use")})
        self.parts = ApiParts(
            gateway=self.gateway,
            authenticator=self.authenticator,
            directory=self.directory,
            principals=self.principals,
            explainer=self.explainer,
            agents=self.agents,
            keys=self.keys,
            runs=self.runs,
            control=StateControl(self.runs),
            approving=self.approving,
            explaining=NoExplaining(),
            advising=Advised(),
            retention=self.retention,
            dead_letters=self.dead_letters,
            audit=self.audit,
            bodies=self.bodies,
            costs=self.costs,
            memories=self.memories,
            pins=PinsOfGateway(self.pinning),
            accounts=self.accounts,
            load=self.load,
            chaos=self.chaos,
            reload=self.reload,
            clock=self.clock,
            ids=CountingIds(),
            version="0.1.0",
            streams=2,
        )

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[str]:
        """The API on a free port of this machine; gives its address."""
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(Api(self.parts), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listener])
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
