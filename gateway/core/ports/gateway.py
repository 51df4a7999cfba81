"""What a door sees of the gateway, and what it learns of whoever knocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.errors import Unauthenticated
from gateway.core.labels import CLEAN, Labels
from gateway.core.model import Capability, CapabilityKind, Emit, Phase, Principal, Request, Result
from gateway.core.record import Record

LAST_WORD = "drawbridge.last_word"
"""An ASGI extension; its `call` lets what is written next leave behind whatever the client has not read yet, instead of
waiting for room. The connection ends with that answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who knocks, and as part of what. A door copies these into every `Request` it makes."""

    principal: Principal
    run_id: str = ""
    step_id: str = ""
    phase: Phase = ""
    labels: Labels = CLEAN
    """Floor of the labels of anything said under this identity."""
    deadline_at_us: int = 0
    """UTC microseconds after which the credential's step is over; 0 for none."""
    traceparent: str = ""
    """Of the run it belongs to; counts only where the caller brings none."""
    credential: str = ""
    """See `Request.credential`."""


class Authenticator(Protocol):
    async def authenticate(self, authorization: bytes, path: str = "/") -> Identity:
        """Who sent this `Authorization` header value (empty where there was none), to which path: an access token
        counts only where it was issued for. On the hot path: waits only for an issuer whose token is new, and for an
        agent where other processes may have opened or closed a step of it.

        Raises: Unauthenticated: says which kind of credential is expected, never what was sent; Unavailable: whether it
            still counts cannot be known at the moment.
        """
        ...


class Challenges(Protocol):
    """What `WWW-Authenticate` says (RFC 6750, RFC 9728)."""

    @property
    def issuers(self) -> Sequence[str]:
        """Identifiers of those whose access tokens are taken."""
        ...

    def unauthenticated(self, path: str, error: Unauthenticated) -> bytes:
        """To whoever showed no valid credential at this path."""
        ...

    def insufficient(self, path: str, scopes: Sequence[str]) -> bytes:
        """To whoever has a valid token that lacks some of these scopes."""
        ...


class BareChallenges:
    """See `Challenges`; for where there is no issuer to send anybody to."""

    issuers: Sequence[str] = ()

    def unauthenticated(self, path: str, error: Unauthenticated) -> bytes:
        return b"Bearer"

    def insufficient(self, path: str, scopes: Sequence[str]) -> bytes:
        return b'Bearer error="insufficient_scope"'


class Gateway(Protocol):
    """The one path, seen from a door."""

    @property
    def version(self) -> str:
        """Changes whenever what anybody may see or call may have changed: configuration, policies, catalog."""
        ...

    async def call(self, request: Request, emit: Emit) -> Result:
        """Judge, route, run and record one call.

        Raises: GatewayError, always recorded before; `detail["record"]` is the record's id.
        """
        ...

    def find(self, principal: Principal, name: str) -> Capability | None:
        """A capability of the principal's tenant by its gateway-wide name, whether or not it may be called."""
        ...

    def visible(
        self, principal: Principal, kinds: frozenset[CapabilityKind], owner: str = ""
    ) -> tuple[Capability, ...]:
        """What the principal may call, sorted by name; the access policy that judges calls decides."""
        ...

    def about(self, owner: str) -> Mapping[str, object]:
        """What an upstream says of itself; empty before it was first reached."""
        ...

    def gaps(self, tenant: str) -> Mapping[str, str]:
        """Owners whose capabilities are missing or out of date, each with the reason."""
        ...

    def gaps_for(self, principal: Principal) -> Mapping[str, str]:
        """Those of `gaps` the principal may see something of, or could of an owner that never was reached."""
        ...

    async def settled(self, timeout_s: float) -> None:
        """Return once every upstream has answered or failed for the first time, or the time is over."""
        ...

    async def changed(self, version: str) -> str:
        """Wait until `version` is no longer the current one; gives the current one."""
        ...

    def note(self, record: Record) -> None:
        """Record something that is not a call: a refused credential, a list, a session."""
        ...
