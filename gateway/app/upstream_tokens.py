"""The access tokens servers and agents behind the gateway ask for, as their `auth` says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from adapters.a2a.settings import AgentSettings
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
from gateway.core.ports.credentials import UpstreamTokens


class Ground(ClientGround, Protocol):
    """What getting tokens stands on; a `Foundation` is one."""

    @property
    def access_tokens(self) -> AccessTokens: ...

    @property
    def accounts(self) -> ConnectedAccounts: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Somebody behind the gateway who asks for an access token."""

    slug: str
    path: str
    """Where the configuration says how it is got."""
    auth: AuthSettings
    url: str
    """Whom the token is for, where the settings do not say."""
    tenant: str


def asking_of(slug: str, settings: ServerSettings | AgentSettings) -> Asking | None:
    """What a server or an agent asks for; None where it asks for none."""
    if settings.auth is None:
        return None
    server = isinstance(settings, ServerSettings)
    return Asking(
        slug=slug,
        path=f"{'servers' if server else 'agents'}.{slug}.auth",
        auth=settings.auth,
        url=settings.base_url if server and settings.openapi else settings.url,
        tenant=settings.tenant,
    )


def upstream_tokens(asking: Asking, ground: Ground, guard: EgressGuard, poke: Callable[[], None]) -> UpstreamTokens:
    """The tokens for one of them; `poke` has its lists read again. Raises: InvalidRequest: a secret leads nowhere."""
    slug, auth = asking.slug, asking.auth
    server = AuthorizationServer(auth.issuer, name=f"the issuer of {slug}'s tokens", tls=ground.tls, guard=guard)
    document = f"{ground.access_tokens.resource.base}{CLIENT_DOCUMENT}"
    endpoint = TokenEndpoint(server, client_from(asking.path, auth, ground, document), auth.token_url)
    resource = asking.url if auth.resource is None else auth.resource
    wish = Wish(resource=resource, scopes=auth.scopes, audience=auth.audience)
    match auth.kind:
        case "client_credentials":
            return ServiceTokens(endpoint, wish, ground.clock)
        case "token_exchange":
            return ExchangedTokens(slug, endpoint, wish, ground.clock, ground.access_tokens.token_of)
        case "user":
            connection = Connection(slug=slug, endpoint=endpoint, wish=wish, list_as=auth.list_as)
            return ground.accounts.at(connection, asking.tenant, poke)
