"""API keys: how they are made, what is stored of them, and which are too weak to be one. Keeps none."""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from gateway.core.model import DEFAULT_TENANT, PrincipalKind
from gateway.core.ports.storage import ApiKey
from gateway.core.ports.world import Secret

PREFIX = "dbk"
DEMO_PREFIX = "demo-"
"""Keys that anybody can read in the examples; the gateway stays on loopback while one is in use."""

_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 10
_ID_LENGTHS = range(8, 13)
_SECRET_LENGTH = 43
_LEAST_LENGTH = 16
_LEAST_DISTINCT = 6
_KNOWN_WORDS = (
    *("changeme", "change-me", "change_me", "password", "passwort", "passw0rd", "letmein", "qwertz", "qwerty"),
    *("placeholder", "default", "example", "sample", "secret", "insecure", "apikey", "api-key", "api_key"),
    *("drawbridge", "gateway", "admin", "root", "test", "demo", "dummy", "todo", "your", "token", "key"),
    *("0123456789", "1234567890", "123456789", "12345678", "1234567", "123456", "abcdefgh", "abcdef", "deadbeef"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyGrant:
    """What a key to be minted stands for."""

    subject: str
    kind: PrincipalKind = "client"
    tenant: str = DEFAULT_TENANT
    roles: frozenset[str] = frozenset()
    """Empty for a subject of the configuration: it then has the roles it is given there, now and later. Otherwise the
    key has at most these."""
    expires_at_us: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MintedKey:
    """A key at the one moment it is known, and what is stored of it."""

    key: Secret
    stored: ApiKey


class KeyMint:
    """Makes keys, and the digests by which they are recognised."""

    def __init__(self, pepper: bytes) -> None:
        """`pepper`: 32 random bytes that are not in the database; without it a copy of the database is of no use."""
        self._pepper = hmac.new(pepper, digestmod=hashlib.sha256)

    def mint(self, grant: KeyGrant, now_us: int) -> MintedKey:
        """A new key for `grant`."""
        key_id, key = _new_key()
        stored = ApiKey(
            id=key_id,
            digest=self.digest(key.encode()),
            subject=grant.subject,
            kind=grant.kind,
            tenant=grant.tenant,
            roles=grant.roles,
            created_at_us=now_us,
            expires_at_us=grant.expires_at_us,
            note=grant.note,
        )
        return MintedKey(key=Secret(key), stored=stored)

    def digest(self, key: bytes) -> bytes:
        """HMAC-SHA-256 of a whole key under the pepper."""
        keyed = self._pepper.copy()
        keyed.update(key)
        return keyed.digest()


def new_key() -> str:
    """A key of the minted kind that nothing is stored of: for a file, such as the operator's."""
    return _new_key()[1]


def key_id(key: bytes) -> str:
    """The public id inside a minted key, or empty where it has another shape."""
    parts = key.split(b"_", 2)
    if len(parts) != 3 or parts[0] != PREFIX.encode():
        return ""
    if len(parts[1]) not in _ID_LENGTHS or len(parts[2]) != _SECRET_LENGTH:
        return ""
    return parts[1].decode("ascii", "replace")


def weakness(key: str) -> str:
    """Why a key somebody chose cannot be one; empty where it can. The reason does not repeat it."""
    if not key.isascii() or not key.isprintable() or " " in key:
        return "it holds characters that an HTTP header cannot carry"
    if len(key) < _LEAST_LENGTH:
        return f"it is shorter than {_LEAST_LENGTH} characters"
    if len(set(key)) < _LEAST_DISTINCT or (key + key).find(key, 1) < len(key):
        return "it repeats itself"
    rest = key.lower()
    for word in _KNOWN_WORDS:
        rest = rest.replace(word, "")
    if len(rest) < _LEAST_LENGTH:
        return "it is made of words that are guessed first"
    return ""


def _new_key() -> tuple[str, str]:
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    return key_id, f"{PREFIX}_{key_id}_{secret}"
