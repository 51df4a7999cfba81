"""What cannot be offered whoever asks for it: names that are refused, choices of sets that fit no tool. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from adapters.mcp.names import contested
from adapters.mcp.offers import SCOPE, Offers, chosen, included
from gateway.core.catalog import EVERY_TENANT
from gateway.core.model import Capability

_TOOLS = frozenset({"tool", "agent", "workflow"})
_PROMPTS = frozenset({"prompt"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOffered:
    """One thing that is missing at one endpoint although its server has it."""

    scope: str
    """Of the endpoint: `sets/NAME`, empty for `/mcp`."""
    name: str
    """As it would be called there; of what several have, its gateway-wide name."""
    reason: str


def not_offered(offers: Offers, capabilities: Iterable[Capability], tenant: str) -> Iterator[NotOffered]:
    """Everything of the tenant's that is missing, at `/mcp` first."""
    known = tuple(capabilities)
    named = {each.name: each for each in known}
    if offers.names == "refuse":
        yield from _refused("", known)
    for slug, settings in offers.sets.items():
        if settings.tenant not in (tenant, EVERY_TENANT):
            continue
        if offers.names == "refuse":
            yield from _refused(f"{SCOPE}{slug}", included(settings, known))
        for name, choice in (*settings.tools.items(), *settings.prompts.items()):
            found = named.get(choice.capability)
            reason = "" if found is None else chosen(name, choice, found)[1]
            if reason:
                yield NotOffered(scope=f"{SCOPE}{slug}", name=name, reason=reason)


def _refused(scope: str, capabilities: Iterable[Capability]) -> Iterator[NotOffered]:
    known = tuple(capabilities)
    for kinds in (_TOOLS, _PROMPTS):
        for name, reason in sorted(contested(each for each in known if each.kind in kinds).items()):
            yield NotOffered(scope=scope, name=name, reason=reason)
