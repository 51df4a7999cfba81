"""On what terms a server takes tokens: who gives them, to which client, and what they are to be good for."""

from dataclasses import dataclass
from typing import Protocol

from adapters.oauth.token_endpoint import TokenEndpoint
from gateway.core.json import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a token is to be good for."""

    resource: str = ""
    scopes: tuple[str, ...] = ()
    audience: str = ""

    def form(self, more: tuple[str, ...] = ()) -> dict[str, str]:
        """As parameters of a request (RFC 6749, RFC 8707), with more scopes."""
        scopes = " ".join(dict.fromkeys((*self.scopes, *more)))
        said = {"resource": self.resource, "scope": scopes, "audience": self.audience}
        return {name: value for name, value in said.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """As they are now."""

    endpoint: TokenEndpoint
    wish: Wish
    mark: str = ""
    """Of the server's issuer, in the address people come back to from it; empty: they come back to where all do."""
    must_say_who: bool = False
    """Whether the issuer has to say with its answer who it is (RFC 9207): nothing else tells it from others."""

    @property
    def issuer(self) -> str:
        return self.endpoint.server.issuer


class Agreement(Protocol):
    """Where the terms of one server are known, or found out."""

    place: str
    """The server's URL."""
    widens: bool
    """Whether the server may want more than the terms say: not where the configuration names the scopes."""

    async def terms(self) -> Terms:
        """Raises: UpstreamFailed, Unavailable: they cannot be found out."""
        ...

    def are_from(self, issuer: str) -> bool:
        """Whether tokens of that issuer count, as far as is known without asking anybody."""
        ...

    def are_for(self, said: JsonObject) -> bool:
        """Whether what was given for the `place` and `resource` that are said there was given for this server."""
        ...

    def doubt(self) -> None:
        """The server did not take what was got by them: find them out anew, where they were found."""
        ...

    async def unknown(self) -> bool:
        """The issuer does not know the client any more; whether another can be made of it, which is done with the
        next `terms`.
        """
        ...


class Fixed:
    """See `Agreement`. All of it stands in the configuration."""

    def __init__(self, terms: Terms, place: str = "") -> None:
        self.place = place
        self.widens = not terms.wish.scopes
        self._terms = terms

    async def terms(self) -> Terms:
        return self._terms

    def are_from(self, issuer: str) -> bool:
        return issuer == self._terms.issuer

    def are_for(self, said: JsonObject) -> bool:
        return said.get("resource", self._terms.wish.resource) == self._terms.wish.resource

    def doubt(self) -> None:
        pass

    async def unknown(self) -> bool:
        return False
