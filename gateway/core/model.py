"""The central types: who calls, what can be called, one call, its answer and what happens meanwhile. Pure values."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

from msgspec import Struct

from gateway.core.content import NOTHING, Body
from gateway.core.json import Json
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import AS_LIMITED, NOTHING_USED, Bounds, Budget, Usage
from gateway.core.task import Artifact, Task, TaskState

DEFAULT_TENANT = "default"

PrincipalKind = Literal["client", "agent", "operator", "workflow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentClass:
    """What decides a principal's permissions; principals of one class share compiled plans."""

    tenant: str
    kind: PrincipalKind
    roles: frozenset[str]
    behind: tuple[frozenset[str], ...] = ()
    """Roles of the actors on whose behalf it acts, outermost first: their denies apply, their grants do not."""
    scopes: frozenset[str] | None = None
    """OAuth scopes of the token it came with; None where no token limits it."""
    hashed: int = field(init=False, repr=False, compare=False)
    """Worked out once: every call looks its plan up by its class."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hashed", hash((self.tenant, self.kind, self.roles, self.behind, self.scopes)))

    def __hash__(self) -> int:
        return self.hashed


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls: the last actor, and on whose behalf. Build with `principal`, `on_behalf_of`."""

    subject: str
    """Unique in its tenant, for example `ana`, `agent:refunds`, `workflow:help`."""
    kind: PrincipalKind
    tenant: str
    roles: frozenset[str]
    behind: "Principal | None" = None
    """On whose behalf; None for the first of the chain."""
    agent_class: AgentClass = field(repr=False)

    @property
    def chain(self) -> tuple[str, ...]:
        """Subjects from the first to this one."""
        earlier = self.behind.chain if self.behind is not None else ()
        return (*earlier, self.subject)

    @property
    def first(self) -> "Principal":
        """Who started it all."""
        return self if self.behind is None else self.behind.first


def principal(
    subject: str,
    *,
    kind: PrincipalKind = "client",
    tenant: str = DEFAULT_TENANT,
    roles: frozenset[str] = frozenset(),
    behind: Principal | None = None,
    scopes: frozenset[str] | None = None,
) -> Principal:
    """A principal with its class worked out once, here. `scopes`: see `AgentClass.scopes`."""
    earlier = (*behind.agent_class.behind, behind.roles) if behind is not None else ()
    agent_class = AgentClass(tenant=tenant, kind=kind, roles=roles, behind=earlier, scopes=scopes)
    return Principal(subject=subject, kind=kind, tenant=tenant, roles=roles, behind=behind, agent_class=agent_class)


CapabilityKind = Literal["tool", "prompt", "resource", "template", "method", "agent", "workflow"]
Effect = Literal["read", "sink"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembering:
    """How long answers of a capability are remembered, and what for. An operator's word, never an upstream's."""

    ttl_s: float
    fresh: bool
    """The same input always has the same answer: it is given without asking again."""
    stale: bool
    """When the target fails, its last answer is given, however old, and marked as such."""
    personal: bool = False
    """The answer may depend on who asks, not only on what they may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """One thing that can be called."""

    name: str
    """Gateway-wide: `tool:orders/refund`, `prompt:orders/reply`, `resource:orders/file:///a`,
    `method:orders/skills/list`, `agent:refunds`, `workflow:help`."""
    kind: CapabilityKind
    owner: str
    """Slug of the server, agent or workflow it belongs to."""
    local: str
    """What the upstream itself calls it: tool or prompt name, resource URI, URI template, method, skill id."""
    tenant: str = DEFAULT_TENANT
    """Whose it is; `*` for every tenant's."""
    title: str = ""
    description: str = ""
    definition: Mapping[str, Json] = field(default_factory=dict[str, Json], repr=False)
    """As the upstream gave it, every unknown field included."""
    input_schema: Mapping[str, Json] | None = field(default=None, repr=False)
    output_schema: Mapping[str, Json] | None = field(default=None, repr=False)
    tags: frozenset[str] = frozenset()
    effect: Effect = "sink"
    """A sink may change something outside. Unknown counts as sink; an upstream's own hint never lowers it."""
    idempotency: str = ""
    """How the upstream learns the idempotency key: `meta`, `argument:NAME`, or empty for not at all."""
    timeout_s: float | None = None
    bounds: Bounds = AS_LIMITED
    remembering: Remembering | None = None
    """None where no answer is kept."""
    digest: str = ""
    """SHA-256, hex, of the canonical definition."""
    made_from: tuple[str, ...] = ()
    """Names of the templates a resource that is not listed may have been made from: denied any of them, denied this."""
    needs: frozenset[str] = frozenset()
    """What a caller's client has to be able to be asked for to be shown it, any one of these; empty: nothing."""


Operation = Literal[
    "call",
    "get",
    "read",
    "complete",
    "method",
    "task.get",
    "task.list",
    "task.update",
    "task.cancel",
    "task.subscribe",
    "subscribe",
]
"""What is asked of a capability: `call` runs a tool, agent or workflow; `get` a prompt; `read` a resource;
`complete` proposes argument values; `method` asks a server by a method of its own; `task.*` concern a task of an agent,
a workflow or a tool; `subscribe` tells of changes to a resource until it is canceled."""

CALLS: frozenset[Operation] = frozenset({"call", "method"})
"""Operations that may do something: limited by budgets, and refused to whoever may only propose."""
READ_OPERATIONS: frozenset[Operation] = frozenset(
    {"get", "read", "complete", "task.get", "task.list", "task.subscribe", "subscribe"}
)
"""Operations that change nothing, whatever the capability's effect."""

Phase = Literal["", "propose", "commit"]
NO_META: Mapping[str, Json] = MappingProxyType({})


class Request(Struct, frozen=True, kw_only=True, gc=False):
    """One call, whichever protocol it came by."""

    id: str
    principal: Principal
    capability: str
    """Name of the capability; need not exist."""
    operation: Operation
    budget: Budget
    body: Body = NOTHING
    protocol: str = ""
    """By which door it came: `mcp`, `a2a`, `run`, `api`, `bus`."""
    labels: Labels = CLEAN
    traceparent: str = ""
    """W3C trace context of the caller, or empty."""
    run_id: str = ""
    step_id: str = ""
    phase: Phase = ""
    idempotency_key: str = ""
    continuation: str = ""
    """State of an earlier `InputRequired` that this call resumes; judged again, neither charged nor asked twice."""
    credential: str = ""
    """Under which the caller's own access token is known while it lasts; empty where it brought none. Not a secret."""
    meta: Mapping[str, Json] = NO_META
    """What adapters and the orchestrator tell each other about this call; never sent on as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """The call's final answer."""

    body: Body
    is_error: bool = False
    """The upstream answered, and its answer says that it failed."""
    usage: Usage = NOTHING_USED
    labels: Labels = CLEAN
    meta: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRequired:
    """The upstream asks back. A `Request` with `continuation=state` and the answers resumes it."""

    body: Body
    state: str
    labels: Labels = CLEAN
    questions: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """What it asks, by key, in the words of `core.asked`; empty where all there is are the words of `body`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The call became a task that goes on by itself."""

    task: Task
    labels: Labels = CLEAN


Result: TypeAlias = Complete | InputRequired | Accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`progress` of `total` is done; `total` None when unknown."""

    progress: float
    total: float | None = None
    message: str = ""
    native: Body | None = None
    """The protocol's own frame; the same protocol's door relays it instead of rebuilding it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A line the upstream wants the caller to see."""

    level: str
    text: str
    native: Body | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOpened:
    """The call has become a task; always the first event of a task's stream."""

    task: Task
    native: Body | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanged:
    """A task moved to `state`, or said something in it."""

    task_id: str
    context_id: str
    state: TaskState
    text: str = ""
    at_us: int = 0
    metadata: Mapping[str, Json] = field(default_factory=dict[str, Json])
    native: Body | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactAdded:
    """A task produced (a piece of) an output."""

    task_id: str
    context_id: str
    artifact: Artifact
    append: bool = False
    last: bool = True
    metadata: Mapping[str, Json] = field(default_factory=dict[str, Json])
    native: Body | None = None


Event: TypeAlias = Progress | Log | TaskOpened | StatusChanged | ArtifactAdded
Emit: TypeAlias = Callable[[Event], Awaitable[None]]
"""Called in order while a call runs; never the last word. Returns once the caller's side has room again."""


async def ignore_event(event: Event) -> None:
    """An `Emit` for callers that only want the answer."""
