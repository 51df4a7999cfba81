"""Asking an issuer whether a token still counts (RFC 7662). Keeps no answer."""

from collections.abc import Mapping
from typing import Protocol

import anyio

from adapters.identity.oauth_settings import IntrospectionSettings
from adapters.net.authorization_server import Answered, web_address
from adapters.net.client_auth import Client
from gateway.core.errors import Unauthenticated, Unavailable, UpstreamFailed
from gateway.core.json import JsonObject, json_text
from gateway.core.ports.world import Secret

AT_ONCE = 32
"""Questions under way to one issuer; others wait their turn, for a while."""
_TURN_S = 10.0


_NO_ACCESS_TOKENS = frozenset({"refresh_token", "id_token", "dpop", "mac"})
"""Issuers say `active` of these as well (RFC 7662, section 2.1: the hint is no more than one)."""


class Office(Protocol):
    """Whoever answers forms; an `AuthorizationServer` is one."""

    async def metadata(self) -> JsonObject: ...

    async def post(self, url: str, form: Mapping[str, str], client: Client) -> Answered: ...


class Introspection:
    """Asks one issuer."""

    def __init__(self, name: str, settings: IntrospectionSettings, secret: Secret, office: Office) -> None:
        self._name = name
        self._settings = settings
        self._client = Client(id=settings.client_id, secret=secret)
        self._office = office
        self._url = settings.url
        self._room = anyio.Semaphore(AT_ONCE)

    async def ask(self, token: bytes, issuer: str) -> JsonObject:
        """What the issuer says of a token that counts.

        Raises: Unauthenticated: it does not; Unavailable, UpstreamFailed: the issuer gives no answer.
        """
        try:
            with anyio.fail_after(_TURN_S):
                await self._room.acquire()
        except TimeoutError as error:
            raise Unavailable(
                f"the issuer {self._name} is asked about too many tokens at once", retry_after_s=5
            ) from error
        try:
            answered = await self._asked(token)
        finally:
            self._room.release()
        if answered.status != 200:
            raise UpstreamFailed(f"the issuer {self._name} does not answer whether tokens count: {answered.status}")
        said = answered.said
        if said.get("active") is not True:
            raise Unauthenticated("the token's issuer says that it does not count")
        kinds = {json_text(said.get(name)).lower() for name in ("token_type", "token_use")}
        if kinds & _NO_ACCESS_TOKENS:
            raise Unauthenticated("the token is no access token that whoever bears it may use")
        if said.get("iss", issuer) != issuer:
            raise Unauthenticated("the token is of another issuer")
        return said

    async def _asked(self, token: bytes) -> Answered:
        if not self._url:
            self._url = web_address(await self._office.metadata(), "introspection_endpoint")
        form = {"token": token.decode("ascii", "replace"), "token_type_hint": "access_token"}
        return await self._office.post(self._url, form, self._client)
