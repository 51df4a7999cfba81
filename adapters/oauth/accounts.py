"""Tokens of the accounts that people connected: found, renewed in time and once, forgotten when they are revoked.

A refresh token may count only once (rotation): what the server gave for it is stored before anybody uses it, and
neither a caller that leaves nor a second gateway makes it be used twice without looking again.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import anyio

from adapters.oauth.kept import MARGIN_S, UNSAID_S
from adapters.oauth.sealing import Broken, Sealing
from adapters.oauth.service import Wish
from adapters.oauth.token_endpoint import Granted, TokenEndpoint, TokenRefused
from gateway.core.errors import DeadlineExceeded, Denied
from gateway.core.json import JsonObject, json_text
from gateway.core.model import Request
from gateway.core.ports.accounts import Account, Accounts
from gateway.core.ports.credentials import UpstreamToken
from gateway.core.ports.world import Clock, Secret

Owner: TypeAlias = tuple[str, str]
"""Tenant and subject."""

MOST_OWNERS = 4096
LOOK_AGAIN_S = 30.0
"""How long a token is used before it is looked whether it was revoked elsewhere, seconds."""


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


class AccountTokens:
    """Everybody's tokens, at every server."""

    def __init__(
        self, store: Accounts, sealing: Sealing, clock: Clock, link: Callable[[Connection, Owner], str]
    ) -> None:
        """`link` gives the address at which somebody connects their account."""
        self.store = store
        self.sealing = sealing
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

    async def keep(self, connection: Connection, owner: Owner, granted: Granted, before: Account | None) -> Account:
        """Store what was granted; `before` is the account it renews."""
        now_us = self.clock.now_us()
        lives_s = UNSAID_S if granted.lives_s is None else granted.lives_s
        renewal = granted.refresh
        said: JsonObject = {
            "access": granted.access.reveal(),
            "refresh": renewal.reveal() if renewal is not None else "",
            "expires_at_us": now_us + int(lives_s * 1_000_000),
        }
        if before is not None and renewal is None:
            said["refresh"] = json_text(self._opened(before).get("refresh"))
        tenant, subject = owner
        account = Account(
            tenant=tenant,
            subject=subject,
            server=connection.slug,
            issuer=connection.issuer,
            scope=granted.scope or (before.scope if before is not None else " ".join(connection.wish.scopes)),
            sealed=self.sealing.close(said, _about(owner, connection)),
            connected_at_us=now_us if before is None else before.connected_at_us,
            renewed_at_us=now_us,
        )
        await self.store.put(account)
        return account

    def opened(self, account: Account, connection: Connection) -> JsonObject:
        """Its tokens; none where they are another issuer's, or the key is another."""
        if account.issuer != connection.issuer:
            return {}
        return self._opened(account)

    async def revoke(self, tenant: str, server: str, subject: str) -> bool:
        """Forget somebody's tokens from now on; False where there were none."""
        token = self._tokens.get((server, (tenant, subject)))
        if token is not None:
            token.forget()
        return await self.store.remove(tenant, subject, server)

    def _opened(self, account: Account) -> JsonObject:
        about = f"account {account.tenant} {account.subject} {account.server} {account.issuer}"
        try:
            return self.sealing.open(account.sealed, about)
        except Broken:
            return {}


class AccountToken:
    """See `UpstreamToken`."""

    def __init__(self, tokens: AccountTokens, connection: Connection, owner: Owner) -> None:
        self.connection = connection
        self._tokens = tokens
        self._owner = owner
        self._token: Secret | None = None
        self._refused = ""
        self._look_at_s = 0.0
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
        if self._token is token:
            self._refused = token.reveal()
            self._token = None

    def forget(self) -> None:
        """It was revoked."""
        self._token = None

    async def _look(self) -> None:
        self._token = None
        account = await self._found()
        if account is None:
            return
        said = self._tokens.opened(account, self.connection)
        if not self._counts(said):
            with anyio.CancelScope(shield=True):
                account = await self._renewed(account, json_text(said.get("refresh")))
            if account is None:
                return
            said = self._tokens.opened(account, self.connection)
        self._use(said)

    def _use(self, said: JsonObject) -> None:
        expires_us = said.get("expires_at_us")
        left_s = (expires_us - self._tokens.clock.now_us()) / 1_000_000 if isinstance(expires_us, int) else 0.0
        self._token = Secret(json_text(said.get("access")))
        self._look_at_s = self._tokens.clock.monotonic_s() + min(LOOK_AGAIN_S, max(1.0, left_s - _margin_s(left_s)))

    def _counts(self, said: JsonObject) -> bool:
        expires_us, access = said.get("expires_at_us"), json_text(said.get("access"))
        if not isinstance(expires_us, int) or not access or access == self._refused:
            return False
        left_s = (expires_us - self._tokens.clock.now_us()) / 1_000_000
        return left_s > min(MARGIN_S, 1.0)

    async def _found(self) -> Account | None:
        tenant, subject = self._owner
        return await self._tokens.store.find(tenant, subject, self.connection.slug)

    async def _renewed(self, account: Account, refresh: str) -> Account | None:
        """The account with new tokens; None where it has to be connected anew."""
        if not refresh:
            return None
        form = {**self.connection.wish.form(), "grant_type": "refresh_token", "refresh_token": refresh}
        form.pop("scope", None)
        try:
            granted = await self.connection.endpoint.grant(form)
        except TokenRefused as error:
            if error.code != "invalid_grant":
                raise
            return await self._after_refusal(account)
        return await self._tokens.keep(self.connection, self._owner, granted, account)

    async def _after_refusal(self, account: Account) -> Account | None:
        """Another gateway may have renewed it meanwhile; otherwise it is over."""
        now = await self._found()
        if now is not None and now.sealed != account.sealed and self._counts(self._tokens.opened(now, self.connection)):
            return now
        if now is not None:
            await self._tokens.store.remove(account.tenant, account.subject, account.server)
        return None

    def _not_connected(self) -> Denied:
        slug = self.connection.slug
        return Denied(
            f"{slug} is called by an account of your own there, and you have not connected one, or it is over",
            detail={
                "policy": "credentials",
                "rule": "not-connected",
                "sent": False,
                "url": self._tokens.link(self.connection, self._owner),
            },
        )


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


def _about(owner: Owner, connection: Connection) -> str:
    return f"account {owner[0]} {owner[1]} {connection.slug} {connection.issuer}"


def _margin_s(left_s: float) -> float:
    return min(MARGIN_S, left_s / 10)
