"""Refuses what waits for approval: it is not listed, and whoever calls it learns what changed and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.model import AgentClass, Capability, Request
from gateway.core.ports.policy import Need
from gateway.core.verdict import Allow, Deny, Verdict

POLICY = "pinning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Why something waits."""

    tenant: str
    """Of its server."""
    rule: str
    """`changed`, or `new`."""
    reason: str


class PinningPolicy:
    """See `RequestPolicy`. Made for one snapshot."""

    name = POLICY

    def __init__(self, held: Mapping[str, Held]) -> None:
        self._held = held

    def plan(self, agent: AgentClass, capability: Capability) -> Need:
        return self._denial(capability) or "skip"

    def check_request(self, request: Request, capability: Capability) -> Verdict:
        return self._denial(capability) or Allow(policy=POLICY)

    def _denial(self, capability: Capability) -> Deny | None:
        held = self._held.get(capability.name)
        return None if held is None else Deny(policy=POLICY, rule=held.rule, reason=held.reason)
