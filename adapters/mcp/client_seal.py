"""Seals what a server wants back with the next round, so that only the same caller can bring it, to the same call.

A server binds its state to the credential it sees, which is the gateway's: without the seal, what it handed to one
caller could be presented by another.
"""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from adapters.mcp.client_wire import NotMcp
from adapters.mcp.wire import decode_value, encode
from gateway.core.errors import InvalidRequest
from gateway.core.json import canonical_json, json_object
from gateway.core.model import Capability, Request
from gateway.core.ports.world import Clock

VALID_S = 600
_NONCE_BYTES = 12


class Seal:
    """Encrypts and authenticates (RFC 8439) under one key of 32 bytes, which has to outlive the process."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._clock = clock

    def close(self, state: str | None, request: Request, capability: Capability) -> str:
        """`state` (None where the server gave none) for this caller, this capability and these arguments only."""
        inside = encode({"until_us": self._clock.now_us() + VALID_S * 1_000_000, "state": state})
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, inside, _bound_to(request, capability))
        return urlsafe_b64encode(nonce + sealed).decode()

    def open(self, request: Request, capability: Capability) -> str | None:
        """The state sealed in `request.continuation`.

        Raises: InvalidRequest: not sealed here, for somebody or something else, or too long ago.
        """
        try:
            raw = urlsafe_b64decode(request.continuation.encode())
            inside = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound_to(request, capability))
            said = json_object(decode_value(inside))
        except (InvalidTag, ValueError, *NotMcp) as error:
            raise _invalid() from error
        until_us, state = said.get("until_us"), said.get("state")
        if not isinstance(until_us, int) or until_us < self._clock.now_us():
            raise _invalid()
        return state if isinstance(state, str) else None


def _bound_to(request: Request, capability: Capability) -> bytes:
    who = request.principal
    arguments = request.body.content().structured
    try:
        # The second round is not charged and not asked about again, so it must be the call of the first.
        digest = sha256(canonical_json(arguments)).hexdigest()
    except ValueError:
        digest = sha256(encode(arguments)).hexdigest()
    return encode([who.tenant, list(who.chain), capability.name, request.operation, digest])


def _invalid() -> InvalidRequest:
    return InvalidRequest("the requestState is not valid for this call, or not any more; begin the call again")
