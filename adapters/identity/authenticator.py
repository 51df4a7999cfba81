"""Who sent an `Authorization` header: by configured key, minted key, delegation token or an issuer's access token.

Knows no HTTP and no policy.

What was recognised once is found again by the SHA-256 of the whole header value, so that a call costs one hash and one
look-up, and no two credentials share an entry however alike they begin (CVE-2026-35030). What can change between two
calls - time, open steps, their labels - is looked at on each. Every change of credentials empties the cache.
"""

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol, TypeVar

from adapters.identity.apikeys import KeyMint, key_id
from adapters.identity.credentials import AGENT_PREFIX, Credential, CredentialTable, credential_table
from adapters.identity.delegation import Delegation, DelegationTokens, is_delegation
from adapters.identity.issuers import AccessTokens
from gateway.core.errors import Unauthenticated, Unavailable
from gateway.core.labels import join_all
from gateway.core.model import Principal, principal
from gateway.core.ports.gateway import Identity
from gateway.core.ports.storage import ApiKey, OpenStep, OpenSteps
from gateway.core.ports.world import Clock

T = TypeVar("T")

_LONGEST_HEADER = 4096
_CACHE_LIMIT = 4096
_EMPTY = CredentialTable(by_digest={}, by_subject={}, uses_demo_keys=False)


class _Watched(Protocol):
    """An identity that something outside can change or end."""

    async def look(self) -> None:
        """Learn what other processes have changed. Raises: Unavailable."""
        ...

    def now(self) -> Identity | None:
        """As it is at this moment; None when it is over. Raises: Unavailable: that cannot be known."""
        ...


class Authenticator:
    """See `Authenticator` in the ports. Give it credentials with `reload` and `load` before the first call."""

    def __init__(
        self,
        *,
        mint: KeyMint,
        tokens: DelegationTokens,
        steps: OpenSteps,
        clock: Clock,
        keys_are_current: Callable[[], bool] | None = None,
    ) -> None:
        """`keys_are_current`: where other processes mint and revoke, whether what they did is known up to now."""
        self.access_tokens = AccessTokens(clock)
        """Those of issuers outside."""
        self._keys_are_current = keys_are_current
        self._mint = mint
        self._tokens = tokens
        self._steps = steps
        self._clock = clock
        self._configured = _EMPTY
        self._minted: dict[str, ApiKey] = {}
        self._settled: dict[bytes, Identity] = {}
        self._watched: dict[bytes, _Watched] = {}

    @property
    def uses_demo_keys(self) -> bool:
        """Whether a key is in use that anybody can read in the examples: then only loopback may be bound."""
        return self._configured.uses_demo_keys

    def reload(self, credentials: Iterable[Credential]) -> None:
        """Have these configured credentials instead of the present ones; on error nothing changes.

        Raises: InvalidRequest: see `credential_table`.
        """
        self._configured = credential_table(credentials, self._mint)
        self._forget()

    def load(self, keys: Iterable[ApiKey]) -> None:
        """Have these minted keys instead of the present ones."""
        self._minted = {key.id: key for key in keys if key.revoked_at_us is None}
        self._forget()

    def add(self, key: ApiKey) -> None:
        """Accept one more minted key from now on."""
        self._minted[key.id] = key
        self._forget()

    def revoke(self, key_id: str) -> None:
        """Refuse a minted key from now on."""
        self._minted.pop(key_id, None)
        self._forget()

    async def authenticate(self, authorization: bytes, path: str = "/") -> Identity:
        digest = sha256(authorization).digest()
        identity = self._settled.get(digest)
        if identity is not None:
            return identity
        if self.access_tokens.any and digest not in self._watched:
            token = self._foreign(digest, authorization)
            if token:
                return await self._by_access_token(digest, token, path)
        found = self._found(digest, authorization)
        if isinstance(found, Identity):
            return found
        await found.look()
        # Found again: credentials may have changed during the look.
        return self.identify(authorization)

    def identify(self, authorization: bytes) -> Identity:
        """As `authenticate`, by what is in memory."""
        digest = sha256(authorization).digest()
        identity = self._settled.get(digest)
        if identity is not None:
            return identity
        found = self._found(digest, authorization)
        if isinstance(found, Identity):
            return found
        identity = found.now()
        if identity is None:
            self._watched.pop(digest, None)
            raise _refusal()
        return identity

    def _found(self, digest: bytes, authorization: bytes) -> "Identity | _Watched":
        watched = self._watched.get(digest)
        if watched is not None:
            return watched
        found = self._recognise(authorization)
        if isinstance(found, Identity):
            _keep(self._settled, digest, found)
        else:
            _keep(self._watched, digest, found)
        return found

    def _foreign(self, digest: bytes, authorization: bytes) -> bytes:
        """The token, if it is none of the gateway's own making; empty otherwise."""
        scheme, space, token = authorization.partition(b" ")
        if self.access_tokens.known(digest):
            return token
        if not space or scheme.lower() != b"bearer" or not self.access_tokens.concerns(token):
            return b""
        own = key_id(token) or is_delegation(token) or self._mint.digest(token) in self._configured.by_digest
        return b"" if own else token

    async def _by_access_token(self, digest: bytes, token: bytes, path: str) -> Identity:
        try:
            return await self.access_tokens.identify(digest, token, path)
        except Unauthenticated as error:
            # What is wrong with a token its issuer's signature does not hide, and clients act by it (RFC 6750).
            raise Unauthenticated(error.message, detail={"token": error.message}) from None

    def _forget(self) -> None:
        self._settled.clear()
        self._watched.clear()

    def _recognise(self, authorization: bytes) -> "Identity | _Watched":
        if len(authorization) > _LONGEST_HEADER:
            raise _refusal()
        scheme, space, token = authorization.partition(b" ")
        if not space or not token or scheme.lower() != b"bearer":
            raise _refusal()
        digest = self._mint.digest(token)
        configured = self._configured.by_digest.get(digest)
        if configured is not None:
            return self._by_key(configured.principal, configured, expires_at_us=None)
        if token.startswith(b"ey") and token.count(b".") == 2:
            return self._by_token(token)
        minted = self._minted.get(key_id(token))
        # Compared even where there is nothing to compare with, so that an id that exists takes no longer to refuse.
        if not hmac.compare_digest(minted.digest if minted is not None else bytes(len(digest)), digest) or not minted:
            raise _refusal()
        configured = self._configured.by_subject.get((minted.tenant, minted.subject))
        found = self._by_key(_principal_from_key(minted, configured), configured, expires_at_us=minted.expires_at_us)
        return found if self._keys_are_current is None else _WhileCurrent(found, self._keys_are_current)

    def _by_key(
        self, who: Principal, configured: Credential | None, *, expires_at_us: int | None
    ) -> "Identity | _Watched":
        if configured is not None and configured.delegation_only:
            raise _refusal()
        identity = Identity(principal=who)
        if who.subject.startswith(AGENT_PREFIX):
            return _ByAgentKey(identity, self._steps, self._clock, expires_at_us)
        if expires_at_us is not None:
            return _Expiring(identity, self._clock, expires_at_us)
        return identity

    def _by_token(self, token: bytes) -> "_Watched":
        try:
            said = self._tokens.verify(token)
        except Unauthenticated:
            raise _refusal() from None
        return _ByToken(said, self._steps, self._clock)


@dataclass(slots=True)
class _WhileCurrent:
    """By a minted key that another process may have revoked."""

    found: Identity | _Watched
    keys_are_current: Callable[[], bool]

    async def look(self) -> None:
        if not isinstance(self.found, Identity):
            await self.found.look()

    def now(self) -> Identity | None:
        if not self.keys_are_current():
            raise Unavailable("whether this key still counts cannot be known at the moment", retry_after_s=1.0)
        return self.found if isinstance(self.found, Identity) else self.found.now()


@dataclass(slots=True)
class _Expiring:
    """By a minted key that ends at some time."""

    identity: Identity
    clock: Clock
    expires_at_us: int

    async def look(self) -> None:
        """Nobody else makes it expire."""

    def now(self) -> Identity | None:
        return self.identity if self.clock.now_us() < self.expires_at_us else None


@dataclass(slots=True)
class _ByAgentKey:
    """An agent by its bare key: nobody can say for which of its open steps it calls, so it has the labels of all, and
    only proposes while none of them may do more."""

    identity: Identity
    steps: OpenSteps
    clock: Clock
    expires_at_us: int | None
    open_steps: tuple[OpenStep, ...] = ()

    async def look(self) -> None:
        await self.steps.look(self.identity.principal.subject.removeprefix(AGENT_PREFIX))

    def now(self) -> Identity | None:
        if self.expires_at_us is not None and self.clock.now_us() >= self.expires_at_us:
            return None
        who = self.identity.principal
        open_steps = self.steps.of_agent(who.tenant, who.subject.removeprefix(AGENT_PREFIX))
        if open_steps is not self.open_steps:
            self.open_steps = open_steps
            proposing = bool(open_steps) and all(step.phase == "propose" for step in open_steps)
            self.identity = replace(
                self.identity,
                phase="propose" if proposing else "",
                labels=join_all(step.labels for step in open_steps),
            )
        return self.identity


@dataclass(slots=True)
class _ByToken:
    """An agent by the token of one step, for as long as that step is open for this agent."""

    said: Delegation
    steps: OpenSteps
    clock: Clock
    step: OpenStep | None = None
    identity: Identity | None = None

    async def look(self) -> None:
        await self.steps.look(self.said.agent)

    def now(self) -> Identity | None:
        said = self.said
        step = self.steps.find(said.run_id, said.step_id)
        if step is None or step.agent != said.agent or step.actor.tenant != said.tenant:
            return None
        now_us = self.clock.now_us()
        if now_us >= said.expires_at_us or (step.deadline_at_us and now_us >= step.deadline_at_us):
            return None
        if step is not self.step:
            self.step = step
            self.identity = _identity_from_step(step)
        return self.identity


def _identity_from_step(step: OpenStep) -> Identity:
    return Identity(
        principal=step.actor,
        run_id=step.run_id,
        step_id=step.step_id,
        phase=step.phase,
        labels=step.labels,
        deadline_at_us=step.deadline_at_us,
        traceparent=step.traceparent,
    )


def _principal_from_key(key: ApiKey, configured: Credential | None) -> Principal:
    """The configuration decides what its principals may do; a key of theirs can only be for less."""
    if configured is None:
        return principal(key.subject, kind=key.kind, tenant=key.tenant, roles=key.roles)
    theirs = configured.principal
    if not key.roles or key.roles >= theirs.roles:
        return theirs
    return principal(key.subject, kind=theirs.kind, tenant=key.tenant, roles=theirs.roles & key.roles)


def _keep(cache: dict[bytes, T], digest: bytes, value: T) -> None:
    if len(cache) >= _CACHE_LIMIT:
        del cache[next(iter(cache))]
    cache[digest] = value


def _refusal() -> Unauthenticated:
    # One message for every reason: which part was wrong is for nobody outside to know.
    return Unauthenticated("a valid credential is needed: send `Authorization: Bearer KEY`")
