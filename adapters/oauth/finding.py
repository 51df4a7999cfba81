"""Terms that are found out: from the server, its issuer, and the configuration, whose word goes before theirs.

A server's word alone sends no secret anywhere: one that stands in the configuration goes to the issuer that stands
beside it, or to the server's own origin; what an issuer registered the gateway with goes to that issuer. From an issuer
that a server named people come back to an address of its own, so that no code of another's can be passed for one of
its (RFC 9700, section 4.4, "mix-up"); where the gateway is known by hand, and so at one address only, it has to say
with its answer who it is (RFC 9207). Where that other takes anybody's registration and does not say who it is, or the
gateway's document is one written by hand, a false issuer may still pass itself off as its client: an `issuer` in the
configuration rules that out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import anyio

from adapters.net.client_auth import Client
from adapters.oauth.discovery import Protected, Reach, defaults_at, origin_of, protected_by
from adapters.oauth.kept import NO_SOONER_S
from adapters.oauth.registrations import RegisteringServer, Registrations
from adapters.oauth.terms import Terms, Wish
from adapters.oauth.token_endpoint import TokenEndpoint
from gateway.core.errors import GatewayError, Unavailable, UpstreamFailed
from gateway.core.json import JsonObject, json_list, json_text
from gateway.core.model import DEFAULT_TENANT
from gateway.core.ports.world import Clock

WITHIN_S = 20.0
"""Longest finding the terms may take, seconds."""
KEPT_S = 3600.0
"""How long terms count before they are found out again, seconds."""
_OFFLINE = "offline_access"
_CHALLENGES = "code_challenge_methods_supported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the configuration says; what is empty is found out."""

    slug: str
    place: str
    """The server's URL."""
    tenant: str = DEFAULT_TENANT
    """The server's."""
    issuer: str = ""
    token_url: str = ""
    client: Client | None = None
    """As it was registered by hand."""
    document: Callable[[str], JsonObject]
    """What the gateway is as a client of the issuer with a mark; its `client_id` is where an issuer finds that."""
    one_document: bool = False
    """Whether there is only the one without a mark."""
    people: bool = True
    """Whether it is people who get tokens, rather than the gateway for itself."""
    scopes: tuple[str, ...] = ()
    resource: str | None = None
    audience: str = ""


def mark_of(slug: str, issuer: str) -> str:
    """What tells the issuer of one server from all others, in an address.

    Of one server: what people agreed to at an issuer for one is not taken there to be agreed to for the next.
    """
    return sha256(f"{slug}\n{issuer}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    error: GatewayError
    until_s: float


class Finding:
    """See `Agreement`."""

    def __init__(
        self,
        known: Known,
        reach: Reach,
        registrations: Registrations,
        clock: Clock,
        within_s: float = WITHIN_S,
    ) -> None:
        self.place = known.place
        self.widens = not known.scopes
        self._known = known
        self._reach = reach
        self._registrations = registrations
        self._clock = clock
        self._within_s = within_s
        self._turn = anyio.Lock()
        self._terms: Terms | None = None
        self._found_s = 0.0
        self._doubted = False
        self._problem: _Problem | None = None

    async def terms(self) -> Terms:
        try:
            with anyio.fail_after(self._within_s):
                async with self._turn:
                    return await self._looked_up()
        except TimeoutError as error:
            said = f"it cannot be found out in time who gives tokens for {self._known.slug}"
            slow = Unavailable(said, detail={"sent": False}, retry_after_s=NO_SOONER_S)
            self._note(slow)
            raise slow from error

    def are_from(self, issuer: str) -> bool:
        if self._known.issuer:
            return issuer == self._known.issuer
        return self._terms is None or issuer == self._terms.issuer

    def are_for(self, said: JsonObject) -> bool:
        resource = self._known.resource
        return said.get("place") == self.place and (resource is None or said.get("resource", resource) == resource)

    def doubt(self) -> None:
        self._doubted = True

    async def unknown(self) -> bool:
        terms = self._terms
        if terms is None or self._known.client is not None:
            return False
        endpoint = terms.endpoint
        document = self._known.document(terms.mark)
        given_up = await self._registrations.give_up(self._known.slug, endpoint.server, document, endpoint.client)
        if given_up:
            self._terms = None
        return given_up

    async def _looked_up(self) -> Terms:
        now_s = self._clock.monotonic_s()
        terms, age_s = self._terms, now_s - self._found_s
        kept = terms is not None and age_s < (NO_SOONER_S if self._doubted else KEPT_S)
        if terms is not None and kept and await self._holds(terms):
            return terms
        if self._problem is not None and now_s < self._problem.until_s:
            # Without where it was raised before: that would hold all that was under way there, each time more.
            raise self._problem.error.with_traceback(None)
        try:
            terms = await self._find()
        except GatewayError as error:
            self._note(error)
            raise
        self._problem, self._doubted = None, False
        self._terms, self._found_s = terms, now_s
        return terms

    async def _holds(self, terms: Terms) -> bool:
        """Whether the gateway is still who it was there: an operator may have had a registration forgotten."""
        document, endpoint = self._known.document(terms.mark), terms.endpoint
        if self._known.client is not None or endpoint.client.id == json_text(document.get("client_id")):
            return True
        return await self._registrations.holds(self._known.slug, endpoint.server, document, endpoint.client)

    def _note(self, error: GatewayError) -> None:
        """It failed just now, however long that took: whoever waits is told the same."""
        self._problem = _Problem(error=error, until_s=self._clock.monotonic_s() + NO_SOONER_S)

    async def _find(self) -> Terms:
        known = self._known
        if known.issuer:
            return await self._terms_of(self._reach.server(known.issuer), Protected(issuers=(known.issuer,)))
        protected = await protected_by(known.place, self._reach)
        if not protected.issuers:
            origin = origin_of(self.place)
            return await self._terms_of(self._reach.server(origin, defaults_at(origin)), protected)
        problem: UpstreamFailed | None = None
        for issuer in protected.issuers:
            try:
                return await self._terms_of(self._reach.server(issuer), protected)
            except UpstreamFailed as error:
                # One that does not answer now is waited for: accounts connected there would count for nothing else.
                problem = problem or error
        raise problem or UpstreamFailed(f"{known.slug} names no issuer")

    async def _terms_of(self, server: RegisteringServer, protected: Protected) -> Terms:
        """Raises: UpstreamFailed: no tokens are to be had there; Unavailable."""
        known = self._known
        about = await server.metadata()
        if len(protected.issuers) > 1 and known.people and "S256" not in json_list(about.get(_CHALLENGES)):
            raise UpstreamFailed(f"{server.name} does not support PKCE (S256)")
        client, mark = known.client, ""
        if client is None:
            client, mark = await self._client(server, about)
        else:
            self._check_may_know(client, server.issuer)
        return Terms(
            endpoint=TokenEndpoint(server, client, known.token_url),
            wish=Wish(
                resource=(protected.resource or known.place) if known.resource is None else known.resource,
                scopes=known.scopes or self._scopes(protected, about),
                audience=known.audience,
            ),
            mark=mark,
            must_say_who=known.client is not None,
        )

    def _check_may_know(self, client: Client, issuer: str) -> None:
        """Raises: UpstreamFailed: only the configuration can say that the client is known there.

        No secret goes there, and no token is got, by a key either, for which nobody is asked: an issuer that gives the
        gateway tokens for one server would give them for any other that names it.
        """
        known = self._known
        elsewhere = not known.issuer and origin_of(issuer) != origin_of(known.place)
        if elsewhere and (client.secret is not None or not known.people):
            raise UpstreamFailed(
                f"{known.slug} names an issuer elsewhere, and the gateway shows who it is there only where the"
                f" configuration says so: set servers.{known.slug}.auth.issuer"
            )

    async def _client(self, server: RegisteringServer, about: JsonObject) -> tuple[Client, str]:
        """MCP 2026-07-28, "client registration": who is known by hand first, then by its document, then registered.

        With the mark of the issuer.
        """
        known = self._known
        mark = "" if known.issuer else mark_of(known.slug, server.issuer)
        marked = "" if known.one_document else mark
        name = json_text(known.document(marked).get("client_id"))
        if about.get("client_id_metadata_document_supported") is True and name.startswith("https://"):
            return Client(id=name), marked
        if about.get("registration_endpoint") is not None:
            return await self._registrations.client(known.slug, known.tenant, server, known.document(mark)), mark
        if known.issuer:
            return Client(id=name), marked
        raise UpstreamFailed(
            f"the issuer of {self._known.slug}'s tokens registers nobody: register the gateway there by hand, and set"
            f" issuer and client_id of servers.{self._known.slug}.auth"
        )

    def _scopes(self, protected: Protected, about: JsonObject) -> tuple[str, ...]:
        scopes = protected.scopes
        offline = self._known.people and _OFFLINE in json_list(about.get("scopes_supported"))
        return (*scopes, _OFFLINE) if scopes and offline and _OFFLINE not in scopes else scopes
