"""Secrets behind references: environment, files, the system's keyring. Stores none, logs none."""

import logging
import os
import stat
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from gateway.core.errors import InvalidRequest
from gateway.core.ports.world import Secret

_logger = logging.getLogger(__name__)

SCHEMES = ("env", "file", "keyring")
_HINT = "write a reference instead: env:NAME, file:PATH or keyring:SERVICE/NAME"
_FILE_LIMIT_BYTES = 64 * 1024
_KEYRING_TIMEOUT_S = 10.0


class KeyringUnusable(Exception):
    """The keyring failed, or there is none."""


def ask_system_keyring(service: str, name: str) -> str | None:
    """The system's entry, None where there is none. Raises: KeyringUnusable: nobody can be asked."""
    # Not imported at the top: it brings the desktop's libraries along, which each start would wait for though few
    # configurations name a keyring.
    keyring, errors = import_module("keyring"), import_module("keyring.errors")
    try:
        return keyring.get_password(service, name)
    except errors.KeyringError as error:
        raise KeyringUnusable from error


def is_reference(text: str) -> bool:
    """Whether this names a secret rather than being a literal."""
    scheme, colon, rest = text.partition(":")
    return bool(colon and rest) and scheme in SCHEMES


def check_reference(text: str) -> str:
    """`text` if it is a reference.  Raises: ValueError: it is a literal; the message does not repeat it."""
    if not is_reference(text):
        raise ValueError(f"a secret must not stand in the configuration; {_HINT}")
    return text


class SecretResolver:
    """See `Secrets`. Reads anew each time, so that a changed secret is seen on reload."""

    def __init__(
        self,
        folder: Path,
        *,
        environment: Mapping[str, str] = os.environ,
        from_keyring: Callable[[str, str], str | None] = ask_system_keyring,
    ) -> None:
        """`folder`: what relative paths start from, the configuration's own."""
        self._folder = folder
        self._environment = environment
        self._from_keyring = from_keyring

    def resolve(self, reference: str) -> Secret:
        scheme, colon, rest = reference.partition(":")
        if not colon or not rest or scheme not in SCHEMES:
            # Not repeated: it may well be the secret.
            raise InvalidRequest(f"this is no reference to a secret; {_HINT}")
        if scheme == "env":
            value = self._from_environment(rest)
        elif scheme == "file":
            value = self._from_file(rest, reference)
        else:
            value = self._from_system_keyring(rest, reference)
        if not value:
            raise InvalidRequest(f"{reference} is empty")
        return Secret(value)

    def _from_environment(self, name: str) -> str:
        value = self._environment.get(name)
        if value is None:
            raise InvalidRequest(f"env:{name}: the environment variable {name} is not set")
        return value

    def _from_file(self, path: str, reference: str) -> str:
        try:
            # Not blocking, so that a named pipe fails below instead of waiting for a writer.
            file = os.open(self._folder / Path(path).expanduser(), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(file, "rb") as opened:
                status = os.fstat(opened.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise InvalidRequest(f"{reference} is not a file")
                if os.name != "nt" and status.st_mode & 0o007:
                    _logger.warning("%s can be read by every user of this machine; run chmod 600 on it", reference)
                value = opened.read(_FILE_LIMIT_BYTES + 1)
        except OSError as error:
            raise InvalidRequest(f"{reference} cannot be read: {error.strerror}") from error
        if len(value) > _FILE_LIMIT_BYTES:
            raise InvalidRequest(f"{reference} is too large for a secret")
        try:
            return value.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            # Without its cause, which would carry the bytes along.
            raise InvalidRequest(f"{reference} is not text") from None

    def _from_system_keyring(self, place: str, reference: str) -> str:
        service, slash, name = place.rpartition("/")
        if not slash or not service or not name:
            raise InvalidRequest(f"{reference} is malformed: write keyring:SERVICE/NAME")
        found: list[str | None] = []
        failed: list[KeyringUnusable] = []

        def ask() -> None:
            try:
                found.append(self._from_keyring(service, name))
            except KeyringUnusable as error:
                failed.append(error)

        # A locked keyring asks its owner, who may not be there; nothing else bounds that wait.
        asking = threading.Thread(target=ask, name="keyring", daemon=True)
        asking.start()
        asking.join(_KEYRING_TIMEOUT_S)
        if failed:
            raise InvalidRequest(f"{reference}: the keyring cannot be used here; use env: or file:") from failed[0]
        if not found:
            raise InvalidRequest(f"{reference}: the keyring did not answer; it may be locked")
        if found[0] is None:
            raise InvalidRequest(f"{reference}: the keyring has no such entry")
        return found[0]
