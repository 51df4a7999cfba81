"""What a server says of who gives tokens for it (RFC 9728), and where that is written down. Asks through `Reach`.

Everything here is the server's word, and the server may be anybody's: what it says must fit the address it was reached
by, and where it sends the gateway is vetted before anything is asked there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from adapters.net.address import address_from_url
from adapters.net.authorization_server import NotThere
from adapters.net.challenge import Challenge, scopes_in
from adapters.oauth.registrations import RegisteringServer
from gateway.core.errors import InvalidRequest, UpstreamFailed
from gateway.core.json import JsonObject, json_list, json_text

_WELL_KNOWN = "/.well-known/oauth-protected-resource"
_LOCAL = ("127.0.0.1", "localhost", "::1")
_LONGEST_URL = 2000


class Reach(Protocol):
    """How somebody who looks for terms gets around."""

    async def knock(self) -> Challenge:
        """What the server says to whoever comes without a token. Raises: Unavailable, UpstreamFailed."""
        ...

    async def document(self, url: str) -> JsonObject:
        """See `AuthorizationServer.document`."""
        ...

    def server(self, issuer: str, defaults: "JsonObject | None" = None) -> RegisteringServer:
        """An issuer; `defaults` are its metadata where it publishes none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """What a server says of itself as a protected resource."""

    issuer: str
    """Empty where it says nothing."""
    resource: str = ""
    scopes: tuple[str, ...] = ()


async def protected_by(url: str, reach: Reach) -> Protected:
    """Who gives tokens for the server at `url`.

    Raises: Unavailable; UpstreamFailed: what it says is about another server, or leads where nothing is asked.
    """
    challenge = await reach.knock()
    for at in filter(None, (challenge.metadata_url, *well_knowns(url))):
        check_found(at, url, "its metadata")
        try:
            said = await reach.document(at)
        except NotThere:
            continue
        found = _protected(said, url)
        return Protected(issuer=found.issuer, resource=found.resource, scopes=challenge.scopes or found.scopes)
    return Protected(issuer="", scopes=challenge.scopes)


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def defaults_at(origin: str) -> JsonObject:
    """MCP 2025-03-26, authorization, "fallbacks for servers without metadata discovery"."""
    return {
        "issuer": origin,
        "authorization_endpoint": f"{origin}/authorize",
        "token_endpoint": f"{origin}/token",
        "registration_endpoint": f"{origin}/register",
        # Nobody says so; OAuth 2.1 and that revision require it.
        "code_challenge_methods_supported": ["S256"],
    }


def well_knowns(url: str) -> Iterator[str]:
    """Where a server's metadata may be, in the order MCP gives ("protected resource metadata discovery")."""
    origin, path = origin_of(url), urlsplit(url).path.rstrip("/")
    if path:
        yield f"{origin}{_WELL_KNOWN}{path}"
    yield f"{origin}{_WELL_KNOWN}"


def covers(resource: str, url: str) -> bool:
    """Whether metadata about `resource` are about what is at `url`: at the same place, or above it on the same host."""
    try:
        wanted, have = address_from_url(url), address_from_url(resource)
    except InvalidRequest:
        return False
    if (wanted.secure, wanted.host, wanted.port) != (have.secure, have.host, have.port) or "#" in resource:
        return False
    # A path that climbs or hides a slash is read differently by different readers.
    above, below = have.target, wanted.target
    if any(each in above.lower() for each in ("/.", "%2e", "%2f", "?")):
        return above == below
    return below == above or f"{below.partition('?')[0]}/".startswith(f"{above.rstrip('/')}/")


def check_found(found: str, url: str, what: str) -> None:
    """Raises: UpstreamFailed: an address a server names is none to which the gateway goes."""
    try:
        address = address_from_url(found)
    except InvalidRequest as error:
        raise UpstreamFailed(f"the server names an address of {what} that cannot be used: {error.message}") from error
    if len(found) > _LONGEST_URL or "#" in found:
        raise UpstreamFailed(f"the server names an address of {what} that cannot be used")
    if not address.secure and not (address.host in _LOCAL and address_from_url(url).host in _LOCAL):
        raise UpstreamFailed(f"the server names an address of {what} without https")


def _protected(said: JsonObject, url: str) -> Protected:
    resource = json_text(said.get("resource"))
    if not covers(resource, url):
        # RFC 9728, section 3.3: else a token for somebody else's server would be asked for, and shown to this one.
        raise UpstreamFailed("the server publishes metadata about another server than the one it is")
    issuers = [json_text(each) for each in json_list(said.get("authorization_servers"))]
    issuer = issuers[0] if issuers else origin_of(url)
    check_found(issuer, url, "its issuer")
    if "?" in issuer:
        raise UpstreamFailed("the server names an issuer with a query (RFC 8414, section 2)")
    scopes = " ".join(json_text(each) for each in json_list(said.get("scopes_supported")))
    return Protected(issuer=issuer, resource=resource, scopes=scopes_in(scopes))
