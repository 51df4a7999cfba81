"""What the REST API asks of the running gateway, answered by its parts."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from anyio import to_thread

from adapters.a2a.registry import AgentEntry as RegisteredEntry
from adapters.http.api_ports import (
    AgentEntry,
    AuditQuery,
    IssuerState,
    KeyOrder,
    NotOffered,
    UpstreamKind,
    UpstreamState,
)
from adapters.identity.apikeys import KeyGrant
from adapters.identity.issuing import KeyIssuer
from adapters.mcp.not_offered import not_offered
from adapters.storage.audit.erase import bodies_of, erase_bodies
from adapters.storage.audit.reader import AuditReader, Query
from gateway.app.composition import Composition
from gateway.core.breaker import BreakerView
from gateway.core.catalog import EVERY_TENANT, Source
from gateway.core.chaos import Active, ChaosOrder
from gateway.core.errors import Conflict, Denied, InvalidRequest, NotFound
from gateway.core.json import JsonObject, json_list, json_object, json_text
from gateway.core.model import Capability, CapabilityKind, Principal
from gateway.core.ports.costs import Spent
from gateway.core.ports.storage import ApiKey
from gateway.core.ports.world import Secret
from policies.access.explain import explain
from policies.pinning.policy import POLICY as PINNING

EVERY_KIND: frozenset[CapabilityKind] = frozenset({"tool", "prompt", "resource", "template", "agent", "workflow"})


class DirectoryOfGateway:
    """See `api_ports.Directory`."""

    def __init__(self, composition: Composition) -> None:
        self._composition = composition
        self._not_offered: dict[str, tuple[NotOffered, ...]] = {}
        self._as_of = ""

    def capabilities(self, tenant: str) -> Sequence[Capability]:
        return self._composition.pipeline.catalog.of(tenant, EVERY_KIND)

    def upstreams(self, tenant: str) -> Sequence[UpstreamState]:
        sources = self._composition.pipeline.catalog.sources
        load = self._composition.pipeline.load(tenant)
        breakers = {owner.owner: owner.open_breakers for owner, _ in load.owners}
        theirs = [(slug, each) for slug, each in sorted(sources.items()) if each.tenant in (tenant, EVERY_TENANT)]
        return [self._state(slug, each, breakers.get(slug, ())) for slug, each in theirs]

    def issuers(self) -> Sequence[IssuerState]:
        return [
            IssuerState(name=each.name, keys=each.keys, age_s=each.age_s, problem=each.problem)
            for each in self._composition.foundation.access_tokens.health()
        ]

    def not_offered(self, tenant: str) -> Sequence[NotOffered]:
        """Worked out once for each version of the catalog: probes ask often."""
        version = self._composition.pipeline.version
        if self._as_of != version:
            self._as_of, self._not_offered = version, {}
        known = self._not_offered.get(tenant)
        if known is None:
            found = not_offered(self._composition.offers(), self.capabilities(tenant), tenant)
            known = self._not_offered[tenant] = tuple(
                NotOffered(at=f"/mcp/{each.scope}".rstrip("/"), name=each.name, reason=each.reason) for each in found
            )
        return known

    @property
    def _servers(self) -> frozenset[str]:
        """Whatever has tools: servers and buses."""
        sections = self._composition.sections
        return frozenset({*sections.servers, *sections.buses})

    def _state(self, slug: str, source: Source, breakers: tuple[BreakerView, ...]) -> UpstreamState:
        kind: UpstreamKind = "server" if slug in self._servers or slug == "run" else "agent"
        if slug == "workflows":
            kind = "workflow"
        count = len(source.listing.capabilities) if source.listing is not None else 0
        match source.state:
            case "starting":
                state = "waiting"
            case "up" | "stale" | "down":
                state = source.state
        about: JsonObject = dict(source.listing.about) if source.listing is not None else {}
        dropped, dropped_count = json_list(about.get("dropped")), about.get("dropped_count")
        return UpstreamState(
            slug=slug,
            kind=kind,
            state=state,
            reason=source.for_operators,
            capabilities=count,
            breakers=breakers,
            dropped=tuple(dropped),
            dropped_count=dropped_count if isinstance(dropped_count, int) else len(dropped),
        )


class AgentsOfGateway:
    """See `api_ports.AgentDirectory`."""

    def __init__(self, composition: Composition) -> None:
        self._composition = composition

    async def entries(self, tenant: str) -> Sequence[AgentEntry]:
        configured = [
            self._entry(slug, settings.card, configured=True)
            for slug, settings in self._composition.sections.agents.items()
            if settings.tenant in (tenant, EVERY_TENANT)
        ]
        everybodys = await self._composition.directory.all()
        registered = [self._registered(each) for each in everybodys if each.settings.tenant == tenant]
        return sorted([*configured, *registered], key=lambda entry: entry.slug)

    async def register(self, who: Principal, url: str, slug: str) -> AgentEntry:
        theirs: JsonObject = {"tenant": who.tenant}
        entry = await self._composition.directory.add(url, added_by=who.subject, slug=slug, settings=theirs)
        await self._composition.agents_changed()
        return self._registered(entry)

    async def unregister(self, who: Principal, slug: str) -> None:
        known = {each.slug: each.configured for each in await self.entries(who.tenant)}
        if slug not in known:
            raise NotFound(f"no agent is called {slug}")
        if known[slug]:
            raise Conflict(f"{slug} stands in the configuration; remove it there")
        await self._composition.directory.remove(slug)
        await self._composition.agents_changed()

    def _registered(self, entry: RegisteredEntry) -> AgentEntry:
        problem = self._composition.pipeline.gaps(entry.settings.tenant).get(entry.slug, "")
        return AgentEntry(
            slug=entry.slug,
            card_url=entry.card_url,
            configured=False,
            card=entry.card.card,
            digest=entry.card.digest,
            added_at_us=entry.added_at_us,
            added_by=entry.added_by,
            problem=problem,
        )

    def _entry(self, slug: str, card_url: str, *, configured: bool) -> AgentEntry:
        catalog = self._composition.pipeline.catalog
        about = catalog.about(slug)
        source = catalog.sources.get(slug)
        return AgentEntry(
            slug=slug,
            card_url=card_url,
            configured=configured,
            card=json_object(about.get("card")),
            digest=json_text(about.get("digest")),
            problem=source.for_operators if source is not None and source.state != "up" else "",
        )


class KeysOfGateway:
    """See `api_ports.Keys`."""

    def __init__(self, issuer: KeyIssuer) -> None:
        self._issuer = issuer

    async def mint(self, order: KeyOrder) -> tuple[ApiKey, Secret]:
        minted = await self._issuer.mint(
            KeyGrant(
                subject=order.subject,
                kind=order.kind,
                tenant=order.tenant,
                roles=order.roles,
                expires_at_us=order.expires_at_us,
                note=order.note,
            )
        )
        return minted.stored, minted.key

    async def all(self, tenant: str) -> Sequence[ApiKey]:
        return [each for each in await self._issuer.all() if each.tenant == tenant]

    async def revoke(self, tenant: str, key_id: str) -> bool:
        theirs = any(each.id == key_id for each in await self.all(tenant))
        return theirs and await self._issuer.revoke(key_id)


class PrincipalsOfGateway:
    """See `api_ports.Principals`."""

    def __init__(self, composition: Composition) -> None:
        self._composition = composition

    def all(self, tenant: str) -> Sequence[Principal]:
        return [each for each in self._composition.sections.known_principals() if each.tenant == tenant]

    def find(self, tenant: str, subject: str) -> Principal | None:
        """By subject; an agent by its slug alone, too."""
        named = {each.subject: each for each in self.all(tenant)}
        return named.get(subject) or named.get(f"agent:{subject}")


class ChaosOfGateway:
    """See `api_ports.ChaosControl`."""

    def __init__(self, composition: Composition) -> None:
        self._composition = composition

    def add(self, order: ChaosOrder) -> Active:
        chaos = self._composition.chaos
        if chaos is None:
            raise Denied(
                "this gateway allows no chaos; set gateway.chaos to true, and start it again",
                detail={"policy": "chaos", "rule": "off"},
            )
        known = self._composition.pipeline.catalog.of(order.tenant, EVERY_KIND)
        if not any(fnmatchcase(each.name, order.target) for each in known):
            raise NotFound(f"nothing of yours is called {order.target}")
        return chaos.add(order)

    def of(self, tenant: str) -> Sequence[Active]:
        chaos = self._composition.chaos
        return () if chaos is None else chaos.of(tenant)

    def remove(self, tenant: str, injection_id: str) -> bool:
        chaos = self._composition.chaos
        return chaos is not None and chaos.remove(tenant, injection_id)


class AuditOfGateway:
    """See `api_ports.AuditReader`."""

    def __init__(self, reader: AuditReader) -> None:
        self._reader = reader

    async def search(self, query: AuditQuery) -> Sequence[JsonObject]:
        return [entry.to_json() for entry in await to_thread.run_sync(self._reader.search, _asked(query))]

    async def find(self, tenant: str, record_id: str) -> Sequence[JsonObject]:
        try:
            shown = await to_thread.run_sync(partial(self._reader.show, record_id, tenant=tenant))
        except NotFound:
            return []
        return [each.to_json() for each in shown]


class AuditBodiesOfGateway:
    """See `api_ports.AuditBodies`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def count(self, query: AuditQuery) -> int:
        return len(await to_thread.run_sync(bodies_of, self._path, _asked(query)))

    async def erase(self, query: AuditQuery) -> int:
        return await to_thread.run_sync(erase_bodies, self._path, _asked(query))


def _asked(query: AuditQuery) -> Query:
    return Query(
        tenant=query.tenant,
        subject=query.subject,
        capability=query.capability,
        outcome=query.outcome,
        run_id=query.run_id,
        label=query.label,
        since_us=query.since_us,
        until_us=query.until_us,
        after=query.after or 0,
        text=query.text,
        limit=query.limit,
    )


class CostsOfGateway:
    """See `api_ports.Costs`."""

    def __init__(self, composition: Composition) -> None:
        self._composition = composition

    async def spent(self, tenant: str, since: str, until: str) -> tuple[Spent, ...]:
        return await self._composition.foundation.costs.rows(tenant, since=since, until=until)

    def budgets(self, tenant: str) -> Sequence[JsonObject]:
        return self._composition.meter.state(tenant)


class ExplainerOfGateway:
    """See `api_ports.Explainer`."""

    def __init__(self, composition: Composition) -> None:
        self._composition = composition

    def explain(self, who: Principal, call: str, arguments: "JsonObject | None") -> JsonObject:
        found = self._composition.pipeline.find(who, call)
        try:
            said = explain(self._composition.access, who.agent_class, found or call, arguments)
        except ValueError as error:
            raise InvalidRequest(str(error)) from error
        file = str(self._composition.sections.configuration.source)
        held = self._composition.pinning.held(who.tenant, call)
        if held is not None and said.decision != "deny":
            # Access has nothing against it; what the server says of it has to be looked at first.
            return {
                **said.to_json(),
                "decision": "deny",
                "allowed": False,
                "policy": PINNING,
                "rule": held.rule,
                "reason": held.reason,
                "change": [held.reason],
                "file": "",
                "line": 0,
            }
        return {
            **said.to_json(),
            "allowed": said.decision == "allow",
            "policy": self._composition.access.name,
            "file": file,
        }
