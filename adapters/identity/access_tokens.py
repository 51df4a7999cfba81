"""Whether an access token is what it says: form, signature, issuer, time (RFC 9068, RFC 8725). Maps nothing, fetches
nothing."""

import base64
import binascii
import warnings
from dataclasses import dataclass, field

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry

from adapters.identity.oauth_settings import IssuerSettings
from gateway.core.errors import Unauthenticated
from gateway.core.json import Json, JsonObject, json_text

LONGEST_TOKEN = 16 * 1024
_FURTHEST_S = 1 << 33
"""Seconds since 1970 beyond which no time is meant (year 2242)."""
_MOST_AUDIENCES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Unverified:
    """What a token says before anybody has looked whether it is true: good for finding the key, and nothing else."""

    algorithm: str
    key_id: str
    type: str
    issuer: str
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a token says that was verified, or what its issuer says of it."""

    claims: JsonObject = field(repr=False)
    audiences: frozenset[str]
    expires_at_us: int


def is_jwt(token: bytes) -> bool:
    """Whether it has the shape of a signed one."""
    return token.startswith(b"ey") and token.count(b".") == 2


def unverified(token: bytes) -> Unverified:
    """The parts of a JWT by which its key is found. Raises: Unauthenticated: it is none that could count."""
    header_part, _, rest = token.partition(b".")
    header, payload = _object_in(header_part), _object_in(rest.partition(b".")[0])
    if "crit" in header or "b64" in header:
        raise Unauthenticated("the token asks for something this gateway does not understand")
    return Unverified(
        algorithm=json_text(header.get("alg")),
        key_id=json_text(header.get("kid")),
        type=json_text(header.get("typ")).lower().removeprefix("application/"),
        issuer=json_text(payload.get("iss")),
        raw=token,
    )


def check_header(token: Unverified, settings: IssuerSettings) -> None:
    """Raises: Unauthenticated: a signature or a type that does not count here."""
    if token.algorithm not in settings.algorithms:
        raise Unauthenticated("the token is signed in a way its issuer's tokens are not taken in")
    if token.type not in {each.lower().removeprefix("application/") for each in settings.token_types}:
        raise Unauthenticated("the token is no access token (its typ header says so)")


def verified(token: Unverified, key: Key, settings: IssuerSettings, now_us: int) -> Said:
    """What the token says. Raises: Unauthenticated: it is not its issuer's, or its time is not now."""
    try:
        claims: Json = orjson.loads(_payload(token, key))
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise Unauthenticated("the token's signature is not its issuer's") from error
    if not isinstance(claims, dict) or claims.get("iss") != settings.url:
        raise Unauthenticated("the token is of another issuer")
    return said_by(claims, settings, now_us)


def _payload(token: Unverified, key: Key) -> bytes:
    registry = JWSRegistry(algorithms=[token.algorithm], strict_check_header=False)
    registry.max_header_length = registry.max_payload_length = registry.max_signature_length = LONGEST_TOKEN
    if token.algorithm != "EdDSA":
        return jws.deserialize_compact(token.raw, key, registry=registry).payload
    with warnings.catch_warnings():
        # The name was deprecated (RFC 9864) for not saying the curve; issuers go on writing it.
        warnings.simplefilter("ignore")
        return jws.deserialize_compact(token.raw, key, registry=registry).payload


def said_by(claims: JsonObject, settings: IssuerSettings, now_us: int) -> Said:
    """The claims with their time checked. Raises: Unauthenticated: not yet, no longer, or for nobody in particular."""
    skew_us = int(settings.clock_skew_s * 1_000_000)
    expires_us = _time_us(claims, "exp")
    if expires_us is None:
        raise Unauthenticated("the token does not say until when it counts")
    if now_us >= expires_us + skew_us:
        raise Unauthenticated("the token has expired")
    for name in ("nbf", "iat"):
        since_us = _time_us(claims, name)
        if since_us is not None and since_us > now_us + skew_us:
            raise Unauthenticated("the token does not count yet")
    if claims.get("cnf") is not None:
        # RFC 9449, section 7.2: without the proof it asks for, a stolen one would do.
        raise Unauthenticated("the token is bound to a key of its owner's, and this gateway takes bearer tokens only")
    return Said(claims=claims, audiences=_audiences(claims), expires_at_us=expires_us + skew_us)


def _audiences(claims: JsonObject) -> frozenset[str]:
    said = claims.get("aud")
    listed = said if isinstance(said, list) else [said]
    if len(listed) > _MOST_AUDIENCES or not all(isinstance(each, str) and each for each in listed):
        raise Unauthenticated("the token does not say whom it is for")
    return frozenset(json_text(each).rstrip("/") or "/" for each in listed)


def _time_us(claims: JsonObject, name: str) -> int | None:
    """A NumericDate (RFC 7519, section 2). Raises: Unauthenticated: it is there, and none."""
    said = claims.get(name)
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said < _FURTHEST_S:
        raise Unauthenticated(f"the token's {name} is no time")
    return int(said * 1_000_000)


def _object_in(part: bytes) -> JsonObject:
    try:
        said: Json = orjson.loads(base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise Unauthenticated("the token cannot be read")
    return said
