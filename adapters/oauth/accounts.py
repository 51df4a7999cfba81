"""Tokens of the accounts that people connected: found, kept for a moment, forgotten when they are revoked."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

import anyio

from adapters.oauth.kept import MARGIN_S, NO_SOONER_S
from adapters.oauth.renewing import Renewing
from adapters.oauth.revoking import give_back
from adapters.oauth.vault import Connection, Owner, Vault
from gateway.core.errors import DeadlineExceeded, Denied
from gateway.core.json import json_text
from gateway.core.model import Request
from gateway.core.ports.credentials import UpstreamToken
from gateway.core.ports.world import Clock, Secret

MOST_OWNERS = 4096
Link: TypeAlias = Callable[[Connection, Owner, tuple[str, ...]], str]
LOOK_AGAIN_S = 30.0
"""How long a token is used before it is looked whether it was revoked elsewhere, seconds."""


class AccountTokens:
    """Everybody's tokens, at every server."""

    def __init__(self, vault: Vault, renewing: Renewing, clock: Clock, link: Link) -> None:
        """`link` gives the address at which somebody connects their account, for these scopes too."""
        self.vault = vault
        self.renewing = renewing
        self.clock = clock
        self.link = link
        self._tokens: OrderedDict[tuple[str, Owner], AccountToken] = OrderedDict()

    def of(self, connection: Connection, owner: Owner) -> "AccountToken":
        """The token of somebody's account; the same object as long as it is in use."""
        place = (connection.slug, owner)
        token = self._tokens.get(place)
        if token is None or token.connection != connection:
            token = self._tokens[place] = AccountToken(self, connection, owner)
            if len(self._tokens) > MOST_OWNERS:
                self._tokens.popitem(last=False)
        self._tokens.move_to_end(place)
        return token

    def forget(self, server: str, owner: Owner) -> None:
        """Somebody's account is no longer what it was: look again before the next call."""
        token = self._tokens.get((server, owner))
        if token is not None:
            token.forget()

    async def revoke(self, tenant: str, server: str, subject: str) -> bool:
        """Forget somebody's tokens from now on; False where there were none."""
        removed = await self.vault.store.remove(tenant, subject, server)
        self.forget(server, (tenant, subject))
        return removed

    async def revoke_at(self, connection: Connection, tenant: str, subject: str) -> bool:
        """As `revoke`; then they are given back to their issuer, which nothing here waits for."""
        account = await self.vault.find(connection, (tenant, subject))
        removed = await self.revoke(tenant, connection.slug, subject)
        if removed and account is not None:
            await give_back(self.vault, connection, account)
        return removed


class AccountToken:
    """See `UpstreamToken`."""

    def __init__(self, tokens: AccountTokens, connection: Connection, owner: Owner) -> None:
        self.connection = connection
        self._tokens = tokens
        self._owner = owner
        self._token: Secret | None = None
        self._refused = ""
        self._look_at_s = 0.0
        self._renewed_at_us = 0
        self._epoch = 0
        """Grows when what was found before does not count any more."""
        self._turn = anyio.Lock()

    async def get(self, deadline_s: float) -> Secret:
        now_s = self._tokens.clock.monotonic_s()
        if self._token is not None and now_s < self._look_at_s:
            return self._token
        try:
            with anyio.fail_after(max(0.0, deadline_s - now_s)):
                async with self._turn:
                    if self._token is None or self._tokens.clock.monotonic_s() >= self._look_at_s:
                        await self._look()
                    if self._token is None:
                        raise self._not_connected()
                    return self._token
        except TimeoutError as error:
            said = f"the issuer of {self.connection.slug}'s tokens did not answer in time"
            raise DeadlineExceeded(said, detail={"sent": False}) from error

    def refused(self, token: Secret) -> None:
        soonest_us = self._renewed_at_us + int(NO_SOONER_S * 1_000_000)
        if self._token is token and self._tokens.clock.now_us() >= soonest_us:
            self._refused = token.reveal()
            self.connection.agreement.doubt()
            self._token = None

    async def wider(self, token: Secret, scopes: tuple[str, ...], deadline_s: float) -> Secret:
        """See `UpstreamToken.wider`. Its owner is asked, not the issuer."""
        if not self.connection.agreement.widens:
            return token
        if self._token is not None and self._token is not token:
            return self._token
        vault = self._tokens.vault
        account = await vault.find(self.connection, self._owner)
        if account is None:
            raise self._not_connected()
        if json_text(vault.opened(account, self.connection).get("access")) != token.reveal():
            self.forget()  # connected anew, elsewhere
            return await self.get(deadline_s)
        lacking = vault.lacking(account, scopes)
        if not lacking:
            return token
        said = f"{self.connection.slug} wants more of your account there than it was connected for"
        raise self._needs_its_owner(said, "scope", lacking)

    def forget(self) -> None:
        """It was revoked, or connected anew."""
        self._epoch += 1
        self._token = None

    async def _look(self) -> None:
        """Find it, or have it renewed; once more where it was revoked meanwhile."""
        vault, seen = self._tokens.vault, -1
        while seen != self._epoch:
            seen, self._token = self._epoch, None
            account = await vault.find(self.connection, self._owner)
            if account is not None and not vault.counts(account, self.connection, self._refused):
                account = await self._tokens.renewing.renewed(self.connection, self._owner, self._refused)
            if account is not None and seen == self._epoch:
                said = vault.opened(account, self.connection)
                expires_us = said.get("expires_at_us")
                left_us = expires_us - self._tokens.clock.now_us() if isinstance(expires_us, int) else 0
                self._use(Secret(json_text(said.get("access"))), left_us / 1_000_000, account.renewed_at_us)

    def _use(self, token: Secret, left_s: float, renewed_at_us: int) -> None:
        margin_s = min(MARGIN_S, left_s / 10)
        self._token, self._renewed_at_us = token, renewed_at_us
        self._look_at_s = self._tokens.clock.monotonic_s() + min(LOOK_AGAIN_S, max(1.0, left_s - margin_s))

    def _not_connected(self) -> Denied:
        slug = self.connection.slug
        said = f"{slug} is called by an account of your own there, and you have not connected one, or it is over"
        return self._needs_its_owner(said, "not-connected", ())

    def _needs_its_owner(self, said: str, rule: str, scopes: tuple[str, ...]) -> Denied:
        url = self._tokens.link(self.connection, self._owner, scopes)
        return Denied(said, detail={"policy": "credentials", "rule": rule, "sent": False, "url": url})


class PersonalTokens:
    """See `UpstreamTokens`: each person's own account, also for what workflows and agents do on their behalf."""

    def __init__(self, connection: Connection, tokens: AccountTokens, tenant: str) -> None:
        """`tenant`: of the server, in which the account lies that lists are read by."""
        self._connection = connection
        self._tokens = tokens
        self._tenant = tenant

    @property
    def own(self) -> UpstreamToken | None:
        list_as = self._connection.list_as
        return self._tokens.of(self._connection, (self._tenant, list_as)) if list_as else None

    def key(self, request: Request) -> str:
        first = request.principal.first
        return f"{first.tenant}\n{first.subject}"

    def of(self, key: str) -> UpstreamToken:
        tenant, _, subject = key.partition("\n")
        return self._tokens.of(self._connection, (tenant, subject))
