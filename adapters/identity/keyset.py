"""The keys a gateway signs and seals with: files of its own, or derived from one secret that several gateways share."""

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from adapters.identity.apikeys import weakness
from adapters.identity.keyfiles import KEY_BYTES, random_key
from gateway.core.errors import InvalidRequest
from gateway.core.ports.world import Secret

LEAST_SECRET = 32
"""Characters a shared secret has at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """32 bytes each, and none follows from another."""

    pepper: bytes = field(repr=False)
    """Under which API keys are digested."""
    delegation: bytes = field(repr=False)
    """Signs delegation tokens."""
    state: bytes = field(repr=False)
    """Seals what servers want back with the next round."""
    accounts: bytes = field(repr=False)
    """Seals the tokens of accounts people have connected."""

    @property
    def fingerprint(self) -> str:
        """Tells this set from another, and nothing about it."""
        said = b"".join((self.pepper, self.delegation, self.state, self.accounts))
        return hmac.new(said, b"drawbridge key set", hashlib.sha256).hexdigest()


def key_set_from_files(folder: Path) -> KeySet:
    """The keys kept in `folder`, made where there are none.

    Raises: InvalidRequest: a file is open to others, or damaged; Unavailable: it cannot be read or written.
    """
    return KeySet(
        pepper=random_key(folder / "pepper"),
        delegation=random_key(folder / "delegation.key"),
        state=random_key(folder / "state.key"),
        accounts=random_key(folder / "accounts.key"),
    )


def key_set_from_secret(secret: Secret) -> KeySet:
    """The keys that follow from `secret` (HKDF-SHA-256, RFC 5869): the same in every process that has it.

    Raises: InvalidRequest: it is too weak; the message does not repeat it.
    """
    text = secret.reveal()
    reason = f"it is shorter than {LEAST_SECRET} characters" if len(text) < LEAST_SECRET else weakness(text)
    if reason:
        raise InvalidRequest(f"storage.secret cannot be used: {reason}. Make one, for example `openssl rand -hex 32`")

    def derived(purpose: str) -> bytes:
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"drawbridge {purpose}".encode()).derive(text.encode())

    return KeySet(
        pepper=derived("pepper"),
        delegation=derived("delegation"),
        state=derived("state"),
        accounts=derived("accounts"),
    )
