"""Agents added at run time, and the card first seen of every agent. Judges no card."""

from typing import Any

from sqlalchemy import BindParameter, Connection, RowMapping, bindparam, delete, insert, select, update

from adapters.storage.tables import agent_cards, agents
from adapters.storage.transactions import Transactions
from gateway.core.errors import Conflict
from gateway.core.ports.storage import RegisteredAgent

AGENTS = "agents"
"""The topic under which changes are marked."""

_SLUG: BindParameter[str] = bindparam("of_slug")
_BY_SLUG = select(agents.c.slug).where(agents.c.slug == _SLUG)
_ALL = select(agents).order_by(agents.c.slug)
_ADD = insert(agents)
_REMOVE = delete(agents).where(agents.c.slug == _SLUG)
_FORGET_CARD = delete(agent_cards).where(agent_cards.c.slug == _SLUG)
_FIRST_SEEN = select(agent_cards.c.first_digest, agent_cards.c.digest).where(agent_cards.c.slug == _SLUG)
_FIRST_CARD = insert(agent_cards)
_LATEST_CARD = update(agent_cards).where(agent_cards.c.slug == _SLUG)


class SqlAgentRegistry:
    """See `AgentRegistry`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def add(self, agent: RegisteredAgent) -> None:
        row = _row_from_agent(agent)

        def act(connection: Connection) -> None:
            if connection.execute(_BY_SLUG, {"of_slug": agent.slug}).first() is not None:
                raise Conflict(f"the name {agent.slug} is taken")
            connection.execute(_ADD, row)
            self._database.mark(connection, AGENTS)

        await self._database.write(act)

    async def all(self) -> tuple[RegisteredAgent, ...]:
        rows = await self._database.read(lambda connection: connection.execute(_ALL).mappings().all())
        return tuple(_agent_from_row(row) for row in rows)

    async def remove(self, slug: str) -> bool:
        """See `AgentRegistry.remove`. Its card is forgotten too: adding it again is a new decision."""

        def act(connection: Connection) -> bool:
            removed = connection.execute(_REMOVE, {"of_slug": slug}).rowcount > 0
            if removed:
                connection.execute(_FORGET_CARD, {"of_slug": slug})
                self._database.mark(connection, AGENTS)
            return removed

        return await self._database.write(act)

    async def seen(self, slug: str, digest: str, card: bytes, at_us: int) -> str:
        """See `AgentRegistry.seen`. The first card and the latest are kept, those between are not."""
        now = {"digest": digest, "card": card, "at_us": at_us}
        first = {"first_digest": digest, "first_card": card, "first_at_us": at_us}

        def act(connection: Connection) -> str:
            known = connection.execute(_FIRST_SEEN, {"of_slug": slug}).first()
            if known is None:
                connection.execute(_FIRST_CARD, {"slug": slug, **first, **now})
                return digest
            if known.digest != digest:
                connection.execute(_LATEST_CARD, {"of_slug": slug, **now})
            return str(known.first_digest)

        return await self._database.write(act)


def _row_from_agent(agent: RegisteredAgent) -> dict[str, Any]:
    return {
        "slug": agent.slug,
        "tenant": agent.tenant,
        "card_url": agent.card_url,
        "card": agent.card,
        "digest": agent.digest,
        "added_at_us": agent.added_at_us,
        "added_by": agent.added_by,
        "settings": dict(agent.settings),
    }


def _agent_from_row(row: RowMapping) -> RegisteredAgent:
    return RegisteredAgent(
        slug=row["slug"],
        tenant=row["tenant"],
        card_url=row["card_url"],
        card=row["card"],
        digest=row["digest"],
        added_at_us=row["added_at_us"],
        added_by=row["added_by"],
        settings=row["settings"],
    )
