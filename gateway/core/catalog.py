"""Everything that can be called, and by which upstream. Immutable; knows no protocol and asks nobody.

`Catalog` is what calls look at. `Shelf` keeps the newest listing of each upstream and builds the next catalog from
them, so that an upstream that hangs or fails never takes the others' entries with it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from gateway.core.json import Json
from gateway.core.model import Capability, CapabilityKind
from gateway.core.ports.upstream import Listing, Upstream
from gateway.core.uris import is_plain

EVERY_TENANT = "*"
SourceState = Literal["starting", "up", "stale", "down"]
"""`starting`: has not answered yet; `stale`: answered before, and the newest attempt failed; `down`: never answered."""

LONGEST_URI = 2048
"""Characters, of a resource or method that is not listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    capability: Capability
    upstream: Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is known of one upstream's lists."""

    upstream: Upstream
    tenant: str
    state: SourceState = "starting"
    listing: Listing | None = None
    problem: str = ""
    """Why the newest attempt failed; for people, without addresses."""
    for_operators: str = ""
    """The same for those who run the gateway; see `GatewayError`."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """One moment's capabilities. Replaced whole, never changed."""

    entries: Mapping[str, Entry] = field(default_factory=dict[str, Entry])
    sources: Mapping[str, Source] = field(default_factory=dict[str, Source])

    def find(self, tenant: str, name: str) -> Entry | None:
        """The entry called `name`, if it is the tenant's or everybody's; resources and methods need not be listed."""
        entry = self.entries.get(name) or self._unlisted(name)
        if entry is None or entry.capability.tenant not in (tenant, EVERY_TENANT):
            return None
        return entry

    def _unlisted(self, name: str) -> Entry | None:
        kind, _, rest = name.partition(":")
        owner, _, local = rest.partition("/")
        source = self.sources.get(owner)
        if source is None or source.listing is None or not local.isprintable() or not 0 < len(local) <= LONGEST_URI:
            return None
        like = _like(kind, local, source.listing)
        if like is None:
            return None
        return Entry(capability=replace(like, name=name, local=local), upstream=source.upstream)

    def of(self, tenant: str, kinds: frozenset[CapabilityKind], owner: str = "") -> tuple[Capability, ...]:
        """The tenant's capabilities of these kinds, sorted by name; only the owner's where one is given."""
        return tuple(
            entry.capability
            for entry in self.entries.values()
            if entry.capability.kind in kinds
            and entry.capability.tenant in (tenant, EVERY_TENANT)
            and (not owner or entry.capability.owner == owner)
        )

    def about(self, owner: str) -> Mapping[str, Json]:
        """What an upstream said of itself; empty before it first answered."""
        source = self.sources.get(owner)
        return source.listing.about if source is not None and source.listing is not None else {}

    def made_anew_since(self, earlier: "Catalog") -> frozenset[str]:
        """Owners that are gone, or that another upstream answers for."""
        return frozenset(
            owner
            for owner, source in earlier.sources.items()
            if owner not in self.sources or self.sources[owner].upstream is not source.upstream
        )

    def gaps(self, tenant: str) -> dict[str, str]:
        """The tenant's upstreams whose entries are missing or out of date, each with the reason."""
        return {
            owner: source.problem or "has not answered yet"
            for owner, source in sorted(self.sources.items())
            if source.state != "up" and source.tenant in (tenant, EVERY_TENANT)
        }


def _like(kind: str, local: str, listing: Listing) -> Capability | None:
    """What something of a server's is that it does not list, as far as it has such things."""
    if kind == "method":
        return next((each for each in listing.methods if f"{local}/".startswith(each.local)), None)
    # By its dots a URI could be another than the one that is granted.
    if kind != "resource" or listing.unlisted is None or not is_plain(local):
        return None
    made_from = listing.templates_of(local)
    return None if made_from is None else replace(listing.unlisted, made_from=made_from)


class Shelf:
    """The newest listing of every upstream. Not thread-safe: belongs to the event loop."""

    def __init__(self) -> None:
        self._sources: dict[str, Source] = {}

    def add(self, upstream: Upstream, tenant: str) -> None:
        self._sources[upstream.name] = Source(upstream=upstream, tenant=tenant)

    def remove(self, owner: str) -> None:
        self._sources.pop(owner, None)

    def sources(self) -> tuple[Source, ...]:
        return tuple(self._sources.values())

    def arrived(self, owner: str, listing: Listing) -> bool:
        """Put a listing on the shelf; whether anything is different from before."""
        source = self._sources.get(owner)
        if source is None:
            return False
        self._sources[owner] = Source(upstream=source.upstream, tenant=source.tenant, state="up", listing=listing)
        return source.state != "up" or source.listing != listing

    def failed(self, owner: str, problem: str, for_operators: str = "") -> bool:
        """Note that an upstream could not be listed; what it last listed stays. Whether anything is different."""
        source = self._sources.get(owner)
        if source is None:
            return False
        state: SourceState = "down" if source.listing is None else "stale"
        now = replace(source, state=state, problem=problem, for_operators=for_operators or problem)
        self._sources[owner] = now
        return (source.state, source.problem, source.for_operators) != (state, problem, now.for_operators)

    def catalog(self) -> Catalog:
        """The catalog as of now, sorted by name."""
        entries = {entry.capability.name: entry for entry in self._entries()}
        return Catalog(
            entries=MappingProxyType(dict(sorted(entries.items()))), sources=MappingProxyType(dict(self._sources))
        )

    def _entries(self) -> Iterable[Entry]:
        for source in self._sources.values():
            if source.listing is not None:
                for capability in source.listing.capabilities:
                    yield Entry(capability=capability, upstream=source.upstream)
