"""An issuer's public keys: fetched when first needed, kept, fetched again now and then. Verifies nothing itself.

A token that names a key nobody knows makes the gateway fetch, but only so often: anybody can make up such names.
"""

import base64
from collections.abc import Mapping
from typing import Protocol

import anyio
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from adapters.identity.oauth_settings import IssuerSettings
from adapters.net.authorization_server import web_address
from gateway.core.errors import GatewayError, Unauthenticated, Unavailable, UpstreamFailed
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.ports.world import Clock

FRESH_S = 300.0
"""How long keys are taken for the present ones: that late, at most, a key the issuer withdrew stops counting."""
PAUSE_S = 15.0
"""Shortest time between two attempts to fetch, whoever asks."""
JWKS_BYTES = 256 * 1024
MOST_KEYS = 100
_LEAST_RSA_BITS = 2048
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


class Publisher(Protocol):
    """Whoever publishes metadata and keys; an `AuthorizationServer` is one."""

    async def metadata(self) -> JsonObject: ...

    async def document(self, url: str, *, limit_bytes: int) -> JsonObject: ...


class Keyring:
    """The keys of one issuer."""

    def __init__(self, name: str, settings: IssuerSettings, publisher: Publisher, clock: Clock) -> None:
        self.epoch = 0
        """Grows whenever a key is no longer there, or is another one: what it signed has to be looked at again."""
        self.problem = ""
        """Why the last attempt to fetch failed; empty when it did not."""
        self._name = name
        self._settings = settings
        self._publisher = publisher
        self._clock = clock
        self._keys: dict[str, JsonObject] = {}
        self._fetched_s: float | None = None
        self._tried_s: float | None = None
        self._turn = anyio.Lock()

    @property
    def known(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    @property
    def age_s(self) -> float | None:
        """Since when the keys are what the issuer last published, seconds; None before that."""
        return None if self._fetched_s is None else self._clock.monotonic_s() - self._fetched_s

    async def find(self, key_id: str, algorithm: str) -> Key:
        """The key a token names, fetched if need be; without a name, the only one there is for the algorithm.

        Raises: Unauthenticated: there is none; Unavailable: nobody can tell, because the issuer does not answer.
        """
        found = self._found(key_id, algorithm)
        if found is None:
            await self._fetch()
            found = self._found(key_id, algorithm)
        if found is None and not self._count():
            raise Unavailable(f"the keys of the issuer {self._name} cannot be fetched: {self.problem}", retry_after_s=5)
        if found is None:
            raise Unauthenticated("the token is signed with a key its issuer does not publish")
        return found

    async def refresh(self) -> None:
        """Fetch again what is no longer fresh; for whoever keeps time. A failure is only remembered."""
        age_s = self.age_s
        if (age_s is None or age_s > FRESH_S) and self._may_try():
            await self._fetch()

    def _count(self) -> bool:
        age_s = self.age_s
        return age_s is not None and age_s <= self._settings.keys_max_age_s

    def _may_try(self) -> bool:
        return self._tried_s is None or self._clock.monotonic_s() - self._tried_s >= PAUSE_S

    async def _fetch(self) -> None:
        """One attempt for all who wait; whoever comes too soon after the last finds what it left."""
        async with self._turn:
            if not self._may_try():
                return
            self._tried_s = self._clock.monotonic_s()
            try:
                url = self._settings.jwks_url or web_address(await self._publisher.metadata(), "jwks_uri")
                self._take(keys_from_jwks(await self._publisher.document(url, limit_bytes=JWKS_BYTES)))
            except GatewayError as error:
                self.problem = error.message
            else:
                self.problem = ""
                self._fetched_s = self._clock.monotonic_s()

    def _take(self, keys: dict[str, JsonObject]) -> None:
        if any(keys.get(key_id) != key for key_id, key in self._keys.items()):
            self.epoch += 1
        self._keys = keys

    def _found(self, key_id: str, algorithm: str) -> Key | None:
        if not self._count():
            return None
        if key_id:
            return key_for(self._keys.get(key_id, {}), algorithm)
        fitting = [key for each in self._keys.values() if (key := key_for(each, algorithm)) is not None]
        return fitting[0] if len(fitting) == 1 else None


def keys_from_jwks(said: Mapping[str, Json]) -> dict[str, JsonObject]:
    """Public keys by their ids; what is not for signatures, or is a secret, is left out.

    Raises: UpstreamFailed: it is no set of keys.
    """
    listed = said.get("keys")
    if not isinstance(listed, list):
        raise UpstreamFailed("what it publishes is no set of keys")
    if len(listed) > MOST_KEYS:
        raise UpstreamFailed(f"it publishes more than {MOST_KEYS} keys")
    found: dict[str, JsonObject] = {}
    for number, each in enumerate(map(json_object, listed)):
        operations = each.get("key_ops")
        for_signing = each.get("use", "sig") == "sig" and (operations is None or "verify" in json_list(operations))
        if for_signing and each.get("kty") in ("RSA", "EC", "OKP"):
            found.setdefault(json_text(each.get("kid")) or f"\0{number}", each)
    return found


def key_for(said: JsonObject, algorithm: str) -> Key | None:
    """The key if it fits the algorithm: its kind, its curve, its own `alg`, its size. None where it does not."""
    if not said or said.get("alg", algorithm) not in (algorithm, *_SAME.get(algorithm, ())):
        return None
    # Only the public half: a key published with its private one is no secret any more, but still what was signed with.
    public: dict[str, str | list[str]] = {
        name: value for name, value in said.items() if isinstance(value, str) and name in _PUBLIC
    }
    try:
        if algorithm.startswith(("RS", "PS")) and said.get("kty") == "RSA":
            return RSAKey.import_key(public) if _bits(json_text(said.get("n"))) >= _LEAST_RSA_BITS else None
        if algorithm.startswith("ES") and said.get("kty") == "EC" and said.get("crv") == _CURVES[algorithm]:
            return ECKey.import_key(public)
        if algorithm == "EdDSA" and said.get("kty") == "OKP" and said.get("crv") in ("Ed25519", "Ed448"):
            return OKPKey.import_key(public)
    except (JoseError, ValueError, TypeError):
        return None
    return None


def _bits(number: str) -> int:
    """Length of a number in base64url (RFC 7518, section 6.3)."""
    return int.from_bytes(base64.urlsafe_b64decode(number + "=" * (-len(number) % 4))).bit_length()


_PUBLIC = frozenset({"kty", "n", "e", "crv", "x", "y", "kid"})
_SAME = {"EdDSA": ("Ed25519", "Ed448")}
