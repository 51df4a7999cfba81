"""What runs have to know of the agents they call, by their settings: in which roles they act, what they can read, and
whether what they say is trusted."""

from collections.abc import Callable, Mapping

from adapters.a2a.card import knows_delegation
from adapters.a2a.settings import AgentSettings
from gateway.core.catalog import EVERY_TENANT
from gateway.core.json import Json
from gateway.core.labels import CLEAN, Labels
from gateway.orchestration.messages.fitting import Reader


class KnownAgents:
    """Those of one gateway. An agent of another tenant is one that nobody knows."""

    def __init__(
        self,
        settings: Callable[[str], AgentSettings | None],
        about: Callable[[str], Mapping[str, Json]] = lambda slug: {},
    ) -> None:
        """Both by slug. `about`: what the catalog says of it, its `card` among that."""
        self._settings = settings
        self._about = about

    def roles(self, tenant: str, slug: str) -> frozenset[str]:
        """See `Wiring.agent_roles`."""
        settings = self._known(tenant, slug)
        return frozenset() if settings is None else frozenset(settings.roles)

    def reader(self, tenant: str, slug: str) -> Reader:
        """See `Wiring.reader`."""
        settings = self._known(tenant, slug)
        if settings is None:
            return Reader()
        return Reader(
            context_tokens=settings.context_tokens,
            fetches=bool(settings.delegation) or knows_delegation(self._about(slug).get("card")),
        )

    def labels(self, tenant: str, slug: str) -> Labels:
        """See `Wiring.agent_labels`; clean only if its settings trust it."""
        settings = self._known(tenant, slug)
        trusted = settings is not None and settings.trust == "trusted"
        return CLEAN if trusted else Labels(untrusted=frozenset({f"agent:{slug}"}))

    def _known(self, tenant: str, slug: str) -> AgentSettings | None:
        settings = self._settings(slug)
        return settings if settings is not None and settings.tenant in (tenant, EVERY_TENANT) else None
