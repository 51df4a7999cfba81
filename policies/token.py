"""What an access token is good for: calls by one need the scopes the configuration names, beyond a role's grant."""

from collections.abc import Mapping, Sequence

from gateway.core.model import AgentClass, Capability, Request
from gateway.core.ports.policy import Need
from gateway.core.verdict import Allow, Deny, Verdict
from policies.access.patterns import Pattern, parse_pattern, target_of
from policies.access.policy import arguments_of
from policies.access.resources import named_resource, templates_of, uri_of

POLICY = "token"


class TokenPolicy:
    """See `core.ports.policy.RequestPolicy`. Only narrows: it gives no grant, and says nothing of callers by key."""

    def __init__(self, scopes: Mapping[str, Sequence[str]]) -> None:
        """`scopes`: pattern -> scopes that calls of what it names need. Raises: ValueError: a pattern is none."""
        self._needed: tuple[tuple[Pattern, frozenset[str]], ...] = tuple(
            (parse_pattern(pattern), frozenset(needed)) for pattern, needed in scopes.items()
        )

    @property
    def name(self) -> str:
        return POLICY

    def plan(self, agent: AgentClass, capability: Capability) -> Need:
        if agent.scopes is None or not self._needed:
            return "skip"
        if capability.kind == "template":
            # It stands for resources with names of their own, which patterns may be about.
            return "read"
        # Never a Deny in advance: that would hide it, and nobody would learn which scope to ask for.
        return "skip" if self._needs(capability) <= agent.scopes else "check"

    def check_request(self, request: Request, capability: Capability) -> Verdict:
        scopes, needed = request.principal.agent_class.scopes, self._needs(capability)
        if capability.kind == "template":
            needed |= self._needs(named_resource(capability, uri_of(arguments_of(request))))
        if scopes is None or needed <= scopes:
            return Allow(policy=POLICY)
        said = ", ".join(sorted(needed))
        return Deny(
            policy=POLICY,
            rule="insufficient-scope",
            reason=f"the token it came with lacks a scope; needed: {said}",
            scopes=tuple(sorted(needed)),
        )

    def _needs(self, capability: Capability) -> frozenset[str]:
        targets = [target_of(each) for each in (capability, *templates_of(capability))]
        return frozenset(
            scope for pattern, needed in self._needed if any(map(pattern.matches, targets)) for scope in needed
        )
