"""What has to outlive the process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol, TypeAlias

from gateway.core.fields import TakenOut
from gateway.core.json import Json, JsonObject
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import NOTHING_USED, Usage
from gateway.core.model import Phase, Principal, PrincipalKind
from gateway.core.record import Record


class AuditLog(Protocol):
    """Append-only. One writer per file; records keep the order in which they were handed over."""

    def record(self, record: Record) -> None:
        """Hand over a record; on disk within the commit interval. Never waits.

        Raises: Unavailable: the log is full or closed; the call it belongs to must not go on.
        """
        ...

    async def record_durably(self, record: Record) -> None:
        """As `record`; returns once it and everything before it is on disk. Raises: Unavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A credential minted by the gateway: what is stored of it."""

    id: str
    """The public part, inside the key itself."""
    digest: bytes
    """HMAC-SHA-256 of the whole key under the gateway's pepper."""
    subject: str
    kind: PrincipalKind
    tenant: str
    roles: frozenset[str]
    created_at_us: int
    expires_at_us: int | None = None
    revoked_at_us: int | None = None
    note: str = ""


class KeyStore(Protocol):
    async def add(self, key: ApiKey) -> None:
        """Raises: Conflict: the id exists."""
        ...

    async def all(self) -> tuple[ApiKey, ...]:
        """Every key, revoked and expired ones included, oldest first."""
        ...

    async def revoke(self, key_id: str, at_us: int) -> bool:
        """False where there is no such key, or it was revoked before."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredAgent:
    """An agent added by its card's URL, not by the configuration."""

    slug: str
    tenant: str
    card_url: str
    card: bytes
    """The card exactly as fetched."""
    digest: str
    """SHA-256, hex, of the canonical card."""
    added_at_us: int
    added_by: str
    settings: Mapping[str, Json] = field(default_factory=dict[str, Json])


class AgentRegistry(Protocol):
    async def add(self, agent: RegisteredAgent) -> None:
        """Raises: Conflict: the slug is taken."""
        ...

    async def all(self) -> tuple[RegisteredAgent, ...]: ...

    async def remove(self, slug: str) -> bool: ...

    async def seen(self, slug: str, digest: str, card: bytes, at_us: int) -> str:
        """Note the card of an agent (configured ones too); gives the digest first seen, for pinning."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedTask:
    """Whose task at which agent: proxied tasks keep the upstream's ids."""

    tenant: str
    agent: str
    task_id: str
    context_id: str
    subject: str
    created_at_us: int


class TaskOwners(Protocol):
    async def claim(self, task: OwnedTask) -> bool:
        """Note the owner; False if somebody else already owns it. Claiming one's own again is True."""
        ...

    async def find(self, tenant: str, agent: str, task_id: str) -> OwnedTask | None: ...

    async def of(self, tenant: str, agent: str, subject: str) -> frozenset[str]:
        """Ids of all tasks the subject owns at this agent."""
        ...


@dataclass(frozen=True, slots=True)
class Fresh:
    """Nobody has begun this effect; it is now begun by the asker."""


@dataclass(frozen=True, slots=True)
class Known:
    """The effect was done before; this is its recorded outcome."""

    outcome: JsonObject


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The effect was begun and its outcome is not recorded."""

    began_at_us: int
    here: bool
    """It was begun by this very process, and may still be under way."""
    elsewhere: bool = False
    """It is under way in another process, which is alive."""


EffectState: TypeAlias = Fresh | Known | Unfinished


class EffectLedger(Protocol):
    """Sink calls under an idempotency key, so that an effect happens once."""

    async def begin(self, tenant: str, key: str, digest: str, at_us: int) -> EffectState:
        """Look up or begin, in one durable step.

        Raises: Conflict: the key was used with another digest (other arguments, capability or caller).
        """
        ...

    async def again(self, tenant: str, key: str, at_us: int) -> None:
        """Note that an unfinished effect is tried again."""
        ...

    async def finish(self, tenant: str, key: str, outcome: JsonObject, at_us: int) -> None: ...

    async def leave(self, tenant: str, key: str) -> None:
        """An unfinished effect is no longer under way, and what came of it is not known."""
        ...

    async def forget(self, tenant: str, key: str) -> None:
        """The effect certainly did not happen (refused, never sent): the key is free again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """A result that a step was handed, of which its agent may ask for the rest."""

    name: str
    """Under which it was."""
    step_id: str
    """Of the step it is of."""
    within: str = ""
    """See `StepResult.within`."""
    taken_out: tuple[TakenOut, ...] = ()
    """See `StepResult.taken_out`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStep:
    """A step under way: what a delegation token stands for. Labels and budget live here, never in the token."""

    run_id: str
    step_id: str
    agent: str
    """Slug of the agent that works on it."""
    actor: Principal
    """As whom the agent acts on this step: its own roles, behind it the workflow and whoever started the run."""
    phase: Phase
    labels: Labels = CLEAN
    """Of what the agent was handed, and of everything it has been told since."""
    deadline_at_us: int = 0
    calls_left: int | None = None
    """How many calls its agent may make by its token, those it has made included; None: as many as it likes."""
    tokens_left: int | None = None
    cost_left_usd: Decimal | None = None
    """What those calls may spend, likewise."""
    spent: Usage = NOTHING_USED
    """On such calls, so far."""
    parent_record: str = ""
    traceparent: str = ""
    given: tuple[Handed, ...] = ()
    """Which results it was handed."""
    depth: int | None = None
    """How many further levels the agent's own calls may have; None where nobody said."""


class OpenSteps(Protocol):
    """Durable, because an agent goes on working while the gateway is down."""

    async def open(self, step: OpenStep) -> None:
        """Open, or open again after a crash (the newer row counts)."""
        ...

    async def close(self, run_id: str, step_id: str) -> None: ...

    def shut(self, run_id: str, step_id: str) -> None:
        """Closed for whoever asks from now on; what outlives the process goes with the `RunStore.tell` that names the
        step as closed. Call `swept` after it."""
        ...

    def swept(self, run_id: str, step_id: str) -> None:
        """What `shut` had left is gone, or is left for good."""
        ...

    async def learn(self, run_id: str, step_id: str, labels: Labels) -> None:
        """Whoever works on the step was told something with these labels: it has them too from now on. Nothing to do
        where it is closed."""
        ...

    async def spend(self, run_id: str, step_id: str, used: Usage) -> None:
        """Whoever works on the step has used that, in calls of its own; in memory before this waits for anything.
        Nothing to do where it is closed."""
        ...

    def find(self, run_id: str, step_id: str) -> OpenStep | None:
        """From memory; complete after `load`."""
        ...

    def of_agent(self, tenant: str, agent: str) -> tuple[OpenStep, ...]:
        """Every open step of an agent in a tenant, `*` for all of them; from memory."""
        ...

    def of_run(self, run_id: str) -> tuple[OpenStep, ...]:
        """Every open step of a run; from memory."""
        ...

    async def load(self) -> None:
        """Read what an earlier process left open."""
        ...

    async def look(self, agent: str) -> None:
        """Learn which steps of an agent other processes have opened and closed; nothing to do where there are none.

        Raises: Unavailable: that cannot be known at the moment.
        """
        ...

    async def look_at_run(self, run_id: str) -> None:
        """As `look`, for the steps of a run that another process may have begun."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AtWork:
    """What an agent is at work on."""

    agent: str
    """Its capability name."""
    step_id: str
    """Of the step it belongs to; empty outside runs."""
    depth: int
    """How many further levels the agent's own calls may have."""


class AgentCalls(Protocol):
    """What agents are at work on, in all processes that share a database. There is none where one works alone."""

    async def began(self, call: AtWork, seconds: float) -> int:
        """An agent is at work on this from now on, for no longer than so many seconds. Raises: Unavailable."""
        ...

    async def ended(self, call: AtWork, number: int) -> None:
        """It is no longer; the number is what `began` gave. Raises: Unavailable."""
        ...

    async def at_work(self, agent: str) -> tuple[AtWork, ...]:
        """Everything it is at work on, steps of runs included. Raises: Unavailable: that cannot be known."""
        ...
