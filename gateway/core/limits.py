"""Bounds: what one call may still spend, and the sizes nothing may exceed. Knows no clock and no I/O."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, TypeVar

from msgspec import Struct
from msgspec.structs import replace
from pydantic import Field

from gateway.core.errors import Exhausted
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

N = TypeVar("N", int, Decimal)

_WHOLE = ("calls", "tokens", "input_tokens", "output_tokens", "counted_tokens")
WARN_SHARE = 0.7
"""A budget warns once this share of any of its parts is used."""


class Budget(Struct, frozen=True, kw_only=True, gc=False):
    """What a call may still spend. Budgets only ever shrink on the way in; None means not limited here.

    A `Struct`, like `Request`: one of each is made on every call, in a tenth of the time a frozen dataclass takes.
    """

    deadline_s: float
    """Monotonic seconds at which the call must have ended."""
    calls: int | None = None
    tokens: int | None = None
    cost_usd: Decimal | None = None
    depth: int = 4
    """How many more times orchestration may nest under this call."""

    def child(
        self, *, deadline_s: float | None = None, tokens: int | None = None, cost_usd: Decimal | None = None
    ) -> "Budget":
        """The budget for a call made one level under this one: never more than what is left here.

        Raises: Exhausted: no depth is left.
        """
        if self.depth <= 0:
            raise Exhausted(
                "nested too deeply: the budget of this call allows no further level", detail={"limit": "depth"}
            )
        return replace(self.share(deadline_s=deadline_s, tokens=tokens, cost_usd=cost_usd), depth=self.depth - 1)

    def share(
        self, *, deadline_s: float | None = None, tokens: int | None = None, cost_usd: Decimal | None = None
    ) -> "Budget":
        """The budget for a call on the same level, never more than what is left here."""
        return replace(
            self,
            deadline_s=_least(self.deadline_s, deadline_s),
            tokens=_least_or_none(self.tokens, tokens),
            cost_usd=_least_or_none(self.cost_usd, cost_usd),
        )

    def until(self, deadline_s: float) -> "Budget":
        """The same budget, ending at `deadline_s` (monotonic) if that is sooner."""
        return self if deadline_s >= self.deadline_s else replace(self, deadline_s=deadline_s)

    def seconds_left(self, now_s: float) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self.deadline_s - now_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What something has spent."""

    calls: int = 0
    tokens: int = 0
    """All of them: input, output, and those of which nobody said which they were."""
    cost_usd: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    counted_tokens: int = 0
    """Of `tokens`: counted by the gateway, where whoever was called reported none."""
    models: tuple[str, ...] = ()
    """Which models it was spent on, as far as that is known; sorted."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            calls=self.calls + other.calls,
            tokens=self.tokens + other.tokens,
            cost_usd=self.cost_usd + other.cost_usd,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            counted_tokens=self.counted_tokens + other.counted_tokens,
            models=_either(self.models, other.models),
        )

    def to_json(self) -> JsonObject:
        """What is empty is left out, but for the three that limits are about."""
        said: JsonObject = {"calls": self.calls, "tokens": self.tokens, "cost_usd": str(self.cost_usd)}
        for name, value in (
            ("input_tokens", self.input_tokens),
            ("output_tokens", self.output_tokens),
            ("counted_tokens", self.counted_tokens),
        ):
            if value:
                said[name] = value
        if self.models:
            said["models"] = [*self.models]
        return said


NOTHING_USED = Usage()


def usage_from_json(value: Json) -> Usage:
    """See `Usage.to_json`; what an earlier version kept is read too."""
    fields = json_object(value)
    numbers = {name: each for name in _WHOLE if isinstance(each := fields.get(name), int)}
    models = tuple(each for each in json_list(fields.get("models")) if isinstance(each, str))
    return Usage(**numbers, cost_usd=Decimal(json_text(fields.get("cost_usd"), "0")), models=models)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many calls of one target may be under way; None for what `Limits` says."""

    owner_concurrency: int | None = None
    """In flight to its server or agent."""
    owner_queue: int | None = None
    """Waiting for its server or agent."""
    concurrency: int | None = None
    """In flight to this capability alone."""


AS_LIMITED = Bounds()
"""Nothing of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes and times nothing may exceed; the section `limits` of the configuration."""

    body_bytes: int = 4 * 1024 * 1024
    """Largest request body accepted, bytes."""
    result_bytes: int = 16 * 1024 * 1024
    """Largest upstream answer read, bytes."""
    event_bytes: int = 1024 * 1024
    """Largest single server-sent event read, bytes."""
    json_depth: int = 64
    """Deepest nesting of a request body."""
    batch_messages: Annotated[int, Field(ge=0, le=256)] = 50
    """JSON-RPC messages in one batch of an MCP client of 2025-03-26; 0 for none."""
    call_timeout_s: float = 60.0
    """Longest a call may take unless its target says otherwise, seconds."""
    run_timeout_s: float = 600.0
    """Longest an orchestrated run may take, seconds."""
    connect_timeout_s: float = 5.0
    """Longest a connection to an upstream may take to open, seconds."""
    list_timeout_s: float = 1.5
    """Longest a list waits for an upstream that has never answered, seconds."""
    refresh_s: float = 60.0
    """How often an upstream's lists are read again, seconds."""
    upstream_concurrency: int = 64
    """Calls in flight to one upstream."""
    upstream_queue: int = 256
    """Calls waiting for one upstream; beyond that the answer is QUOTA_EXCEEDED."""
    tenant_concurrency: int = 48
    """Of these in flight, those of one tenant, where an upstream serves every tenant."""
    tenant_queue: int = 192
    """Of these waiting, likewise."""
    breaker_failures: int = 3
    """Failures in a row after which a tool or agent is left alone for a while; 0 for never."""
    breaker_cooldown_s: float = 30.0
    """How long it is left alone before one call finds out whether it is back, seconds."""
    answers: int = 10_000
    """Answers of deterministic tools and agents that are remembered."""
    answers_bytes: int = 64 * 1024 * 1024
    """What they may take together, bytes; a single one a sixteenth of it."""
    streams: int = 2000
    """Open server-sent event streams."""
    kept_events: int = 16_000
    """Events kept so that legacy streams can be taken up again; of one session a sixteenth; 0 for none."""
    kept_bytes: int = 64 * 1024 * 1024
    """What they may take together, bytes; those of one session a sixteenth of it."""
    sessions: int = 10_000
    """Legacy MCP sessions held at once."""
    session_idle_s: float = 1800.0
    """A legacy session nobody used for so long is forgotten, seconds."""
    page_size: int = 1000
    """Entries on one page of a list."""
    depth: int = 4
    """How deep orchestration may nest."""


def _either(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return one if not other or one == other else other if not one else tuple(sorted({*one, *other}))


def _least(value: float, other: float | None) -> float:
    return value if other is None else min(value, other)


def _least_or_none(value: N | None, other: N | None) -> N | None:
    if value is None:
        return other
    return value if other is None else min(value, other)
