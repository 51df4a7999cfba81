"""The access tokens servers behind the gateway ask for, as their `auth` says."""

from collections.abc import Callable
from typing import Protocol

from adapters.identity.issuers import AccessTokens
from adapters.mcp.settings import ServerSettings
from adapters.net.auth_settings import AuthSettings
from adapters.net.authorization_server import AuthorizationServer
from adapters.net.egress import EgressGuard
from adapters.oauth.connecting import CLIENT_DOCUMENT
from adapters.oauth.service import ExchangedTokens, ServiceTokens, Wish
from adapters.oauth.token_endpoint import TokenEndpoint
from adapters.oauth.vault import Connection
from gateway.app.accounts import ConnectedAccounts
from gateway.app.oauth_client import ClientGround, client_from
from gateway.core.errors import InvalidRequest
from gateway.core.ports.credentials import UpstreamTokens


class Ground(ClientGround, Protocol):
    """What getting tokens stands on; a `Foundation` is one."""

    @property
    def access_tokens(self) -> AccessTokens: ...

    @property
    def accounts(self) -> ConnectedAccounts: ...


def upstream_tokens(
    slug: str, settings: ServerSettings, ground: Ground, guard: EgressGuard, poke: Callable[[], None]
) -> UpstreamTokens:
    """The tokens for one server; `poke` has its lists read again.

    Raises: InvalidRequest: it asks for none, or a secret leads nowhere.
    """
    auth = settings.auth
    if auth is None:
        raise InvalidRequest(f"servers.{slug} has no auth")
    endpoint = _endpoint(slug, auth, ground, guard)
    resource = settings.url if auth.resource is None else auth.resource
    wish = Wish(resource=resource, scopes=auth.scopes, audience=auth.audience)
    match auth.kind:
        case "client_credentials":
            return ServiceTokens(endpoint, wish, ground.clock)
        case "token_exchange":
            return ExchangedTokens(slug, endpoint, wish, ground.clock, ground.access_tokens.token_of)
        case "user":
            connection = Connection(slug=slug, endpoint=endpoint, wish=wish, list_as=auth.list_as)
            return ground.accounts.at(connection, settings.tenant, poke)


def _endpoint(slug: str, auth: AuthSettings, ground: Ground, guard: EgressGuard) -> TokenEndpoint:
    server = AuthorizationServer(auth.issuer, name=f"the issuer of {slug}'s tokens", tls=ground.tls, guard=guard)
    document = f"{ground.access_tokens.resource.base}{CLIENT_DOCUMENT}"
    return TokenEndpoint(server, client_from(f"servers.{slug}.auth", auth, ground, document), auth.token_url)
