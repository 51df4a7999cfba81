"""The access tokens servers and agents behind the gateway ask for, as their `auth` says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from adapters.a2a.settings import AgentSettings
from adapters.identity.issuers import AccessTokens
from adapters.mcp.settings import ServerSettings
from adapters.net.auth_settings import AuthSettings
from adapters.net.egress import EgressGuard
from adapters.oauth.discovery import defaults_at, origin_of
from adapters.oauth.finding import Finding, Known
from adapters.oauth.reach import PING, NetReach
from adapters.oauth.service import ExchangedTokens, ServiceTokens
from adapters.oauth.terms import Agreement, Fixed, Terms, Wish
from adapters.oauth.token_endpoint import TokenEndpoint
from adapters.oauth.vault import Connection
from gateway.app.accounts import ConnectedAccounts
from gateway.app.oauth_client import ClientGround, client_from
from gateway.core.json import JsonObject
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
    speaks_mcp: bool


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
        speaks_mcp=server and not settings.openapi,
    )


def upstream_tokens(asking: Asking, ground: Ground, guard: EgressGuard, poke: Callable[[], None]) -> UpstreamTokens:
    """The tokens for one of them; `poke` has its lists read again. Raises: InvalidRequest: a secret leads nowhere."""
    agreement = _agreement(asking, ground, guard)
    match asking.auth.kind:
        case "client_credentials":
            return ServiceTokens(agreement, ground.clock)
        case "token_exchange":
            return ExchangedTokens(asking.slug, agreement, ground.clock, ground.access_tokens.token_of)
        case "user":
            connection = Connection(slug=asking.slug, agreement=agreement, list_as=asking.auth.list_as)
            return ground.accounts.at(connection, asking.tenant, poke)


def _agreement(asking: Asking, ground: Ground, guard: EgressGuard) -> Agreement:
    """The configuration's word as far as it goes."""
    slug, auth = asking.slug, asking.auth
    # An address is looked up, and only by issuers that do so, unless it stands beside the issuer that does.
    looked_up = not auth.client_id or (not auth.issuer and auth.client_id.startswith("https://"))
    client = None if looked_up and not auth.references else client_from(asking.path, auth, ground)
    reach = NetReach(
        slug=slug,
        url=asking.url,
        issuer=auth.issuer,
        message=PING if asking.speaks_mcp else None,
        tls=ground.tls,
        guard=guard,
    )
    if auth.issuer and client is not None:
        resource = asking.url if auth.resource is None else auth.resource
        wish = Wish(resource=resource, scopes=auth.scopes, audience=auth.audience)
        # A server of 2025-03-26 may be its own issuer, and publish nothing.
        itself = auth.issuer == origin_of(asking.url) and asking.speaks_mcp
        server = reach.server(auth.issuer, defaults_at(auth.issuer)) if itself else reach.server(auth.issuer)
        endpoint = TokenEndpoint(server, client, auth.token_url)
        return Fixed(Terms(endpoint=endpoint, wish=wish), asking.url)

    def document(mark: str) -> JsonObject:
        said = ground.accounts.connecting.client_document(mark)
        return {**said, "client_id": auth.client_id or said["client_id"]}

    known = Known(
        slug=slug,
        place=asking.url,
        tenant=asking.tenant,
        issuer=auth.issuer,
        token_url=auth.token_url,
        client=client,
        document=document,
        one_document=auth.client_id != "",
        people=auth.kind == "user",
        scopes=auth.scopes,
        resource=auth.resource,
        audience=auth.audience,
    )
    return Finding(known, reach, ground.accounts.registrations, ground.clock)
