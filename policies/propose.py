"""Proposing before committing: in the propose phase of a run nothing outside may change."""

from gateway.core.model import CALLS, AgentClass, Capability, Request
from gateway.core.ports.policy import Need
from gateway.core.verdict import Allow, Deny, Verdict

POLICY = "propose"
BUILT_IN = "run"
"""The run's own scratchpad, to which proposals are written."""


class ProposePolicy:
    """See `core.ports.policy.RequestPolicy`. Refuses sinks to whoever works on a step that is to propose only."""

    @property
    def name(self) -> str:
        return POLICY

    def plan(self, agent: AgentClass, capability: Capability) -> Need:
        return "check" if capability.effect == "sink" and capability.owner != BUILT_IN else "skip"

    def check_request(self, request: Request, capability: Capability) -> Verdict:
        if request.phase != "propose" or request.operation not in CALLS or capability.effect == "read":
            return Allow(policy=POLICY)
        if request.principal.kind == "workflow" and capability.kind in ("agent", "workflow"):
            # How the run hands the step to its agent; what the agent does with it is judged when it calls back.
            return Allow(policy=POLICY, rule="step")
        return Deny(
            policy=POLICY,
            rule="propose-only",
            reason="this step may only propose: answer with what you would do, it is carried out in the commit phase",
        )
