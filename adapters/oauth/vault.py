"""Accounts that people connected, as they are stored: put under seal, and opened again. Asks no issuer."""

from dataclasses import dataclass
from typing import TypeAlias

from adapters.net.challenge import MOST_SCOPES
from adapters.oauth.kept import MARGIN_S, UNSAID_S
from adapters.oauth.sealing import Broken, Sealing
from adapters.oauth.terms import Agreement, Terms
from adapters.oauth.token_endpoint import Granted
from gateway.core.json import Json, JsonObject, json_list, json_text
from gateway.core.ports.accounts import Account, Accounts
from gateway.core.ports.world import Clock

Owner: TypeAlias = tuple[str, str]
"""Tenant and subject."""
MOST_WIDENED, WIDENED_S = 3, 3600.0
"""How often somebody is asked for more of one account within this time, seconds."""
_LONGEST_SCOPES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A server at which people have accounts of their own."""

    slug: str
    agreement: Agreement
    list_as: str = ""
    """Subject whose account lists are read by; empty: by nobody's."""


class Vault:
    """Everybody's accounts."""

    def __init__(self, store: Accounts, sealing: Sealing, clock: Clock) -> None:
        self.store = store
        self._sealing = sealing
        self._clock = clock

    async def find(self, connection: Connection, owner: Owner) -> Account | None:
        tenant, subject = owner
        return await self.store.find(tenant, subject, connection.slug)

    async def put(
        self, connection: Connection, owner: Owner, terms: Terms, granted: Granted, more: tuple[str, ...] = ()
    ) -> None:
        """Store an account somebody has connected, in the place of an earlier one; `more`: scopes beyond the terms."""
        now_us, scopes = self._clock.now_us(), dict.fromkeys((*terms.wish.scopes, *more))
        widened: list[Json] = []
        if more:
            before = await self.find(connection, owner)
            widened = [*([] if before is None else self._widened(before)), now_us]
        said: JsonObject = {**self._said(connection, terms, granted), "widened_at_us": widened}
        await self.store.put(
            self._account(
                connection, owner, said, issuer=terms.issuer, scope=granted.scope or " ".join(scopes), since_us=now_us
            )
        )

    async def renew(self, connection: Connection, terms: Terms, granted: Granted, before: Account) -> Account | None:
        """The account with what was granted for it; None where it was revoked or connected anew meanwhile."""
        had = self._opened(before)
        said: JsonObject = {**had, **self._said(connection, terms, granted)}
        if granted.refresh is None:
            said["refresh"] = json_text(had.get("refresh"))
        account = self._account(
            connection,
            (before.tenant, before.subject),
            said,
            issuer=terms.issuer,
            scope=granted.scope or before.scope,
            since_us=before.connected_at_us,
        )
        return account if await self.store.replace(account, before.sealed) else None

    def lacking(self, account: Account, scopes: tuple[str, ...]) -> tuple[str, ...]:
        """All scopes to ask its owner for, so that it is good for these too; none where they have them, or were asked
        often enough of late: a server may never be content.
        """
        have = tuple(account.scope.split())
        more = tuple(each for each in scopes if each not in have)
        if not more or len(self._widened(account)) >= MOST_WIDENED:
            return ()
        found = tuple(dict.fromkeys((*have, *more)))
        return found if len(found) <= MOST_SCOPES and len(" ".join(found)) <= _LONGEST_SCOPES else ()

    def opened(self, account: Account, connection: Connection) -> JsonObject:
        """Its tokens; none where they are another issuer's, or the key is another."""
        return self._opened(account) if connection.agreement.are_from(account.issuer) else {}

    def is_by(self, account: Account, connection: Connection, terms: Terms) -> bool:
        """Whether its tokens were given to the client of these terms, as far as that was written down."""
        client = terms.endpoint.client.id
        return self.opened(account, connection).get("client", client) == client

    def counts(self, account: Account, connection: Connection, refused: str) -> bool:
        """Whether its access token can be used there; `refused` is one the server did not take."""
        said = self.opened(account, connection)
        expires_us, access = said.get("expires_at_us"), json_text(said.get("access"))
        if not isinstance(expires_us, int) or not access or access == refused:
            return False
        # What was given for one place is not shown to another that the configuration has put there since.
        if not connection.agreement.are_for(said):
            return False
        return (expires_us - self._clock.now_us()) / 1_000_000 > min(MARGIN_S, 1.0)

    def _said(self, connection: Connection, terms: Terms, granted: Granted) -> JsonObject:
        lives_s = UNSAID_S if granted.lives_s is None else granted.lives_s
        return {
            "access": granted.access.reveal(),
            "refresh": granted.refresh.reveal() if granted.refresh is not None else "",
            "expires_at_us": self._clock.now_us() + int(lives_s * 1_000_000),
            "resource": terms.wish.resource,
            "place": connection.agreement.place,
            "client": terms.endpoint.client.id,
        }

    def _account(
        self, connection: Connection, owner: Owner, said: JsonObject, *, issuer: str, scope: str, since_us: int
    ) -> Account:
        tenant, subject = owner
        return Account(
            tenant=tenant,
            subject=subject,
            server=connection.slug,
            issuer=issuer,
            scope=scope,
            sealed=self._sealing.close(said, f"account {tenant} {subject} {connection.slug} {issuer}"),
            connected_at_us=since_us,
            renewed_at_us=self._clock.now_us(),
        )

    def _widened(self, account: Account) -> list[Json]:
        """When its owner was asked for more, of late."""
        since_us = self._clock.now_us() - int(WIDENED_S * 1_000_000)
        times = json_list(self._opened(account).get("widened_at_us"))
        return [each for each in times if isinstance(each, int) and each > since_us]

    def _opened(self, account: Account) -> JsonObject:
        about = f"account {account.tenant} {account.subject} {account.server} {account.issuer}"
        try:
            return self._sealing.open(account.sealed, about)
        except Broken:
            return {}
