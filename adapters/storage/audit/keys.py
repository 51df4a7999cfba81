"""The audit log's own keys: one signs checkpoints, one makes digests that cannot be guessed back."""

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.core.errors import Unavailable

_SIGNING = "audit-signing.key"
_DIGEST = "audit-digest.key"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditKeys:
    """Both keys. Losing them loses no record, but the log they belong to can then be added to no more."""

    signing: Ed25519PrivateKey = field(repr=False)
    digest: bytes = field(repr=False)

    @property
    def public(self) -> Ed25519PublicKey:
        return self.signing.public_key()


def new_audit_keys() -> AuditKeys:
    """Fresh keys, kept nowhere."""
    return AuditKeys(signing=Ed25519PrivateKey.generate(), digest=secrets.token_bytes(_KEY_BYTES))


def load_or_create_audit_keys(directory: Path) -> AuditKeys:
    """The keys in `directory`, made on first use, readable by the owner only. Raises: Unavailable."""
    return AuditKeys(
        signing=Ed25519PrivateKey.from_private_bytes(_load_or_create(directory / _SIGNING)),
        digest=_load_or_create(directory / _DIGEST),
    )


def load_audit_keys(directory: Path) -> AuditKeys | None:
    """The keys in `directory`, or None where there are none yet. Raises: Unavailable."""
    if not (directory / _SIGNING).exists() or not (directory / _DIGEST).exists():
        return None
    return load_or_create_audit_keys(directory)


def _load_or_create(path: Path) -> bytes:
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create(path, secrets.token_bytes(_KEY_BYTES))
        key = path.read_bytes()
    except OSError as error:
        raise Unavailable(f"the key {path} cannot be used: {error.strerror}") from error
    if len(key) != _KEY_BYTES:
        raise Unavailable(f"the key {path} is damaged: {len(key)} bytes instead of {_KEY_BYTES}; restore it")
    return key


def _create(path: Path, key: bytes) -> None:
    # Complete before it has its name: a crash in between leaves no half a key behind.
    draft = path.with_suffix(f".{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
