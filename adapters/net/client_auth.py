"""How the gateway says who it is, as a client of an authorization server: by a secret, or by a key of its own."""

import secrets
import warnings
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import quote_plus

import orjson
from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, RSAKey

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject, json_from
from gateway.core.ports.world import Clock, Secret

_PROOF_S = 60
"""How long one proof counts."""
_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}


class ClientKey:
    """A private key; what it signs shows that the gateway has it (`private_key_jwt`, RFC 7523)."""

    def __init__(self, secret: Secret, clock: Clock) -> None:
        """`secret`: as PEM, or as a JWK. Raises: InvalidRequest: it is no such key, or too weak."""
        self._key, self._algorithm = _key_from(secret.reveal())
        self._clock = clock

    def proof(self, client: str, issuer: str) -> str:
        """That this client asks this issuer, now and once."""
        now_s = self._clock.now_us() // 1_000_000
        claims = {
            "iss": client,
            "sub": client,
            # The issuer itself, not an address of its: those another issuer's metadata can name as well.
            "aud": issuer,
            "jti": secrets.token_urlsafe(16),
            "iat": now_s,
            "exp": now_s + _PROOF_S,
        }
        header = {"alg": self._algorithm, "typ": "JWT", "kid": self._key_id}
        return jwt.encode(header, claims, self._key, algorithms=[self._algorithm])

    @property
    def public(self) -> JsonObject:
        """What the issuer has to know of it, as a JWK."""
        said = json_from(self._key.as_dict(private=False))
        return {**said, "kid": self._key_id, "alg": self._algorithm, "use": "sig"}

    @property
    def _key_id(self) -> str:
        return self._key.kid or self._key.thumbprint()


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client, and how it says who it is (RFC 6749, section 2.3)."""

    id: str
    secret: Secret | None = field(default=None, repr=False)
    in_form: bool = False
    """Where a server does not understand the header (`client_secret_post`)."""
    key: ClientKey | None = field(default=None, repr=False)
    """In place of a secret; without both it is a public client, which only names itself."""

    def shown_to(self, issuer: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """What goes into a form for this issuer, and into its headers."""
        if self.key is not None:
            proof = {"client_assertion_type": _JWT_BEARER, "client_assertion": self.key.proof(self.id, issuer)}
            return {"client_id": self.id, **proof}, []
        if self.secret is None:
            return {"client_id": self.id}, []
        if self.in_form:
            return {"client_id": self.id, "client_secret": self.secret.reveal()}, []
        pair = f"{quote_plus(self.id)}:{quote_plus(self.secret.reveal())}"
        return {}, [("authorization", f"Basic {b64encode(pair.encode()).decode()}")]


def _key_from(text: str) -> tuple[ECKey | RSAKey, str]:
    key = _imported(text)
    if isinstance(key, RSAKey) and key.is_private:
        return key, "RS256"
    if isinstance(key, ECKey) and key.is_private and key.curve_name in _CURVES:
        return key, _CURVES[key.curve_name]
    raise InvalidRequest("it is no private key to sign with: RSA of 2048 bits, P-256, P-384 or P-521, as PEM or JWK")


def _imported(text: str) -> ECKey | RSAKey | None:
    with warnings.catch_warnings():
        # The library only warns of an RSA key that is too short.
        warnings.simplefilter("error", SecurityWarning)
        for kind in (RSAKey, ECKey):
            try:
                return kind.import_key(text if text.lstrip().startswith("-----") else orjson.loads(text))
            except (JoseError, SecurityWarning, ValueError, TypeError, KeyError):
                continue
    return None
