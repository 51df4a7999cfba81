"""In-memory twins of the storage ports that only tests need; the others are in `gateway.testing.stores`."""

from dataclasses import replace

from gateway.core.errors import Conflict
from gateway.core.ports.storage import (
    ApiKey,
    RegisteredAgent,
)


class MemoryKeyStore:
    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}

    async def add(self, key: ApiKey) -> None:
        if key.id in self._keys:
            raise Conflict("a key with this id exists")
        self._keys[key.id] = key

    async def all(self) -> tuple[ApiKey, ...]:
        return tuple(sorted(self._keys.values(), key=lambda key: (key.created_at_us, key.id)))

    async def revoke(self, key_id: str, at_us: int) -> bool:
        key = self._keys.get(key_id)
        if key is None or key.revoked_at_us is not None:
            return False
        self._keys[key_id] = replace(key, revoked_at_us=at_us)
        return True


class MemoryAgentRegistry:
    def __init__(self) -> None:
        self._agents: dict[str, RegisteredAgent] = {}
        self._first: dict[str, str] = {}

    async def add(self, agent: RegisteredAgent) -> None:
        if agent.slug in self._agents:
            raise Conflict("the name is taken")
        self._agents[agent.slug] = agent

    async def all(self) -> tuple[RegisteredAgent, ...]:
        return tuple(self._agents[slug] for slug in sorted(self._agents))

    async def remove(self, slug: str) -> bool:
        if self._agents.pop(slug, None) is None:
            return False
        self._first.pop(slug, None)
        return True

    async def seen(self, slug: str, digest: str, card: bytes, at_us: int) -> str:
        return self._first.setdefault(slug, digest)
