"""What a server says of who gives tokens for it (RFC 9728), and where that is written down. Asks through `Reach`.

Everything here is the server's word, and the server may be anybody's: what it says must fit the address it was reached
by, and where it sends the gateway is vetted before anything is asked there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
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
MOST_ISSUERS = 4
"""So many of the issuers a server names are looked at."""


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

    issuers: tuple[str, ...]
    """In the order in which it names them; empty where it says nothing."""
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
        found = _protected(said, url, at)
        return replace(found, scopes=challenge.scopes or found.scopes)
    return Protected(issuers=(), scopes=challenge.scopes)


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


def are_about(resource: str, url: str, found_at: str) -> bool:
    """Whether metadata about `resource` that were found at an address may be used for the server at `url`.

    RFC 9728, section 3.3: they have to be about the very URL that is called, or, at a well-known address, about what
    that was made from: at the root of a host, its origin. A slash at the end makes no difference.
    """
    try:
        have = _place(resource)
        if have == _place(url):
            return True
        origin = origin_of(url)
        return have == _place(origin) and found_at == f"{origin}{_WELL_KNOWN}"
    except InvalidRequest:
        return False


def _place(url: str) -> tuple[bool, str, int, str]:
    """Raises: InvalidRequest: nothing can be there."""
    address = address_from_url(url)
    if "#" in url:
        raise InvalidRequest("no place on a page")
    path, mark, query = address.target.partition("?")
    return address.secure, address.host, address.port, f"{path.rstrip('/')}{mark}{query}"


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


def _protected(said: JsonObject, url: str, found_at: str) -> Protected:
    resource = json_text(said.get("resource"))
    if not are_about(resource, url, found_at):
        # RFC 9728, section 3.3: else a token for somebody else's server would be asked for, and shown to this one.
        raise UpstreamFailed(
            "the server publishes metadata about another address than the one it is called at: "
            "if it is trusted with tokens for that one, set `issuer` and `resource` in its `auth`"
        )
    issuers = [json_text(each) for each in json_list(said.get("authorization_servers"))]
    scopes = " ".join(json_text(each) for each in json_list(said.get("scopes_supported")))
    usable = _usable(issuers[:MOST_ISSUERS] or [origin_of(url)], url)
    return Protected(issuers=usable, resource=resource, scopes=scopes_in(scopes))


def _usable(issuers: list[str], url: str) -> tuple[str, ...]:
    """Those that can be asked. Raises: UpstreamFailed: none can be."""
    found: list[str] = []
    problem: UpstreamFailed | None = None
    for issuer in dict.fromkeys(issuers):
        try:
            _check_issuer(issuer, url)
            found.append(issuer)
        except UpstreamFailed as error:
            problem = problem or error
    if not found and problem is not None:
        raise problem
    return tuple(found)


def _check_issuer(issuer: str, url: str) -> None:
    check_found(issuer, url, "its issuer")
    if "?" in issuer:
        raise UpstreamFailed("the server names an issuer with a query (RFC 8414, section 2)")
