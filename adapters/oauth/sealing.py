"""Values that only the gateway can read and nobody can make: what it hands out to come back, and what it stores."""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gateway.core.json import Json, JsonObject

_NONCE_BYTES = 12
LONGEST = 8 * 1024


class Broken(Exception):
    """It was not sealed here, or for something else."""


class Sealing:
    """Encrypts and authenticates (RFC 8439) under one key of 32 bytes; `about` says what a value is, and of whom."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)

    def close(self, value: JsonObject, about: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, orjson.dumps(value), about.encode())

    def open(self, sealed: bytes, about: str) -> JsonObject:
        """Raises: Broken."""
        try:
            raw = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about.encode())
            said: Json = orjson.loads(raw)
        except (InvalidTag, ValueError) as error:
            raise Broken from error
        if not isinstance(said, dict):
            raise Broken
        return said

    def close_text(self, value: JsonObject, about: str) -> str:
        """As `close`, to go into an address."""
        return urlsafe_b64encode(self.close(value, about)).rstrip(b"=").decode()

    def open_text(self, text: str, about: str) -> JsonObject:
        """Raises: Broken."""
        if len(text) > LONGEST or not text.isascii():
            raise Broken
        try:
            sealed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError as error:
            raise Broken from error
        return self.open(sealed, about)
