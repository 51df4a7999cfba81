"""Refuses what waits for approval: it is not listed, and whoever calls it learns what changed and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.model import AgentClass, Capability, Request
from gateway.core.ports.policy import Need
from gateway.core.verdict import Deny, Verdict

POLICY = "pinning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Why something waits."""

    rule: str
    """`changed`, or `new`."""
    reason: str


class PinningPolicy:
    """See `RequestPolicy`. Made for one snapshot."""

    name = POLICY

    def __init__(self, held: Mapping[str, Held]) -> None:
        self._held = held

    def plan(self, agent: AgentClass, capability: Capability) -> Need:
        held = self._held.get(capability.name)
        return "skip" if held is None else Deny(policy=POLICY, rule=held.rule, reason=held.reason)

    def check_request(self, request: Request, capability: Capability) -> Verdict:
        raise AssertionError("every verdict of this policy is given in the plan")
