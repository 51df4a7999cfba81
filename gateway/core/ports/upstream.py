"""What can be called: MCP servers, A2A agents, the orchestrator, all behind one port."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.core.json import Json
from gateway.core.model import Capability, Emit, Request, Result


def _no_templates(uri: str) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Everything an upstream offers, read at one moment."""

    capabilities: tuple[Capability, ...]
    about: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """What it says of itself: server info, instructions, protocol version, its card."""
    unlisted: Capability | None = None
    """What a resource is that it has without listing it, as servers may: named `resource:OWNER/`, the URI left out."""
    templates_of: Callable[[str], tuple[str, ...] | None] = field(default=_no_templates, compare=False)
    """Names of the listed templates a URI may have been made from; None where nobody can tell."""
    methods: tuple[Capability, ...] = ()
    """What it is asked by methods of its own: each stands for all that begin alike, and is named by that,
    `method:OWNER/skills/`."""


class Upstream(Protocol):
    """One server, agent or the orchestrator. Used by many calls at once."""

    @property
    def name(self) -> str:
        """Its slug."""
        ...

    async def capabilities(self) -> Listing:
        """What it offers now; asks the upstream. Bounded by its own timeout.

        Raises: UpstreamFailed, Unavailable, DeadlineExceeded.
        """
        ...

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        """Run one call to its end, within `request.budget.deadline_s`.

        A canceled call cancels upstream as the protocol has it. Events reach `emit` in order, none after the return.

        Raises: InvalidRequest: the upstream refused the arguments; UpstreamFailed, Unavailable, DeadlineExceeded;
            NotFound: it no longer has the capability.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections and processes; bounded; idempotent."""
        ...
