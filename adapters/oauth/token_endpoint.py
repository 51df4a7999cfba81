"""Asking an authorization server for a token (RFC 6749, section 5). Keeps none."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from adapters.net.authorization_server import Answered, web_address
from adapters.net.client_auth import Client
from gateway.core.errors import UpstreamFailed
from gateway.core.json import Json, JsonObject, json_text
from gateway.core.ports.world import Secret

_CODE = re.compile(r"[a-z_]{1,40}")
UNKNOWN_CLIENT = "invalid_client"
_LONGEST_TOKEN = 16 * 1024


class GrantingServer(Protocol):
    """Whoever gives tokens; an `AuthorizationServer` is one."""

    name: str
    issuer: str

    async def metadata(self) -> JsonObject: ...

    async def post(self, url: str, form: Mapping[str, str], client: Client) -> Answered: ...

    async def revoke(self, url: str, form: Mapping[str, str], client: Client) -> None: ...


class TokenRefused(UpstreamFailed):
    """The server answered, and gives no token; `code` is its word for why (RFC 6749, section 5.2)."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A token as it was given."""

    access: Secret
    lives_s: float | None
    """None: the server did not say."""
    refresh: Secret | None = field(default=None, repr=False)
    id_token: Secret | None = field(default=None, repr=False)
    """What it says of who logged in (OpenID Connect); not verified."""
    scope: str = ""


class TokenEndpoint:
    """Where one server gives tokens to one client."""

    def __init__(self, server: GrantingServer, client: Client, url: str = "") -> None:
        """`url`: by default what the server's metadata say."""
        self.server = server
        self.client = client
        self._url = url

    async def grant(self, form: Mapping[str, str]) -> Granted:
        """What is given for a grant. Raises: TokenRefused; Unavailable: no answer; UpstreamFailed: none of use."""
        if not self._url:
            self._url = web_address(await self.server.metadata(), "token_endpoint")
        answered = await self.server.post(self._url, form, self.client)
        said = answered.said
        if answered.status != 200:
            code = json_text(said.get("error"))
            code = code if _CODE.fullmatch(code) else f"HTTP status {answered.status}"
            raise TokenRefused(f"{self.server.name} gives the gateway no token: {code}", code)
        return _granted(said, self.server.name)


def _granted(said: JsonObject, name: str) -> Granted:
    access, refresh = _token(said.get("access_token")), _token(said.get("refresh_token"))
    if access is None or json_text(said.get("token_type")).lower() not in ("bearer", "n_a"):
        raise UpstreamFailed(f"{name} answered with something that is no bearer token")
    lives = said.get("expires_in")
    sound = isinstance(lives, int | float) and not isinstance(lives, bool) and 0 < lives < 1e9
    return Granted(
        access=access,
        lives_s=float(lives) if sound and isinstance(lives, int | float) else None,
        refresh=refresh,
        id_token=_token(said.get("id_token")),
        scope=json_text(said.get("scope")),
    )


def _token(said: Json) -> Secret | None:
    """A token that can be sent in a header; None where there is none."""
    text = json_text(said)
    sound = 0 < len(text) <= _LONGEST_TOKEN and text.isascii() and text.isprintable() and " " not in text
    return Secret(text) if sound else None
