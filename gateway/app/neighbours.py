"""The upstreams the configuration and the registry name, made, kept and let go of as both change."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from adapters.a2a.client import A2aUpstream
from adapters.a2a.registry import AgentDirectory
from adapters.a2a.settings import AgentSettings
from adapters.events.settings import BusSettings
from adapters.events.upstream import BusUpstream
from adapters.mcp.client import server_upstream
from adapters.mcp.client_callers import McpCallersUpstream
from adapters.mcp.client_consent import ConsentedUpstream
from adapters.mcp.client_http import McpHttpUpstream
from adapters.mcp.client_parts import ServerParts
from adapters.mcp.client_seal import Seal
from adapters.mcp.client_stdio import McpStdioUpstream
from adapters.mcp.settings import ServerSettings, is_reference
from adapters.net.address import Address
from adapters.net.egress import EgressGuard
from adapters.net.fetch import fetch
from adapters.net.http1 import Pool, PoolLimits
from adapters.openapi.upstream import OpenApiUpstream, ServiceParts
from gateway.app.buses import bus_from
from gateway.app.sections import Sections, configuration_folder
from gateway.app.services import service_settings
from gateway.app.upstream_tokens import Ground as TokenGround
from gateway.app.upstream_tokens import asking_of, upstream_tokens
from gateway.core.limits import Limits
from gateway.core.lists import Lists
from gateway.core.ports.bus import Bus, BusLimits
from gateway.core.ports.credentials import UpstreamTokens
from gateway.core.ports.upstream import Upstream
from gateway.core.ports.world import Ids
from gateway.core.resilience import CANCELS_AT_ONCE

Settings: TypeAlias = ServerSettings | AgentSettings | BusSettings
CARD_BYTES = 256 * 1024
_WATCHING = (McpHttpUpstream, McpCallersUpstream, McpStdioUpstream, BusUpstream)
"""Those that have something to do between the calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One upstream as it should be; two that are equal need not be made anew."""

    settings: Settings
    tenant: str
    registered: bool = False
    """Added by its address rather than configured: where it leads is vetted."""
    folder: Path = Path()
    """Where paths in its settings begin."""


class Ground(TokenGround, Protocol):
    """What connections stand on; a `Foundation` is one."""

    @property
    def ids(self) -> Ids: ...

    @property
    def seal(self) -> Seal: ...


class Neighbours:
    """Keeps `Lists` in step with what is wanted."""

    def __init__(self, foundation: Ground, lists: Lists, *, limits: Limits, guard: EgressGuard) -> None:
        self._foundation = foundation
        self._lists = lists
        self._limits = limits
        self._guard = guard
        self._present: dict[str, Wanted] = {}
        self._agents: dict[str, A2aUpstream] = {}
        self._buses: dict[str, Bus] = {}
        self._parts = ServerParts(
            limits=limits,
            clock=foundation.clock,
            secrets=foundation.secrets,
            seal=foundation.seal,
            tls=foundation.tls,
            tokens=self._tokens,
        )

        self._services = ServiceParts(
            limits=limits, clock=foundation.clock, secrets=foundation.secrets, tls=foundation.tls, guard=guard
        )

    def agent_settings(self, slug: str) -> AgentSettings | None:
        """The settings of an agent, wherever it was named."""
        wanted = self._present.get(slug)
        return wanted.settings if wanted is not None and isinstance(wanted.settings, AgentSettings) else None

    def bus(self, slug: str) -> Bus | None:
        """The bus of this slug as it is now, open or not."""
        return self._buses.get(slug)

    async def fetch_card(self, url: str) -> bytes:
        """The card behind an address somebody supplied. Raises: GatewayError."""
        return (await fetch(url, guard=self._guard, tls=self._foundation.tls, limit_bytes=CARD_BYTES)).body

    def made(self, sections: Sections, registered: Mapping[str, AgentSettings]) -> dict[str, Wanted]:
        """Everything these sections and the registry want."""
        wanted = {
            slug: Wanted(settings=each, tenant=each.tenant, folder=configuration_folder(sections))
            for slug, each in (*sections.servers.items(), *sections.buses.items(), *sections.agents.items())
        }
        for slug, settings in registered.items():
            # The configuration wins: a name it has taken since hides the registered agent until it is free again.
            if slug not in sections.slugs:
                wanted[slug] = Wanted(settings=settings, tenant=settings.tenant, registered=True)
        return wanted

    def apply(self, wanted: Mapping[str, Wanted]) -> None:
        """Make what is new, replace what differs, retire what is gone.

        Raises: InvalidRequest: something cannot be made; nothing changed.
        """
        new = {slug: each for slug, each in wanted.items() if self._present.get(slug) != each}
        upstreams = {slug: self._upstream(slug, each) for slug, each in new.items()}
        for slug in [slug for slug in self._present if slug not in wanted or slug in new]:
            self._lists.retire(slug)
            if not isinstance(new.get(slug, self._present[slug]).settings, AgentSettings):
                self._agents.pop(slug, None)
            if slug not in upstreams:
                self._buses.pop(slug, None)
        for slug, upstream in upstreams.items():
            if isinstance(upstream, BusUpstream):
                self._buses[slug] = upstream.bus
            watch = upstream.watch if isinstance(upstream, _WATCHING) else None
            self._lists.add(upstream, new[slug].tenant, watch)
        self._foundation.accounts.only([slug for slug, each in wanted.items() if by_account(each.settings)])
        self._present = dict(wanted)

    def leave(self) -> None:
        """The gateway is going down: what agents are at work on goes on without it."""
        for agent in self._agents.values():
            agent.leave()

    def _upstream(self, slug: str, wanted: Wanted) -> Upstream:
        foundation = self._foundation
        if isinstance(wanted.settings, ServerSettings):
            if wanted.settings.openapi:
                service, tokens = service_settings(wanted.settings, wanted.folder), self._tokens(slug, wanted.settings)
                api = OpenApiUpstream(slug, service, self._services, tokens)
                return ConsentedUpstream(api, foundation.seal) if by_account(wanted.settings) else api
            return server_upstream(slug, wanted.settings, self._parts, self._poke(slug))
        if isinstance(wanted.settings, BusSettings):
            return BusUpstream(slug, wanted.settings, self._bus(wanted.settings))
        agent = A2aUpstream(
            slug=slug,
            settings=wanted.settings,
            fetch=self.fetch_card if wanted.registered else self._fetch_configured,
            open_pool=self._pools(slug, wanted.settings, self._guard if wanted.registered else None),
            secrets=foundation.secrets,
            ids=foundation.ids,
            limits=self._limits,
            tokens=self._tokens(slug, wanted.settings),
        )
        self._agents[slug] = agent
        return agent

    def _tokens(self, slug: str, settings: ServerSettings | AgentSettings) -> UpstreamTokens | None:
        asking = asking_of(slug, settings)
        return None if asking is None else upstream_tokens(asking, self._foundation, self._guard, self._poke(slug))

    def _bus(self, settings: BusSettings) -> Bus:
        url = self._foundation.secrets.resolve(settings.url).reveal() if is_reference(settings.url) else settings.url
        limits = BusLimits(
            backlog=settings.backlog, keep_s=settings.keep_s, lease_s=settings.lease_s, group=settings.group
        )
        return bus_from(url, limits)

    def _poke(self, slug: str) -> Callable[[], None]:
        return lambda: self._lists.poke(slug)

    async def _fetch_configured(self, url: str) -> bytes:
        return (await fetch(url, guard=None, tls=self._foundation.tls, limit_bytes=CARD_BYTES)).body

    def _pools(self, slug: str, settings: AgentSettings, guard: EgressGuard | None) -> Callable[[Address], Pool]:
        at_once = (settings.concurrency or self._limits.upstream_concurrency) + CANCELS_AT_ONCE
        limits = PoolLimits(
            connections=at_once + self._limits.upstream_queue,
            queue=self._limits.upstream_queue,
            connect_timeout_s=self._limits.connect_timeout_s,
        )

        def open_pool(address: Address) -> Pool:
            return Pool(address, name=slug, tls=self._foundation.tls, limits=limits, guard=guard)

        return open_pool


def by_account(settings: Settings) -> bool:
    """Whether people connect accounts of their own there."""
    return isinstance(settings, ServerSettings) and settings.auth is not None and settings.auth.kind == "user"


async def registered_agents(directory: AgentDirectory) -> dict[str, AgentSettings]:
    """Settings of every agent added by its address."""
    return {entry.slug: entry.settings for entry in await directory.all()}
