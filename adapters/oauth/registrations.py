"""The gateway registers itself with issuers that know it otherwise not (RFC 7591), once for all that are on a database.

What an issuer gives is kept under seal, by issuer and by where people come back to: it is shown to no other issuer.
Each server has its own, so that one that names an issuer after the other spoils nothing for the rest.
"""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import anyio
import structlog

from adapters.net.authorization_server import Answered, web_address
from adapters.net.client_auth import Client
from adapters.oauth.sealing import Broken, Sealing
from adapters.oauth.token_endpoint import GrantingServer
from gateway.core.errors import GatewayError, UpstreamFailed
from gateway.core.json import Json, JsonObject, json_list, json_text
from gateway.core.model import DEFAULT_TENANT
from gateway.core.ports.accounts import Account, Accounts
from gateway.core.ports.claims import Claims
from gateway.core.ports.world import Clock, Secret

log = structlog.get_logger(__name__)

NOBODY = ""
"""The tenant of what the gateway keeps in its own name: no caller is of it."""
MOST = 8
"""Issuers one server is registered for at a time; another takes the place of the oldest."""
SHORTEST_S = 60.0
"""A registration that is younger is not given up, whatever the issuer says: it would be made again with each call."""
ALONE_S = 20.0
"""How long whoever registers has an issuer to itself, longer than one is waited for."""
LOOK_S = 0.1
_LONGEST = 2000
_METHODS = ("client_secret_basic", "client_secret_post", "none")


class RegisteringServer(GrantingServer, Protocol):
    """An issuer that may register clients; an `AuthorizationServer` is one."""

    async def tell(self, url: str, said: JsonObject) -> Answered: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """That the gateway is known somewhere, by a name an issuer gave it."""

    server: str
    """For which server: its slug, also where the configuration names it no more."""
    issuer: str
    tenant: str
    """Of the server, when it was made."""
    made_at_us: int


class Registrations:
    """Everything the gateway is called where it registered itself."""

    def __init__(self, store: Accounts, sealing: Sealing, claims: Claims, clock: Clock) -> None:
        self._store = store
        self._sealing = sealing
        self._claims = claims
        self._clock = clock

    async def client(self, slug: str, tenant: str, server: RegisteringServer, document: JsonObject) -> Client:
        """Who the gateway is at the issuer of a server; it registers as its document says it where it is nobody yet.

        `tenant`: of the server. Raises: Unavailable, UpstreamFailed: the issuer registers nobody.
        """
        name, holder = _name(server.issuer, document), secrets.token_hex(8)
        claim = f"{slug} {name}"
        while True:
            found = await self._find(slug, name, server.issuer)
            if found is not None:
                return found
            now_us = self._clock.now_us()
            if await self._claims.take(NOBODY, claim, holder, now_us=now_us, until_us=now_us + int(ALONE_S * 1e6)):
                try:
                    found = await self._find(slug, name, server.issuer)
                    return found or await self._register(slug, name, tenant, server, document)
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._leave(claim, holder)
            await anyio.sleep(LOOK_S)

    async def give_up(self, slug: str, server: GrantingServer, document: JsonObject, client: Client) -> bool:
        """The issuer does not know that client any more; False where there is none such, or it is too young."""
        name = _name(server.issuer, document)
        row = await self._store.find(NOBODY, name, slug)
        if row is not None and json_text(self._opened(row).get("id")) != client.id:
            return True  # somebody else has been there before
        if row is None or (self._clock.now_us() - row.connected_at_us) / 1e6 < SHORTEST_S:
            return False
        log.info("an issuer no longer knows the gateway, which registers again", issuer=server.name)
        return await self._store.drop(row)

    async def holds(self, slug: str, server: GrantingServer, document: JsonObject, client: Client) -> bool:
        """Whether that client is still who the gateway is there: nobody has had it forgotten, here or elsewhere."""
        found = await self._find(slug, _name(server.issuer, document), server.issuer)
        return found is not None and found.id == client.id

    async def all(self) -> tuple[Registration, ...]:
        """By server; those too that are over, or of servers that are gone."""
        rows = await self._store.all(NOBODY)
        return tuple(
            Registration(
                server=row.server,
                issuer=row.issuer,
                # Those of before it was noted were all in one.
                tenant=json_text(self._opened(row).get("tenant")) or DEFAULT_TENANT,
                made_at_us=row.connected_at_us,
            )
            for row in rows
        )

    async def forget(self, slug: str) -> int:
        """Be nobody at the issuers of a server any more, however young that is; how many there were."""
        rows = [row for row in await self._store.all(NOBODY) if row.server == slug]
        return sum([await self._store.drop(row) for row in rows])

    async def _register(
        self, slug: str, name: str, tenant: str, server: RegisteringServer, document: JsonObject
    ) -> Client:
        about = await server.metadata()
        wanted = {each: value for each, value in document.items() if each not in ("client_id", "client_uri")}
        wanted["token_endpoint_auth_method"] = _method(about)
        answered = await server.tell(web_address(about, "registration_endpoint"), wanted)
        if answered.status not in (200, 201):
            raise UpstreamFailed(f"{server.name} does not register the gateway: HTTP status {answered.status}")
        said = {**_registered(answered.said, server.name), "tenant": tenant}
        now_us = self._clock.now_us()
        await self._make_room(slug, name)
        await self._store.put(
            Account(
                tenant=NOBODY,
                subject=name,
                server=slug,
                issuer=server.issuer,
                scope="",
                sealed=self._sealing.close(said, f"{slug} {name} {server.issuer}"),
                connected_at_us=now_us,
                renewed_at_us=now_us,
            )
        )
        return _client(said)

    async def _make_room(self, slug: str, name: str) -> None:
        others = [each for each in await self._store.all(NOBODY) if each.server == slug and each.subject != name]
        for each in sorted(others, key=lambda row: row.connected_at_us)[: max(0, len(others) - MOST + 1)]:
            await self._store.drop(each)

    async def _find(self, slug: str, name: str, issuer: str) -> Client | None:
        row = await self._store.find(NOBODY, name, slug)
        said = self._opened(row) if row is not None and row.issuer == issuer else {}
        expires_s = said.get("expires_at_s")
        if not said or (isinstance(expires_s, int) and 0 < expires_s <= self._clock.now_us() // 1_000_000):
            return None
        return _client(said)

    def _opened(self, row: Account) -> JsonObject:
        try:
            return self._sealing.open(row.sealed, f"{row.server} {row.subject} {row.issuer}")
        except Broken:
            return {}

    async def _leave(self, claim: str, holder: str) -> None:
        try:
            await self._claims.leave(NOBODY, claim, holder)
        except GatewayError as error:
            log.warning("a registration is held longer than it need be", reason=error.message)


def _name(issuer: str, document: JsonObject) -> str:
    back = " ".join(json_text(each) for each in json_list(document.get("redirect_uris")))
    return "registration " + sha256(f"{issuer}\n{back}".encode()).hexdigest()


def _method(about: JsonObject) -> str:
    """How the gateway shows who it is: by the first way it has that the issuer knows (RFC 8414 says the default)."""
    known = json_list(about.get("token_endpoint_auth_methods_supported")) or ["client_secret_basic"]
    return next((each for each in _METHODS if each in known), "client_secret_basic")


def _registered(said: JsonObject, name: str) -> JsonObject:
    """What is kept of an answer (RFC 7591, section 3.2.1). Raises: UpstreamFailed: it is none."""
    client_id, secret = _word(said.get("client_id")), _word(said.get("client_secret"))
    if not client_id:
        raise UpstreamFailed(f"{name} registers the gateway without a client_id")
    method = json_text(said.get("token_endpoint_auth_method"))
    if method not in _METHODS:
        method = "client_secret_basic" if secret else "none"
    expires = said.get("client_secret_expires_at")
    return {
        "id": client_id,
        "secret": secret if method != "none" else "",
        "method": method,
        "expires_at_s": expires if isinstance(expires, int) and not isinstance(expires, bool) else 0,
    }


def _word(said: Json) -> str:
    text = json_text(said)
    return text if len(text) <= _LONGEST and text.isprintable() and text.isascii() else ""


def _client(said: JsonObject) -> Client:
    secret = json_text(said.get("secret"))
    return Client(
        id=json_text(said.get("id")),
        secret=Secret(secret) if secret else None,
        in_form=said.get("method") == "client_secret_post",
    )
