"""What the REST API needs of the gateway's parts, as protocols and values. Knows neither HTTP nor any of the parts."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from gateway.core.breaker import BreakerView
from gateway.core.chaos import Active, ChaosOrder
from gateway.core.json import Json, JsonObject
from gateway.core.model import Capability, Principal, PrincipalKind
from gateway.core.ports.accounts import Account
from gateway.core.ports.approvals import Approval, ApprovalState
from gateway.core.ports.costs import Spent
from gateway.core.ports.dead_letters import DeadLetter
from gateway.core.ports.memory import Memo
from gateway.core.ports.runs import Run
from gateway.core.ports.storage import ApiKey
from gateway.core.ports.world import Secret
from gateway.core.resilience import Load

UpstreamKind = Literal["server", "agent", "workflow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamState:
    """How one upstream is doing."""

    slug: str
    kind: UpstreamKind
    state: Literal["up", "stale", "down", "waiting"]
    """`up`: its list is current; `stale`: the last refresh failed, an older list is in use; `down`: never listed and
    failed; `waiting`: not asked yet."""
    reason: str = ""
    capabilities: int = 0
    breakers: tuple[BreakerView, ...] = ()
    """Those that let no call through, or only a probe."""
    dropped: tuple[Json, ...] = ()
    """What it lists and cannot be served: `kind`, `name`, `reason`; not all, where that is very much."""
    dropped_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerState:
    """How an issuer of access tokens is doing."""

    name: str
    keys: int
    age_s: float | None
    """Since when its keys are what it last published, seconds; None: never fetched."""
    problem: str
    """Why they could not be fetched last time; empty where they could."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEntry:
    """One agent behind the gateway, wherever it was named."""

    slug: str
    card_url: str
    configured: bool
    """It stands in the configuration: the API may not change it."""
    card: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Its card as fetched; empty before it was first reached."""
    digest: str = ""
    added_at_us: int = 0
    added_by: str = ""
    problem: str = ""
    """Why it cannot be called now; empty when it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOrder:
    """A key somebody asks for."""

    subject: str
    kind: PrincipalKind
    tenant: str
    roles: frozenset[str]
    expires_at_us: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which records; empty fields do not narrow. Always within one tenant."""

    tenant: str
    subject: str = ""
    capability: str = ""
    """A glob over capability names."""
    outcome: str = ""
    run_id: str = ""
    label: str = ""
    """A glob over labels of any kind."""
    since_us: int = 0
    until_us: int = 0
    after: int | None = None
    """Only records later in the log than this sequence number, oldest first; None for the latest ones."""
    text: str = ""
    limit: int = 50


class LoadReader(Protocol):
    def load(self, tenant: str) -> Load:
        """How busy the tenant's servers and agents are now."""
        ...


class ChaosControl(Protocol):
    """Kept within one tenant."""

    def add(self, order: ChaosOrder) -> Active:
        """Raises: Denied: chaos is not allowed here; NotFound: nothing is called that; InvalidRequest; Exhausted."""
        ...

    def of(self, tenant: str) -> Sequence[Active]: ...

    def remove(self, tenant: str, injection_id: str) -> bool:
        """False where the tenant has no such injection."""
        ...


class AgentDirectory(Protocol):
    async def entries(self, tenant: str) -> Sequence[AgentEntry]:
        """Configured and registered agents, sorted by slug."""
        ...

    async def register(self, who: Principal, url: str, slug: str) -> AgentEntry:
        """Fetch, check and store the card behind `url`; an empty slug is taken from the card's name.

        Raises: InvalidRequest: no valid card there, or an address that may not be reached; Conflict: the slug is
            taken; UpstreamFailed, Unavailable, DeadlineExceeded.
        """
        ...

    async def unregister(self, who: Principal, slug: str) -> None:
        """Raises: NotFound; Conflict: it stands in the configuration."""
        ...


class AccountKeeper(Protocol):
    """Accounts people connected at servers. Gives no token."""

    async def all(self, tenant: str) -> Sequence[Account]: ...

    async def revoke(self, tenant: str, server: str, subject: str) -> bool:
        """False where there is none."""
        ...

    def link(self, tenant: str, server: str, subject: str) -> str:
        """Where somebody connects theirs. Raises: NotFound: the server is not used that way."""
        ...

    async def registered(self, tenant: str) -> "Sequence[Registered]":
        """Where the gateway registered itself as a client, also for servers that are gone."""
        ...

    async def register_anew(self, tenant: str, server: str) -> bool:
        """Forget what the gateway is called at the issuers of a server; False where it registered nowhere."""
        ...


class Registered(Protocol):
    """That the gateway registered itself at an issuer."""

    @property
    def server(self) -> str: ...

    @property
    def issuer(self) -> str: ...

    @property
    def made_at_us(self) -> int: ...


class Keys(Protocol):
    async def mint(self, order: KeyOrder) -> tuple[ApiKey, Secret]:
        """A stored key, valid at once, and its only copy in clear. Raises: InvalidRequest."""
        ...

    async def all(self, tenant: str) -> Sequence[ApiKey]: ...

    async def revoke(self, tenant: str, key_id: str) -> bool:
        """False where the tenant has no such key, or it was revoked before. Takes effect at once."""
        ...


class Principals(Protocol):
    def all(self, tenant: str) -> Sequence[Principal]:
        """Everybody the configuration or a minted key names."""
        ...

    def find(self, tenant: str, subject: str) -> Principal | None: ...


class RunControl(Protocol):
    async def cancel(self, run_id: str) -> None: ...

    async def resume(self, run_id: str) -> None: ...

    async def pause(self, run_id: str) -> None: ...

    async def fork(self, run_id: str, step: str) -> Run: ...


class Pruned(Protocol):
    @property
    def runs(self) -> int: ...

    @property
    def effects(self) -> int: ...

    @property
    def owners(self) -> int: ...

    @property
    def memories(self) -> int: ...


class RunRetention(Protocol):
    async def prune(self, tenant: str, before_us: int, *, memories: bool = False) -> Pruned:
        """Forget, at once, every run of the tenant that ended before then."""
        ...


class DeadLetterQueue(Protocol):
    async def list(self, tenant: str, *, workflow: str, settled: bool, limit: int) -> Sequence[DeadLetter]: ...

    async def find(self, tenant: str, run_id: str) -> DeadLetter:
        """Raises: NotFound."""
        ...

    async def retry(self, tenant: str, run_id: str, *, by: str) -> DeadLetter:
        """Raises: NotFound; Conflict: it is settled, or cannot go on; Exhausted; Unavailable."""
        ...

    async def drop(self, tenant: str, run_id: str, *, by: str) -> DeadLetter:
        """Raises: NotFound; Conflict: it is settled."""
        ...


ToolsOfRun: TypeAlias = Callable[[str], Awaitable[Mapping[str, frozenset[str]]]]
"""Run id -> which tools each agent called in it, by subject and capability name."""


ToolsGranted: TypeAlias = Callable[[str], frozenset[str]]
"""Subject of an agent -> capability names of all tools it may call."""


class Advising(Protocol):
    async def advise(
        self, who: Principal, tools: ToolsOfRun, granted: ToolsGranted, *, run_id: str = "", workflow: str = ""
    ) -> JsonObject:
        """What the record suggests of one run, or of a workflow's latest: `runs`, `findings`, `warnings`.

        Raises: NotFound.
        """
        ...


class RunExplainer(Protocol):
    async def explain(self, who: Principal, run_id: str) -> JsonObject:
        """Who was called in what order, given what, how long, at what price, where it failed, and why it was decided
        so: `run`, `agents`, `steps`, `failure`, `decisions`, `totals`. Raises: NotFound."""
        ...


class Approving(Protocol):
    async def list(
        self, who: Principal, *, state: str = "", run_id: str = "", limit: int = 100
    ) -> Sequence[Approval]: ...

    async def find(self, who: Principal, approval_id: str) -> Approval:
        """Raises: NotFound: also where it is none of the asker's business."""
        ...

    async def answer(
        self, who: Principal, approval_id: str, state: ApprovalState, *, value: Json = None, comment: str = ""
    ) -> Approval:
        """Raises: NotFound; Denied; Conflict; InvalidRequest."""
        ...


class MemoryKeeper(Protocol):
    """What agents remember. Every question is one tenant's. Each raises Unavailable, UpstreamFailed."""

    async def names(self, tenant: str) -> Mapping[str, int]: ...

    async def search(self, tenant: str, name: str, query: str, *, limit: int) -> Sequence[Memo]: ...

    async def list(self, tenant: str, name: str, *, limit: int) -> Sequence[Memo]: ...

    async def forget(self, tenant: str, name: str, ids: Collection[str]) -> int: ...

    async def forget_older(self, tenant: str, name: str, older_than_s: float) -> int: ...


class AuditReader(Protocol):
    async def search(self, query: AuditQuery) -> Sequence[JsonObject]:
        """Records as the log stores them, each with its `seq`, oldest first: the last `limit` that fit; with `after`,
        the first `limit` behind it."""
        ...

    async def find(self, tenant: str, record_id: str) -> Sequence[JsonObject]:
        """The intent and the outcome of one call, as far as they are there; see `search`."""
        ...


class AuditBodies(Protocol):
    """What is kept of what was said, beside the records; neither the place nor the limit of a query counts."""

    async def count(self, query: AuditQuery) -> int:
        """How many bodies are kept of the records that fit."""
        ...

    async def erase(self, query: AuditQuery) -> int:
        """How many went; the records stay. Raises: Unavailable."""
        ...


class Costs(Protocol):
    async def spent(self, tenant: str, since: str, until: str) -> tuple[Spent, ...]:
        """What was spent between two days, ends included."""
        ...

    def budgets(self, tenant: str) -> Sequence[JsonObject]:
        """Each limit with how much of it is used: `budget`, `limit`, `most`, `spent`, `reserved`, `opensAt`."""
        ...


class PinKeeper(Protocol):
    def pins(self, tenant: str, *, name: str = "") -> Sequence[JsonObject]:
        """Each with `name`, `server`, `state` (approved, changed, new), `offered`, `digest`, `changes`, `flags`; with a
        `name` only that one, its definition beside. `digest` is that of what was last seen."""
        ...

    async def approve(self, tenant: str, name: str, digest: str, *, by: str) -> JsonObject:
        """Raises: NotFound; Conflict: the server says something else by now; Denied; Unavailable."""
        ...


class Explainer(Protocol):
    def explain(self, who: Principal, call: str, arguments: "JsonObject | None") -> JsonObject:
        """The judgement on a call nobody made: `decision` (allow, deny, depends), `rule`, `line`, `reason`, `change`
        (what would turn it round), `notes`, `matches` (every rule that speaks of it), and `file`, whose lines they are.
        `arguments` None: not known, conditions on them stay open.

        Raises: InvalidRequest: nothing can be called that.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOffered:
    """One thing that is missing at one of the MCP endpoints although its server has it."""

    at: str
    """Path of the endpoint."""
    name: str
    reason: str


class Directory(Protocol):
    """What there is to call, apart from who may call it."""

    def capabilities(self, tenant: str) -> Sequence[Capability]: ...

    def upstreams(self, tenant: str) -> Sequence[UpstreamState]: ...

    def issuers(self) -> Sequence[IssuerState]:
        """Whose access tokens are taken."""
        ...

    def not_offered(self, tenant: str) -> Sequence[NotOffered]:
        """What is there, and under names or arguments with which it cannot be offered."""
        ...
