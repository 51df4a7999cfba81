"""Scripted agents: what they answer, how long that takes, and what goes wrong. Pure; knows no pattern and no clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TypeAlias

from gateway.core.json import Json, JsonObject, json_object
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Usage
from gateway.core.model import Phase
from gateway.core.ports.orchestration import StepError, StepResult
from gateway.core.ports.scratchpad import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One step, as whoever works on it sees it."""

    target: str
    input: Json
    task: str
    """The original request in words."""
    phase: Phase = ""
    note: str = ""
    results: Mapping[str, StepResult] = field(default_factory=dict[str, StepResult])
    """Handed over, by the name under which they appear."""
    scratchpad: Mapping[str, Entry] = field(default_factory=dict[str, Entry])
    step_id: str = ""
    attempt: int = 1

    @property
    def fields(self) -> JsonObject:
        """The input's members."""
        return json_object(self.input)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What comes back, and when."""

    value: Json = None
    takes_s: float = 0.0
    """How long the work takes; infinite for an agent that hangs."""
    text: str = ""
    summary: str = ""
    error: StepError = ""
    """`failed`: it answered that it failed; `unavailable`: it was never reached."""
    reason: str = ""
    usage: Usage = Usage()
    labels: Labels = CLEAN
    writes: Mapping[str, Json] = field(default_factory=dict[str, Json])
    commits: bool = True
    quality: str = ""
    said: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Whatever else it says in the member `drawbridge`: a hand-off, a bid, tasks, findings."""

    def after(self, seconds: float) -> "Reply":
        """The same, later."""
        return replace(self, takes_s=self.takes_s + seconds)

    def spending(self, *, tokens: int = 0, cost_usd: str = "0") -> "Reply":
        """The same, at a price."""
        return replace(self, usage=self.usage + Usage(tokens=tokens, cost_usd=Decimal(cost_usd)))


Agent: TypeAlias = Callable[[Asked], Reply]
"""Asked once per attempt; may remember what it was asked before."""


def says(
    value: Json, *, text: str = "", summary: str = "", writes: Mapping[str, Json] | None = None, **said: Json
) -> Agent:
    """Always the same answer; `said` is what the member `drawbridge` has beside."""
    reply = Reply(value=value, text=text, summary=summary, writes=writes or {}, said=said)
    return lambda asked: reply


def fails(reason: str = "it failed", *, error: StepError = "failed") -> Agent:
    """Never an answer."""
    reply = Reply(error=error, reason=reason)
    return lambda asked: reply


def hangs() -> Agent:
    """Never done."""
    reply = Reply(takes_s=float("inf"))
    return lambda asked: reply


def takes(seconds: float, agent: Agent) -> Agent:
    """The same agent, slower."""
    return lambda asked: agent(asked).after(seconds)


def costs(agent: Agent, *, tokens: int = 0, cost_usd: str = "0") -> Agent:
    """The same agent, at a price."""
    return lambda asked: agent(asked).spending(tokens=tokens, cost_usd=cost_usd)


def in_turn(*agents: Agent) -> Agent:
    """The first time like the first, the next like the next, and from then on like the last."""
    asked_before = 0

    def agent(asked: Asked) -> Reply:
        nonlocal asked_before
        turn = min(asked_before, len(agents) - 1)
        asked_before += 1
        return agents[turn](asked)

    return agent
