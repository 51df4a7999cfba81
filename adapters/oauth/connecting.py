"""How a person connects an account at a server: the gateway as an OAuth client (authorization code, PKCE).

A link names the person it is for. Opening it shows whose account is being asked for, and going on from there ties what
follows to that browser: what comes back counts only there (a stolen `state` is of no use), only from the issuer that
was asked (RFC 9207), and only once. All of it travels under seal, so that any gateway on the same database can go on.
"""

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlencode, urlsplit

from authlib.oauth2 import rfc7636

from adapters.net.authorization_server import web_address
from adapters.oauth.accounts import AccountTokens
from adapters.oauth.sealing import Broken, Sealing
from adapters.oauth.vault import Connection, Owner
from gateway.core.errors import Conflict, Denied, InvalidRequest, NotFound, UpstreamFailed
from gateway.core.json import JsonObject, json_list, json_text
from gateway.core.ports.claims import Claims
from gateway.core.ports.world import Clock

VALID_S = 600
"""How long a link, and what was begun by it, can be used, seconds."""
CALLBACK = "/oauth/callback"
CLIENT_DOCUMENT = "/oauth/client.json"
CONNECT = "/oauth/connect/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose account is to be connected where."""

    owner: Owner
    connection: Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Where the browser goes next, and the cookie by which it is known when it comes back."""

    url: str
    cookie: str


class Connecting:
    """Begins and finishes."""

    def __init__(self, sealing: Sealing, claims: Claims, clock: Clock, on_connected: Callable[[str], None]) -> None:
        """`on_connected` is told the slug of a server somebody has connected an account at."""
        self.base = ""
        """What people reach the gateway by, for example `https://gateway.example.com`."""
        self.connections: dict[str, Connection] = {}
        """By slug; kept in step with the configuration by whoever makes them."""
        self.tokens: AccountTokens | None = None
        self._sealing = sealing
        self._claims = claims
        self._clock = clock
        self._on_connected = on_connected

    def link(self, connection: Connection, owner: Owner) -> str:
        """The address at which somebody connects their account; good for ten minutes."""
        said: JsonObject = {"tenant": owner[0], "subject": owner[1], "server": connection.slug, **self._until()}
        return f"{self.base}{CONNECT}{self._sealing.close_text(said, 'link')}"

    def asked(self, ticket: str) -> Asked:
        """What a link is for. Raises: InvalidRequest: none of ours, or too old; NotFound: the server is gone."""
        said = self._opened(ticket, "link")
        connection = self.connections.get(json_text(said.get("server")))
        if connection is None:
            raise NotFound("the server this link was made for is no longer there")
        return Asked(owner=(json_text(said.get("tenant")), json_text(said.get("subject"))), connection=connection)

    async def begin(self, ticket: str) -> Begun:
        """Raises: see `asked`; UpstreamFailed, Unavailable: the issuer cannot be asked, or does not know PKCE."""
        asked = self.asked(ticket)
        connection = asked.connection
        about = await connection.endpoint.server.metadata()
        if "S256" not in json_list(about.get("code_challenge_methods_supported")):
            raise UpstreamFailed(f"the issuer of {connection.slug}'s tokens does not support PKCE (S256)")
        verifier, cookie = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        state: JsonObject = {
            "tenant": asked.owner[0],
            "subject": asked.owner[1],
            "server": connection.slug,
            "issuer": connection.issuer,
            "verifier": verifier,
            "browser": _digest(cookie),
            **self._until(),
        }
        query = {
            **connection.wish.form(),
            "response_type": "code",
            "client_id": connection.endpoint.client.id,
            "redirect_uri": self.base + CALLBACK,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
            "state": self._sealing.close_text(state, "state"),
        }
        at = web_address(about, "authorization_endpoint")
        return Begun(url=f"{at}{'&' if urlsplit(at).query else '?'}{urlencode(query)}", cookie=cookie)

    async def finish(self, query: Mapping[str, str], cookie: str) -> Asked:
        """Take what the issuer sent the browser back with, and keep the tokens it stands for.

        Raises: InvalidRequest, Denied: it is not what was begun in this browser; Conflict: it was used before;
            UpstreamFailed, Unavailable: the issuer gives no tokens.
        """
        state = query.get("state", "")
        said = self._opened(state, "state")
        if not cookie or not hmac.compare_digest(_digest(cookie), json_text(said.get("browser"))):
            raise Denied("this was begun in another browser: open the link yourself, in the one you use")
        connection = self.connections.get(json_text(said.get("server")))
        if connection is None or self.tokens is None:
            raise NotFound("the server this was begun for is no longer there")
        if json_text(said.get("issuer")) != connection.issuer:
            raise Denied("the server's accounts are another issuer's by now: open the link again")
        await self._check_issuer(connection, query)
        owner = (json_text(said.get("tenant")), json_text(said.get("subject")))
        await self._use(owner[0], said)
        if "code" not in query:
            raise Denied(f"the issuer did not agree: {_word(query.get('error', 'no code'))}")
        form = {
            "grant_type": "authorization_code",
            "code": query["code"],
            "redirect_uri": self.base + CALLBACK,
            "code_verifier": json_text(said.get("verifier")),
            **({"resource": connection.wish.resource} if connection.wish.resource else {}),
        }
        granted = await connection.endpoint.grant(form)
        await self.tokens.vault.put(connection, owner, granted)
        self.tokens.forget(connection.slug, owner)
        self._on_connected(connection.slug)
        return Asked(owner=owner, connection=connection)

    def client_document(self) -> JsonObject:
        """What the gateway is as a client, for issuers that look it up under its id (CIMD)."""
        return {
            "client_id": self.base + CLIENT_DOCUMENT,
            "client_name": "Drawbridge",
            "client_uri": self.base,
            "redirect_uris": [self.base + CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "web",
        }

    async def _check_issuer(self, connection: Connection, query: Mapping[str, str]) -> None:
        """RFC 9207, section 2.4: an answer of another issuer is not to be acted upon, nor its error shown."""
        named = query.get("iss")
        if named is None:
            about = await connection.endpoint.server.metadata()
            if about.get("authorization_response_iss_parameter_supported") is True:
                raise Denied("the answer does not say which issuer it is from, and that issuer always does")
        elif named != connection.issuer:
            raise Denied("the answer is from another issuer than the one that was asked")

    async def _use(self, tenant: str, said: JsonObject) -> None:
        """Raises: Conflict: it was used before, at whichever gateway."""
        # By what is under the seal: the same can be written in more than one way.
        name, now_us = f"state {json_text(said.get('nonce'))}", self._clock.now_us()
        until_us = now_us + VALID_S * 1_000_000 + 1
        if not await self._claims.take(tenant, name, secrets.token_hex(16), now_us=now_us, until_us=until_us):
            raise Conflict("this was finished before: open the link again")

    def _until(self) -> JsonObject:
        return {"until_us": self._clock.now_us() + VALID_S * 1_000_000, "nonce": secrets.token_hex(16)}

    def _opened(self, text: str, about: str) -> JsonObject:
        try:
            said = self._sealing.open_text(text, about)
        except Broken:
            raise InvalidRequest("this link is not one of this gateway's: ask for a new one") from None
        until_us = said.get("until_us")
        if not isinstance(until_us, int) or until_us < self._clock.now_us():
            raise InvalidRequest("this link is too old: ask for a new one")
        return said


def _challenge(verifier: str) -> str:
    return str(rfc7636.create_s256_code_challenge(verifier))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - untyped


def _digest(cookie: str) -> str:
    return sha256(cookie.encode()).hexdigest()


def _word(error: str) -> str:
    return error if error.replace("_", "").isalnum() and error.isascii() and len(error) < 60 else "it does not say why"
