"""Who logged in at an issuer, by its ID token (OpenID Connect Core, section 3.1.3.7). Fetches nothing but keys."""

import hmac

from adapters.identity.access_tokens import LONGEST_TOKEN, is_jwt, unverified, verified
from adapters.identity.claims import principal_from_claims
from adapters.identity.issuers import Issuer
from gateway.core.errors import Unauthenticated
from gateway.core.json import JsonObject, json_text
from gateway.core.model import Principal

_TYPES = ("", "jwt")
"""An access token is no ID token, whoever its audience is (RFC 9068, section 2.1)."""


async def principal_from_id_token(issuer: Issuer, token: bytes, *, client: str, nonce: str, now_us: int) -> Principal:
    """Who logged in, by the same rules as for access tokens; `nonce` is what this login was begun with.

    Raises: Unauthenticated: the token is not this issuer's, for this client, of this login, or names nobody;
        Unavailable: the issuer's keys cannot be fetched.
    """
    if not is_jwt(token) or len(token) > LONGEST_TOKEN:
        raise Unauthenticated("the ID token cannot be read")
    parts = unverified(token)
    if parts.type not in _TYPES or parts.algorithm not in issuer.settings.algorithms:
        raise Unauthenticated("the ID token is of a type, or signed in a way, that is not taken")
    key = await issuer.keys.find(parts.key_id, parts.algorithm)
    claims = verified(parts, key, issuer.settings, now_us).claims
    if not _is_for(claims, client):
        raise Unauthenticated("the ID token is for another client")
    if not nonce or not hmac.compare_digest(json_text(claims.get("nonce")).encode(), nonce.encode()):
        raise Unauthenticated("the ID token is of another login")
    return principal_from_claims(issuer.name, issuer.settings, claims)


def _is_for(claims: JsonObject, client: str) -> bool:
    said = claims.get("aud")
    audiences = said if isinstance(said, list) else [said]
    authorized = claims.get("azp", client if len(audiences) == 1 else None)
    return client in audiences and authorized == client
