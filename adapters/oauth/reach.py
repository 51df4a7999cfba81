"""How the gateway gets to what a server names: only the server's own host was agreed to, everything else is vetted."""

import ssl
from dataclasses import dataclass

from adapters.net.authorization_server import AuthorizationServer, NotThere
from adapters.net.challenge import NO_CHALLENGE, Challenge, challenge_from
from adapters.net.egress import EgressGuard
from adapters.net.fetch import knock
from gateway.core.errors import GatewayError, Unavailable
from gateway.core.json import JsonObject

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
"""What an MCP server is asked by whoever wants to be refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetReach:
    """See `Reach`."""

    slug: str
    url: str
    """The server's, from the configuration."""
    issuer: str = ""
    """The issuer, where the configuration says it: its host was agreed to as well."""
    message: bytes | None
    """What is posted to hear what it wants; None: nothing, it is got."""
    tls: ssl.SSLContext
    guard: EgressGuard

    async def knock(self) -> Challenge:
        try:
            _, header = await knock(self.url, tls=self.tls, message=self.message)
        except Unavailable:
            raise
        except GatewayError:
            return NO_CHALLENGE  # one that cannot be knocked at may have published what it wants
        return challenge_from(header)

    async def document(self, url: str) -> JsonObject:
        return await self._server(self.url, f"{self.slug}'s metadata").document(url)

    def server(self, issuer: str, defaults: "JsonObject | None" = None) -> AuthorizationServer:
        name = f"the issuer of {self.slug}'s tokens"
        if defaults is None:
            return self._server(issuer, name)
        return _Undescribed(issuer, defaults, name=name, tls=self.tls, guard=self.guard, home=self.url)

    def _server(self, issuer: str, name: str) -> AuthorizationServer:
        home = self.issuer or self.url
        return AuthorizationServer(issuer, name=name, tls=self.tls, guard=self.guard, home=home)


class _Undescribed(AuthorizationServer):
    """One that need not say what it is (MCP 2025-03-26)."""

    def __init__(
        self, issuer: str, defaults: JsonObject, *, name: str, tls: ssl.SSLContext, guard: EgressGuard, home: str
    ) -> None:
        super().__init__(issuer, name=name, tls=tls, guard=guard, home=home)
        self._defaults = defaults

    async def metadata(self) -> JsonObject:
        try:
            return await super().metadata()
        except NotThere:
            return self._defaults
