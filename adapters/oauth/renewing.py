"""New tokens for a connected account: fetched by one gateway at a time, the others wait for what it stores.

A refresh token may count only once (rotation), and an issuer that sees it twice takes it for stolen and ends all that
followed from it (RFC 9700, section 4.14.2). So whoever renews has the account to itself, for as long as it can take at
the most; looks again, once it has; and stores what it got only where the account still is what it renewed.
"""

import secrets

import anyio
import structlog

from adapters.oauth.terms import Terms
from adapters.oauth.token_endpoint import UNKNOWN_CLIENT, TokenRefused
from adapters.oauth.vault import Connection, Owner, Vault
from gateway.core.errors import GatewayError
from gateway.core.json import json_text
from gateway.core.ports.accounts import Account
from gateway.core.ports.claims import Claims
from gateway.core.ports.world import Clock

log = structlog.get_logger(__name__)

ALONE_S = 60.0
"""How long whoever renews has an account to itself: longer than an issuer is waited for, with all its metadata."""
LOOK_S = 0.1
"""How often those who wait look."""
_OVER = "invalid_grant"
_FOR_SOMETHING_ELSE = ("invalid_target", "invalid_scope")
"""The account counts on, but not for what the configuration wants by now: only its owner can agree to that."""


class Renewing:
    """Renews accounts, each once over all gateways on the same database."""

    def __init__(self, vault: Vault, claims: Claims, clock: Clock) -> None:
        self._vault = vault
        self._claims = claims
        self._clock = clock

    async def renewed(self, connection: Connection, owner: Owner, refused: str) -> Account | None:
        """The account with a token that counts, and is not `refused`; None where it has to be connected anew.

        Waits until it is renewed by whoever does already: bound it. Canceling does not stop what was begun: what the
        issuer gave for the old token must be stored.
        """
        # Found out before the account is anybody's alone: it can take longer than that.
        terms = await self._terms(connection, owner)
        name, holder = f"account {connection.slug} {owner[1]}", secrets.token_hex(8)
        while True:
            with anyio.CancelScope(shield=True):
                now_us = self._clock.now_us()
                until_us = now_us + int(ALONE_S * 1_000_000)
                if await self._claims.take(owner[0], name, holder, now_us=now_us, until_us=until_us):
                    try:
                        return await self._renewed(connection, terms, owner, refused)
                    finally:
                        await self._leave(owner[0], name, holder)
            await anyio.sleep(LOOK_S)

    async def _terms(self, connection: Connection, owner: Owner) -> Terms:
        terms, account = await connection.agreement.terms(), await self._vault.find(connection, owner)
        if account is None or self._vault.is_by(account, connection, terms):
            return terms
        # Another gateway may have registered anew since, and the account is its successor's.
        connection.agreement.doubt()
        return await connection.agreement.terms()

    async def _renewed(self, connection: Connection, terms: Terms, owner: Owner, refused: str) -> Account | None:
        account = await self._vault.find(connection, owner)
        if account is None or self._vault.counts(account, connection, refused):
            return account
        refresh = json_text(self._vault.opened(account, connection).get("refresh"))
        # By the terms at hand, too: others may have been found since, or none.
        if not refresh or account.issuer != terms.issuer:
            return None
        form = {**terms.wish.form(), "grant_type": "refresh_token", "refresh_token": refresh}
        form.pop("scope", None)
        try:
            granted = await terms.endpoint.grant(form)
        except TokenRefused as error:
            if error.code in _FOR_SOMETHING_ELSE:
                return None
            # What was given to a client the issuer knows no more is of no use to its successor.
            forgotten = error.code == UNKNOWN_CLIENT and await connection.agreement.unknown()
            if error.code != _OVER and not forgotten and self._vault.is_by(account, connection, terms):
                raise
            renewed = None
            await self._vault.store.drop(account)
        else:
            renewed = await self._vault.renew(connection, terms, granted, account)
        return renewed or await self._meanwhile(connection, owner, refused)

    async def _meanwhile(self, connection: Connection, owner: Owner, refused: str) -> Account | None:
        """The account, where it was connected anew while its predecessor was renewed."""
        account = await self._vault.find(connection, owner)
        return account if account is not None and self._vault.counts(account, connection, refused) else None

    async def _leave(self, tenant: str, name: str, holder: str) -> None:
        try:
            await self._claims.leave(tenant, name, holder)
        except GatewayError as error:
            log.warning("an account is held longer than it need be", reason=error.message)
