"""Delegation tokens: what an agent shows while it works on a step. Holds no step and no label.

The token names a step; whether that step is open, and what comes with it, the gateway's own rows say. HMAC, because the
only one who has to verify a token is the one who made it.
"""

import base64
import json
import secrets
from dataclasses import dataclass

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from gateway.core.errors import Unauthenticated
from gateway.core.ports.storage import OpenStep
from gateway.core.ports.world import Clock

TYPE = "delegation+jwt"
_ALGORITHM = "HS256"
_HEADER = {"alg": _ALGORITHM, "typ": TYPE}
_CLAIMS = frozenset({"iss", "jti", "run", "step", "agent", "tenant", "exp"})
_ISSUER = "drawbridge"
_LONGEST_LIFE_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """What a valid token says."""

    run_id: str
    step_id: str
    agent: str
    tenant: str
    expires_at_us: int


class DelegationTokens:
    """Mints and verifies; the key persists, so tokens outlive the process."""

    def __init__(self, key: bytes, *, clock: Clock) -> None:
        """`key`: 32 random bytes."""
        self._key = OctKey.import_key(key)
        self._clock = clock

    def mint(self, step: OpenStep) -> str:
        """A token for the agent of an open step, valid until its deadline, a day at most."""
        latest_s = self._clock.now_us() // 1_000_000 + _LONGEST_LIFE_S
        # Rounded up to the token's whole seconds; the step's own deadline is still checked to the microsecond.
        deadline_s = -(-step.deadline_at_us // 1_000_000)
        claims: dict[str, str | int] = {
            "iss": _ISSUER,
            "jti": secrets.token_hex(12),
            "run": step.run_id,
            "step": step.step_id,
            "agent": step.agent,
            "tenant": step.actor.tenant,
            "exp": min(deadline_s, latest_s) if deadline_s else latest_s,
        }
        return jwt.encode(_HEADER, claims, self._key, algorithms=[_ALGORITHM])

    def verify(self, token: bytes) -> Delegation:
        """What the token says, if it is one of ours and its time is not over.

        Raises: Unauthenticated: it is not; the message does not say why.
        """
        try:
            # Judged before the library sees it: joserfc 1.8 raises TypeError on a `crit` that is no list.
            if _header_of(token) != _HEADER:
                raise Unauthenticated("not a valid token")
            decoded = jwt.decode(token, self._key, algorithms=[_ALGORITHM])
        except (JoseError, ValueError, RecursionError) as error:
            raise Unauthenticated("not a valid token") from error
        claims = decoded.claims
        expires = claims.get("exp")
        names = [claims.get(name) for name in ("run", "step", "agent", "tenant")]
        sound = (
            claims.keys() == _CLAIMS
            and claims["iss"] == _ISSUER
            and type(expires) is int
            and self._clock.now_us() < expires * 1_000_000
            and all(isinstance(name, str) for name in names)
            and _is_canonical(token)
        )
        if not sound or type(expires) is not int:
            raise Unauthenticated("not a valid token")
        run_id, step_id, agent, tenant = (str(name) for name in names)
        return Delegation(run_id=run_id, step_id=step_id, agent=agent, tenant=tenant, expires_at_us=expires * 1_000_000)


def is_delegation(token: bytes) -> bool:
    """Whether it says of itself that it is one of these tokens."""
    try:
        return _header_of(token) == _HEADER
    except (ValueError, RecursionError):
        return False


def _header_of(token: bytes) -> object:
    header = token.partition(b".")[0]
    return json.loads(base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4)))


def _is_canonical(token: bytes) -> bool:
    """Whether the signature is spelt the one way we spell it: two bits of its last character decode to nothing."""
    signature = token.rpartition(b".")[2]
    decoded = base64.urlsafe_b64decode(signature + b"=" * (-len(signature) % 4))
    return base64.urlsafe_b64encode(decoded).rstrip(b"=") == signature
