"""Accounts that people connected, as they are stored: put under seal, and opened again. Asks no issuer."""

from dataclasses import dataclass
from typing import TypeAlias

from adapters.oauth.kept import MARGIN_S, UNSAID_S
from adapters.oauth.sealing import Broken, Sealing
from adapters.oauth.service import Wish
from adapters.oauth.token_endpoint import Granted, TokenEndpoint
from gateway.core.json import JsonObject, json_text
from gateway.core.ports.accounts import Account, Accounts
from gateway.core.ports.world import Clock

Owner: TypeAlias = tuple[str, str]
"""Tenant and subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A server at which people have accounts of their own."""

    slug: str
    endpoint: TokenEndpoint
    wish: Wish
    list_as: str = ""
    """Subject whose account lists are read by; empty: by nobody's."""

    @property
    def issuer(self) -> str:
        return self.endpoint.server.issuer


class Vault:
    """Everybody's accounts."""

    def __init__(self, store: Accounts, sealing: Sealing, clock: Clock) -> None:
        self.store = store
        self._sealing = sealing
        self._clock = clock

    async def find(self, connection: Connection, owner: Owner) -> Account | None:
        tenant, subject = owner
        return await self.store.find(tenant, subject, connection.slug)

    async def put(self, connection: Connection, owner: Owner, granted: Granted) -> None:
        """Store an account somebody has connected, in the place of an earlier one."""
        await self.store.put(self._account(connection, owner, granted, None))

    async def renew(self, connection: Connection, granted: Granted, before: Account) -> Account | None:
        """The account with what was granted for it; None where it was revoked or connected anew meanwhile."""
        account = self._account(connection, (before.tenant, before.subject), granted, before)
        return account if await self.store.replace(account, before.sealed) else None

    def opened(self, account: Account, connection: Connection) -> JsonObject:
        """Its tokens; none where they are another issuer's, or the key is another."""
        return self._opened(account) if account.issuer == connection.issuer else {}

    def counts(self, account: Account, connection: Connection, refused: str) -> bool:
        """Whether its access token can be used there; `refused` is one the server did not take."""
        said = self.opened(account, connection)
        expires_us, access = said.get("expires_at_us"), json_text(said.get("access"))
        if not isinstance(expires_us, int) or not access or access == refused:
            return False
        # What was given for one place is not shown to another that the configuration has put there since.
        if said.get("resource", connection.wish.resource) != connection.wish.resource:
            return False
        return (expires_us - self._clock.now_us()) / 1_000_000 > min(MARGIN_S, 1.0)

    def _account(self, connection: Connection, owner: Owner, granted: Granted, before: Account | None) -> Account:
        now_us = self._clock.now_us()
        lives_s = UNSAID_S if granted.lives_s is None else granted.lives_s
        renewal = granted.refresh
        said: JsonObject = {
            "access": granted.access.reveal(),
            "refresh": renewal.reveal() if renewal is not None else "",
            "expires_at_us": now_us + int(lives_s * 1_000_000),
            "resource": connection.wish.resource,
        }
        if before is not None and renewal is None:
            said["refresh"] = json_text(self._opened(before).get("refresh"))
        tenant, subject = owner
        return Account(
            tenant=tenant,
            subject=subject,
            server=connection.slug,
            issuer=connection.issuer,
            scope=granted.scope or (before.scope if before is not None else " ".join(connection.wish.scopes)),
            sealed=self._sealing.close(said, f"account {tenant} {subject} {connection.slug} {connection.issuer}"),
            connected_at_us=now_us if before is None else before.connected_at_us,
            renewed_at_us=now_us,
        )

    def _opened(self, account: Account) -> JsonObject:
        about = f"account {account.tenant} {account.subject} {account.server} {account.issuer}"
        try:
            return self._sealing.open(account.sealed, about)
        except Broken:
            return {}
