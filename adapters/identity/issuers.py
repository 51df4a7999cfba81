"""Access tokens of issuers outside: told apart by issuer, verified once, remembered by the hash of the whole token.

A token that is known counts until its time, whether or not its issuer can be reached; unless a key it depends on was
withdrawn, or its issuer is asked about each token and says otherwise. One that is not known waits for its issuer,
within a bound, and is refused where that fails.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio

from adapters.identity.access_tokens import LONGEST_TOKEN, Said, check_header, is_jwt, said_by, unverified, verified
from adapters.identity.claims import principal_from_claims
from adapters.identity.introspection import Introspection
from adapters.identity.keyring import PAUSE_S, Keyring
from adapters.identity.oauth_settings import IssuerSettings
from adapters.identity.resource import Resource
from gateway.core.errors import Unauthenticated, Unavailable, UpstreamFailed
from gateway.core.ports.gateway import Identity
from gateway.core.ports.world import Clock, Secret

MOST_TOKENS = 4096
_NEVER = float("inf")
_ROUND_S = 30.0
"""Between two looks whether keys are fresh, seconds."""
WRONG_AUDIENCE = "the token is for somebody else: its audience is not this address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """One issuer with what it is asked by."""

    name: str
    settings: IssuerSettings
    keys: Keyring
    introspection: Introspection | None = None

    @property
    def has_opaque_tokens(self) -> bool:
        return self.settings.introspection is not None and self.settings.introspection.opaque


@dataclass(slots=True, kw_only=True)
class _Known:
    """A token that was found to count."""

    issuer: Issuer
    identity: Identity
    audiences: frozenset[str]
    expires_at_us: int
    epoch: int
    """Of the issuer's keys when its signature was looked at."""
    token: Secret = field(repr=False)
    asked_s: float
    """When the issuer last said that it counts, monotonic."""
    ask_again_s: float
    """From when on it is asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerHealth:
    """How an issuer is doing."""

    name: str
    url: str
    keys: int
    age_s: float | None
    """Since when its keys are what it last published; None: never fetched."""
    problem: str
    """Why the last attempt to fetch failed; empty where it did not."""


class AccessTokens:
    """Recognises them. Without issuers it recognises none."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._issuers: dict[str, Issuer] = {}
        self._opaque: Issuer | None = None
        self._scopes = frozenset[str]()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._turns: dict[bytes, anyio.Lock] = {}
        self.resource = Resource()
        """What the gateway is called in tokens."""

    def configure(self, issuers: Mapping[str, Issuer], scopes: frozenset[str]) -> None:
        """Have these issuers instead of the present ones, by their identifiers; `scopes` are those that calls can need.

        What was recognised before is looked at again.
        """
        self._issuers = dict(issuers)
        self._opaque = next((each for each in issuers.values() if each.has_opaque_tokens), None)
        self._scopes = scopes
        self.forget()

    @property
    def any(self) -> bool:
        """Whether there is an issuer."""
        return bool(self._issuers)

    def forget(self) -> None:
        """Look at every token again."""
        self._known.clear()

    def concerns(self, token: bytes) -> bool:
        """Whether a credential that is none of the gateway's own may be an access token."""
        return self.any and len(token) <= LONGEST_TOKEN and (is_jwt(token) or self._opaque is not None)

    def known(self, digest: bytes) -> bool:
        """Whether a token with this hash was found to count before."""
        return digest in self._known

    def token_of(self, credential: str) -> Secret | None:
        """The token behind `Identity.credential`, while it counts: to be exchanged, never to be passed on."""
        known = self._known.get(bytes.fromhex(credential)) if credential else None
        return None if known is None or self._clock.now_us() >= known.expires_at_us else known.token

    def health(self) -> tuple[IssuerHealth, ...]:
        """How each issuer is doing."""
        return tuple(
            IssuerHealth(
                name=each.name,
                url=each.settings.url,
                keys=each.keys.known,
                age_s=each.keys.age_s,
                problem=each.keys.problem,
            )
            for each in self._issuers.values()
        )

    async def keep(self) -> None:
        """Keep fetched keys fresh, until canceled."""
        while True:
            for issuer in tuple(self._issuers.values()):
                await issuer.keys.refresh()
            await anyio.sleep(_ROUND_S)

    async def identify(self, digest: bytes, token: bytes, path: str) -> Identity:
        """Who the token with this hash is about, if it is for this path.

        Raises: Unauthenticated: it does not count, or not here; Unavailable: nobody can tell at the moment.
        """
        known = self._known.get(digest)
        if known is None or not self._counts(known):
            known = await self._looked_at(digest, token)
        if self._clock.now_us() >= known.expires_at_us:
            self._known.pop(digest, None)
            raise Unauthenticated("the token has expired")
        if known.audiences.isdisjoint(known.issuer.settings.audiences) and not self.resource.named_by(
            known.audiences, path
        ):
            raise Unauthenticated(WRONG_AUDIENCE)
        return known.identity

    def _counts(self, known: _Known) -> bool:
        """Whether nothing has happened since that would need another look."""
        return known.epoch == known.issuer.keys.epoch and self._clock.monotonic_s() < known.ask_again_s

    async def _looked_at(self, digest: bytes, token: bytes) -> _Known:
        """One look for all who bring the same token at the same time."""
        turn = self._turns.setdefault(digest, anyio.Lock())
        try:
            async with turn:
                known = self._known.get(digest)
                if known is not None and self._counts(known):
                    return known
                return await self._look(digest, token, known)
        finally:
            if not turn.statistics().tasks_waiting and self._turns.get(digest) is turn:
                del self._turns[digest]

    async def _look(self, digest: bytes, token: bytes, before: _Known | None) -> _Known:
        try:
            found = await self._verified(digest, token, before)
        except Unauthenticated:
            self._known.pop(digest, None)
            raise
        except UpstreamFailed as error:
            raise Unavailable(error.message, retry_after_s=5.0) from error
        self._known[digest] = found
        self._known.move_to_end(digest)
        if len(self._known) > MOST_TOKENS:
            self._known.popitem(last=False)
        return found

    async def _verified(self, digest: bytes, token: bytes, before: _Known | None) -> _Known:
        issuer = self._issuer_of(token)
        # Taken before the key is looked for: if keys change meanwhile, the token is looked at once more.
        epoch = issuer.keys.epoch
        said = await self._signed(issuer, token) if is_jwt(token) else None
        asked_s = self._clock.monotonic_s()
        if issuer.introspection is not None:
            try:
                claims = await issuer.introspection.ask(token, issuer.settings.url)
            except (Unavailable, UpstreamFailed):
                if before is None or not self._still_trusted(before):
                    raise
                return before
            said = said or said_by(claims, issuer.settings, self._clock.now_us())
        if said is None:
            raise Unauthenticated("the token is none whose issuer is known here")
        who = principal_from_claims(issuer.name, issuer.settings, said.claims, self._scopes)
        asking = issuer.settings.introspection
        return _Known(
            issuer=issuer,
            identity=Identity(principal=who, credential=digest.hex()),
            audiences=said.audiences,
            expires_at_us=said.expires_at_us,
            epoch=epoch,
            token=Secret(token.decode("ascii", "replace")),
            asked_s=asked_s,
            ask_again_s=_NEVER if asking is None else asked_s + asking.cache_s,
        )

    def _issuer_of(self, token: bytes) -> Issuer:
        issuer = self._issuers.get(unverified(token).issuer) if is_jwt(token) else self._opaque
        if issuer is None:
            raise Unauthenticated("the token's issuer is not one whose tokens count here")
        return issuer

    async def _signed(self, issuer: Issuer, token: bytes) -> Said:
        parts = unverified(token)
        check_header(parts, issuer.settings)
        key = await issuer.keys.find(parts.key_id, parts.algorithm)
        return verified(parts, key, issuer.settings, self._clock.now_us())

    def _still_trusted(self, known: _Known) -> bool:
        """Whether a token counts although its issuer does not answer; it is not asked again at once."""
        asking = known.issuer.settings.introspection
        now_s = self._clock.monotonic_s()
        if asking is None or now_s >= known.asked_s + asking.cache_s + asking.grace_s:
            return False
        known.ask_again_s = now_s + PAUSE_S
        return True
