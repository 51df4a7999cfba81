"""Judgements over calls, answers and events. A policy answers with verdicts; it never touches the call itself."""

from typing import Literal, Protocol, TypeAlias

from gateway.core.model import AgentClass, Capability, Event, Request, Result
from gateway.core.verdict import Deny, Verdict

Need: TypeAlias = Verdict | Literal["check", "read", "skip"]
"""What a plan needs of a policy for (agent class, capability): a verdict that holds for every such call; `check` each
call's envelope; `read` each call's body as well; `skip` where it has nothing to say."""


class RequestPolicy(Protocol):
    @property
    def name(self) -> str: ...

    def plan(self, agent: AgentClass, capability: Capability) -> Need:
        """What this policy needs for such calls; compiled into the plan once per snapshot."""
        ...

    def check_request(self, request: Request, capability: Capability) -> Verdict:
        """Judge one call. Synchronous and pure. An exception stops the call."""
        ...


class ResultPolicy(Protocol):
    @property
    def name(self) -> str: ...

    def plan_result(self, agent: AgentClass, capability: Capability) -> Literal["read", "skip"]: ...

    def check_result(self, request: Request, capability: Capability, result: Result) -> Verdict:
        """Judge one answer before it goes back."""
        ...


class EventPolicy(Protocol):
    @property
    def name(self) -> str: ...

    def check_event(self, request: Request, capability: Capability, event: Event) -> Event | Deny:
        """The event as the caller may see it (the same one, or a rewritten copy), or a Deny that ends the call."""
        ...
