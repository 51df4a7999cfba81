"""The built-in server `run`: there for agents while they work on a step, and for nobody else."""

from collections.abc import Collection

from gateway.core.model import AgentClass, Capability, Request
from gateway.core.ports.policy import Need
from gateway.core.verdict import Allow, Deny, Verdict

POLICY = "scope"
OWNER = "run"
MEMORY = "memory"
"""Tag of the tools that concern a workflow's memory."""


class ScopePolicy:
    """See `core.ports.policy.RequestPolicy`."""

    def __init__(self, remembering: Collection[str] = ()) -> None:
        """`remembering`: roles of the workflows that have a memory."""
        self._remembering = frozenset(remembering)

    @property
    def name(self) -> str:
        return POLICY

    def plan(self, agent: AgentClass, capability: Capability) -> Need:
        if capability.owner != OWNER:
            return "skip"
        if agent.kind != "agent":
            return _OUTSIDE
        # Last of those it acts for is the workflow whose step it works on; an agent with its own key names none.
        working_for = agent.behind[-1] if agent.behind else None
        if MEMORY in capability.tags and working_for is not None and not self._remembering & working_for:
            return _NO_MEMORY
        return "check"

    def check_request(self, request: Request, capability: Capability) -> Verdict:
        if capability.owner != OWNER or (request.run_id and request.principal.kind == "agent"):
            return Allow(policy=POLICY)
        return _OUTSIDE


_OUTSIDE = Deny(
    policy=POLICY, rule="run-only", reason="the scratchpad of a run is open to agents working on its steps only"
)
_NO_MEMORY = Deny(policy=POLICY, rule="no-memory", reason="the workflow this step belongs to has no memory")
