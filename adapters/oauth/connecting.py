"""How a person connects an account at a server: the gateway as an OAuth client.

A link names the person it is for, and whoever sends it can be anybody: an agent, or a stranger who wants somebody
else's account bound to their own name, or theirs to somebody else's (MCP 2026-07-28, elicitation, "phishing"). So where
the issuer the person is known by has a login, the browser goes there first, and only that very person goes on.
Otherwise the page says for whom it is and asks. Either way a link belongs to the browser that opens it first, and is
over once it was used.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adapters.oauth.accounts import AccountTokens
from adapters.oauth.code_flow import CodeFlow, Flow, digest_of
from adapters.oauth.login import Login, begin_login, logged_in
from adapters.oauth.terms import Terms
from adapters.oauth.token_endpoint import UNKNOWN_CLIENT, Granted, TokenRefused
from adapters.oauth.vault import Connection, Owner
from gateway.core.errors import Conflict, Denied, GatewayError, NotFound
from gateway.core.json import JsonObject, json_text
from gateway.core.record import Outcome

CALLBACK = "/oauth/callback"
CLIENT_DOCUMENT, MARKED_DOCUMENT = "/oauth/client.json", "/oauth/client/{}.json"
CONNECT = "/oauth/connect/"
Note = Callable[[str, str, JsonObject, Outcome], None]
"""Tenant, operation, detail, outcome: for the audit log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose account is to be connected where."""

    owner: Owner
    connection: Connection
    login: Login | None
    """Where it is found out whether the person is the one at the browser; None: nowhere."""
    scopes: tuple[str, ...] = ()
    """What the server wants beyond what it wants of everybody."""


class Connecting:
    """Begins and finishes."""

    def __init__(self, flow: CodeFlow, on_connected: Callable[[str], None]) -> None:
        """`on_connected` is told the slug of a server somebody has connected an account at."""
        self.base = ""
        """What people reach the gateway by, for example `https://gateway.example.com`."""
        self.connections: dict[str, Connection] = {}
        """By slug; kept in step with the configuration by whoever makes them."""
        self.logins: Mapping[str, Login] = {}
        """By the name of the issuer; likewise."""
        self.tokens: AccountTokens | None = None
        self.note: Note = lambda tenant, operation, detail, outcome: None
        self._flow = flow
        self._on_connected = on_connected

    def link(self, connection: Connection, owner: Owner, scopes: tuple[str, ...] = ()) -> str:
        """The address at which somebody connects their account, for these scopes too; good for ten minutes."""
        said: JsonObject = {"tenant": owner[0], "subject": owner[1], "server": connection.slug}
        said["scopes"] = " ".join(scopes)
        return f"{self.base}{CONNECT}{self._flow.sealed(said, 'link')}"

    async def open(self, ticket: str, browser: str) -> Asked:
        """What a link is for; from now on it is this browser's.

        Raises: InvalidRequest: none of ours, or too old; NotFound: the server is gone; Denied: it is another browser's.
        """
        said = self._flow.opened(ticket, "link")
        asked = self._asked(said)
        if not await self._flow.have("link", said, digest_of(browser)):
            raise Denied("this link was used before, or opened in another browser: ask for a new one")
        return asked

    async def begin(self, ticket: str, browser: str) -> str:
        """Where the browser goes: to say who is at it, or to the issuer of the account.

        Raises: see `open`; UpstreamFailed, Unavailable: the issuer cannot be asked, or does not know PKCE.
        """
        asked = await self.open(ticket, browser)
        link = self._flow.opened(ticket, "link")
        said = {name: link[name] for name in ("tenant", "subject", "server", "scopes")} | {"link": link["nonce"]}
        if asked.login is None:
            return await self._to_account(asked, browser, said)
        return await begin_login(self._flow, asked.login, self.base, browser, said)

    async def logged_in(self, query: Mapping[str, str], browser: str) -> str:
        """Where the browser goes on: the person the link is for is at it.

        Raises: InvalidRequest, Denied: somebody else is, or it is not what was begun there; Conflict: it was used
            before; Unauthenticated, UpstreamFailed, Unavailable: the issuer does not say who.
        """
        said = self._flow.came_back("login", query, browser)
        asked = self._asked(said)
        if asked.login is None:
            raise NotFound("the login this was begun at is no longer there: open the link again")
        try:
            who = await logged_in(self._flow, asked.login, self.base, said, query)
        except GatewayError as error:
            self._refuse(asked, error.message)
            raise
        if who != asked.owner:
            self._refuse(asked, "somebody else is at the browser", {"browser": f"{who[0]} {who[1]}"})
            raise Denied(
                f"this link is for {asked.owner[1]}, and you are logged in as {who[1]}. Nothing was connected. Whoever"
                " sent you this link may have wanted your account to be used under another name"
            )
        return await self._to_account(asked, browser, {name: said[name] for name in _CARRIED})

    async def finish(self, query: Mapping[str, str], browser: str, mark: str = "") -> Asked:
        """Take what the issuer sent the browser back with, and keep the tokens it stands for.

        `mark`: of the issuer, by the address the browser came back to.

        Raises: see `CodeFlow.came_back`, `CodeFlow.granted`; NotFound: the server is gone.
        """
        said = self._flow.came_back("state", query, browser)
        asked = self._asked(said)
        connection, owner = asked.connection, asked.owner
        if self.tokens is None:
            raise NotFound("nobody's accounts are kept here")
        terms = await connection.agreement.terms()
        if json_text(said.get("client")) != terms.endpoint.client.id:
            # Another gateway, at which it was begun, may have registered anew since.
            connection.agreement.doubt()
            terms = await connection.agreement.terms()
        if mark != terms.mark:
            raise Denied("the answer came to an address that is another issuer's")
        granted = await self._granted(connection, terms, said, query)
        await self.tokens.vault.put(connection, owner, terms, granted, asked.scopes)
        self.tokens.forget(connection.slug, owner)
        await self._flow.use_up("link", {**said, "nonce": said["link"]}, digest_of(browser))
        self.note(owner[0], "account.connected", {"server": connection.slug, "subject": owner[1]}, "ok")
        self._on_connected(connection.slug)
        return asked

    def client_document(self, mark: str = "") -> JsonObject:
        """What the gateway is as a client, for issuers that look it up under its id (CIMD), of the one with a mark."""
        return {
            "client_id": f"{self.base}{MARKED_DOCUMENT.format(mark)}" if mark else self.base + CLIENT_DOCUMENT,
            "client_name": "Drawbridge",
            "client_uri": self.base,
            "redirect_uris": [self._callback(mark)],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            # A browser on the gateway's own machine comes back to it in clear (RFC 8252, section 7.3).
            "application_type": "web" if self.base.startswith("https:") else "native",
        }

    async def _to_account(self, asked: Asked, browser: str, said: JsonObject) -> str:
        terms = await asked.connection.agreement.terms()
        return await self._flow.begin(self._to(terms), browser, said, terms.wish.form(asked.scopes))

    async def _granted(
        self, connection: Connection, terms: Terms, said: JsonObject, query: Mapping[str, str]
    ) -> Granted:
        form = {"resource": terms.wish.resource} if terms.wish.resource else {}
        try:
            return await self._flow.granted(self._to(terms), said, query, form)
        except TokenRefused as error:
            if error.code == UNKNOWN_CLIENT and await connection.agreement.unknown():
                raise Conflict(f"{error.message}. It is registered anew: open the link again") from error
            raise

    def _to(self, terms: Terms) -> Flow:
        back = self._callback(terms.mark)
        return Flow(kind="state", redirect_uri=back, endpoint=terms.endpoint, must_say_who=terms.must_say_who)

    def _callback(self, mark: str) -> str:
        return f"{self.base}{CALLBACK}/{mark}" if mark else self.base + CALLBACK

    def _asked(self, said: JsonObject) -> Asked:
        connection = self.connections.get(json_text(said.get("server")))
        if connection is None:
            raise NotFound("the server this link was made for is no longer there")
        subject = json_text(said.get("subject"))
        issuer, colon, _ = subject.partition(":")
        login = self.logins.get(issuer) if colon else None
        owner, scopes = (json_text(said.get("tenant")), subject), tuple(json_text(said.get("scopes")).split())
        return Asked(owner=owner, connection=connection, login=login, scopes=scopes)

    def _refuse(self, asked: Asked, reason: str, more: Mapping[str, str] | None = None) -> None:
        tenant, subject = asked.owner
        said: JsonObject = {"server": asked.connection.slug, "subject": subject, "reason": reason}
        self.note(tenant, "account.refused", {**said, **(more or {})}, "denied")


_CARRIED = ("tenant", "subject", "server", "scopes", "link")
"""What goes with a browser from one issuer to the next."""


def new_browser() -> str:
    """A name by which a browser is known again, and that nobody else can have."""
    return secrets.token_urlsafe(24)
