"""Agents added by the address of their card rather than by the configuration. Knows ports, cards, and nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
from pydantic import ValidationError

from adapters.a2a.card import CheckedCard, FetchCard, card_url, check_card
from adapters.a2a.settings import AgentSettings
from adapters.net.address import address_from_url
from gateway.core.errors import Conflict, InvalidRequest, NotFound
from gateway.core.json import Json
from gateway.core.ports.storage import AgentRegistry, RegisteredAgent
from gateway.core.ports.world import Clock
from gateway.core.slugs import LONGEST_SLUG, RESERVED, is_slug

log = structlog.get_logger(__name__)

_SLUG_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEntry:
    """A registered agent, as it is shown to whoever decides about it."""

    slug: str
    card: CheckedCard
    card_url: str
    settings: AgentSettings
    added_at_us: int
    added_by: str

    @property
    def grant(self) -> str:
        """What to put under `allow` of a role that may call it."""
        return f"agent:{self.slug}"

    def to_json(self) -> dict[str, Json]:
        """Everything worth showing before somebody trusts it."""
        return {
            "slug": self.slug,
            "name": self.card.name,
            "description": self.card.description,
            "version": self.card.version,
            "cardUrl": self.card_url,
            "url": self.card.url,
            "digest": self.card.digest,
            "streaming": self.card.streaming,
            "interfaces": [*self.card.interfaces],
            "security": [*self.card.security],
            "extensions": [*sorted(self.card.extensions)],
            "skills": [
                {"id": each.id, "name": each.name, "description": each.description, "tags": [*each.tags]}
                for each in self.card.skills
            ],
            "tenant": self.settings.tenant,
            "trust": self.settings.trust,
            "grant": self.grant,
            "addedAtUs": self.added_at_us,
            "addedBy": self.added_by,
        }


class AgentDirectory:
    """Adds, lists and removes registered agents."""

    def __init__(
        self, registry: AgentRegistry, fetch: FetchCard, clock: Clock, taken: Callable[[], frozenset[str]]
    ) -> None:
        """`fetch` brings the egress guard; `taken` gives the slugs the configuration has."""
        self._registry = registry
        self._fetch = fetch
        self._clock = clock
        self._taken = taken

    async def look(self, address: str, *, slug: str = "", settings: Mapping[str, Json] | None = None) -> AgentEntry:
        """What would be added, without adding it. Raises: as `add`."""
        where = card_url(address)
        address_from_url(where)
        chosen = _settings(where, settings or {})
        card = check_card(await self._fetch(where), where, url=chosen.url)
        return AgentEntry(
            slug=self._free(slug or slug_from(card.name)),
            card=card,
            card_url=where,
            settings=chosen,
            added_at_us=self._clock.now_us(),
            added_by="",
        )

    async def add(
        self, address: str, *, added_by: str, slug: str = "", settings: Mapping[str, Json] | None = None
    ) -> AgentEntry:
        """Fetch a card, check it and register the agent. `settings`: members of `AgentSettings` but `card`.

        Raises: InvalidRequest: the card, the name or a setting is not acceptable; Conflict: the name is taken; Denied,
            Unavailable, UpstreamFailed, DeadlineExceeded: the card could not be fetched.
        """
        entry = await self.look(address, slug=slug, settings=settings)
        agent = RegisteredAgent(
            slug=entry.slug,
            tenant=entry.settings.tenant,
            card_url=entry.card_url,
            card=entry.card.raw,
            digest=entry.card.digest,
            added_at_us=entry.added_at_us,
            added_by=added_by,
            settings=dict(settings or {}),
        )
        await self._registry.add(agent)
        await self.seen(entry.slug, entry.card)
        return entry_from(agent)

    async def all(self) -> tuple[AgentEntry, ...]:
        """Every registered agent whose card is still acceptable, sorted by slug."""
        entries: list[AgentEntry] = []
        for agent in await self._registry.all():
            try:
                entries.append(entry_from(agent))
            except InvalidRequest as error:
                # One card that a stricter check refuses must not take the others, or the start, with it.
                log.warning("registered agent left out", agent=agent.slug, reason=error.message)
        return tuple(sorted(entries, key=lambda entry: entry.slug))

    async def remove(self, slug: str) -> None:
        """Raises: NotFound: no agent was registered under this name."""
        if not await self._registry.remove(slug):
            configured = "; it is in the configuration, and removed there" if slug in self._taken() else ""
            raise NotFound(f"no registered agent is called {slug}{configured}")

    async def seen(self, slug: str, card: CheckedCard) -> bool:
        """Note an agent's card, configured ones' too; whether it is still the one first seen."""
        return await self._registry.seen(slug, card.digest, card.raw, self._clock.now_us()) == card.digest

    def _free(self, slug: str) -> str:
        if not is_slug(slug) or slug in RESERVED:
            raise InvalidRequest(
                f"{slug[:40]!r} cannot be a name: 1 to {LONGEST_SLUG} characters out of a-z, 0-9 and -, and none of "
                + ", ".join(sorted(RESERVED)),
                detail={"field": "slug"},
            )
        if slug in self._taken():
            raise Conflict(f"{slug} is the name of something in the configuration; choose another")
        return slug


def entry_from(agent: RegisteredAgent) -> AgentEntry:
    """A stored registration, read again. Raises: InvalidRequest: its card is no longer acceptable."""
    settings = _settings(agent.card_url, agent.settings)
    return AgentEntry(
        slug=agent.slug,
        card=check_card(agent.card, agent.card_url, url=settings.url),
        card_url=agent.card_url,
        settings=settings,
        added_at_us=agent.added_at_us,
        added_by=agent.added_by,
    )


def slug_from(name: str) -> str:
    """A slug made of an agent's name."""
    letters = [character if character in _SLUG_CHARACTERS else "-" for character in name.lower()]
    words = "".join(letters).split("-")
    return "-".join(word for word in words if word)[:LONGEST_SLUG].strip("-")


def _settings(card: str, members: Mapping[str, Json]) -> AgentSettings:
    try:
        return AgentSettings.model_validate({**members, "card": card})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(each) for each in first["loc"])
        raise InvalidRequest(f"{place}: {first['msg']}", detail={"field": place}) from error
