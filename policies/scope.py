"""The built-in server `run`: there for agents while they work on a step, and for nobody else."""

from gateway.core.model import AgentClass, Capability, Request
from gateway.core.ports.policy import Need
from gateway.core.verdict import Allow, Deny, Verdict

POLICY = "scope"
OWNER = "run"


class ScopePolicy:
    """See `core.ports.policy.RequestPolicy`."""

    @property
    def name(self) -> str:
        return POLICY

    def plan(self, agent: AgentClass, capability: Capability) -> Need:
        if capability.owner != OWNER:
            return "skip"
        return "check" if agent.kind == "agent" else _OUTSIDE

    def check_request(self, request: Request, capability: Capability) -> Verdict:
        if capability.owner != OWNER or (request.run_id and request.principal.kind == "agent"):
            return Allow(policy=POLICY)
        return _OUTSIDE


_OUTSIDE = Deny(
    policy=POLICY, rule="run-only", reason="the scratchpad of a run is open to agents working on its steps only"
)
