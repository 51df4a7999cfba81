"""Small files that hold key material: made once, closed to everybody else. Knows not what the keys are for."""

import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.core.errors import InvalidRequest, Unavailable
from gateway.core.ports.world import Secret

KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorKey:
    """The key of whoever runs the gateway."""

    key: Secret
    created: bool
    """Made just now: the one moment to show it."""


def random_key(path: Path) -> bytes:
    """The 32 random bytes kept at `path`, made if there are none.

    Raises: InvalidRequest: the file is open to others, or damaged; Unavailable: it cannot be read or written.
    """
    key, _ = _read_or_make(path, lambda: secrets.token_bytes(KEY_BYTES))
    if len(key) != KEY_BYTES:
        raise InvalidRequest(f"{path} is damaged: restore it from a backup, or delete it and mint every key anew")
    return key


def operator_key(path: Path, make: Callable[[], str]) -> OperatorKey:
    """The operator's key kept at `path`, made if there is none. Deleting the file gives a new one at the next start.

    Raises: InvalidRequest: the file is open to others, or damaged; Unavailable: it cannot be read or written.
    """
    text, created = _read_or_make(path, lambda: f"{make()}\n".encode())
    try:
        return OperatorKey(key=Secret(text.decode("ascii").strip()), created=created)
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is damaged: delete it to have a new operator key made") from None


def _read_or_make(path: Path, make: Callable[[], bytes]) -> tuple[bytes, bool]:
    try:
        if not path.exists():
            _write(path, make())
            return path.read_bytes(), True
        mode = stat.S_IMODE(path.stat().st_mode)
        if os.name != "nt" and mode & 0o077:
            raise InvalidRequest(f"{path} is open to other users (mode {mode:03o}): run chmod 600 on it")
        return path.read_bytes(), False
    except OSError as error:
        raise Unavailable(f"{path} cannot be used: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    # Whole or not at all: a key file cut short by a crash would lock everybody out.
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
