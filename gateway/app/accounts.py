"""Accounts people connect, put together: where they are kept, how they are connected, what operators see of them."""

from collections.abc import Callable, Collection, Sequence

from adapters.oauth.accounts import AccountTokens, PersonalTokens
from adapters.oauth.code_flow import CodeFlow
from adapters.oauth.connecting import Connecting
from adapters.oauth.registrations import Registration, Registrations
from adapters.oauth.renewing import Renewing
from adapters.oauth.sealing import Sealing
from adapters.oauth.vault import Connection, Vault
from gateway.core.catalog import EVERY_TENANT
from gateway.core.errors import NotFound
from gateway.core.model import DEFAULT_TENANT
from gateway.core.ports.accounts import Account, Accounts
from gateway.core.ports.claims import Claims
from gateway.core.ports.world import Clock


class ConnectedAccounts:
    """One a process. Implements `api_ports.AccountKeeper`."""

    def __init__(self, store: Accounts, claims: Claims, key: bytes, clock: Clock) -> None:
        sealing = Sealing(key)
        vault = Vault(store, sealing, clock)
        self.connecting = Connecting(CodeFlow(sealing, claims, clock), self._connected)
        self.tokens = AccountTokens(vault, Renewing(vault, claims, clock), clock, self.connecting.link)
        self.connecting.tokens = self.tokens
        self.registrations = Registrations(store, sealing, claims, clock)
        self._pokes: dict[str, Callable[[], None]] = {}
        self._tenants: dict[str, str] = {}

    def at(self, connection: Connection, tenant: str, poke: Callable[[], None]) -> PersonalTokens:
        """The tokens for one server; `poke` has its lists read again when an account is connected."""
        self.connecting.connections[connection.slug] = connection
        self._pokes[connection.slug] = poke
        self._tenants[connection.slug] = tenant
        return PersonalTokens(connection, self.tokens, tenant)

    def only(self, slugs: Collection[str]) -> None:
        """Servers that are gone, or want no such accounts any more, are connected to no longer."""
        for slug in [slug for slug in self.connecting.connections if slug not in slugs]:
            del self.connecting.connections[slug], self._pokes[slug], self._tenants[slug]

    async def all(self, tenant: str) -> Sequence[Account]:
        return await self.tokens.vault.store.all(tenant)

    async def revoke(self, tenant: str, server: str, subject: str) -> bool:
        connection = self.connecting.connections.get(server)
        if connection is None:
            return await self.tokens.revoke(tenant, server, subject)
        return await self.tokens.revoke_at(connection, tenant, subject)

    def link(self, tenant: str, server: str, subject: str) -> str:
        connection = self.connecting.connections.get(server)
        if connection is None or self._tenants[server] not in (tenant, EVERY_TENANT):
            raise NotFound(f"no server called {server} is used by people's own accounts")
        return self.connecting.link(connection, (tenant, subject))

    async def registered(self, tenant: str) -> Sequence[Registration]:
        """Where the gateway registered itself for servers of a tenant, also for those that are gone.

        Those of every tenant's servers are the first tenant's to see to: all others' people depend on them.
        """
        return [
            each
            for each in await self.registrations.all()
            if self._tenants.get(each.server, each.tenant).replace(EVERY_TENANT, DEFAULT_TENANT) == tenant
        ]

    async def register_anew(self, tenant: str, server: str) -> bool:
        if all(each.server != server for each in await self.registered(tenant)):
            return False
        return await self.registrations.forget(server) > 0

    def _connected(self, slug: str) -> None:
        poke = self._pokes.get(slug)
        if poke is not None:
            poke()
