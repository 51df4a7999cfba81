"""Seals what a server wants back with the next round, so that only the same caller can bring it, to the same call.

A server binds its state to the credential it sees, which is the gateway's: without the seal, what it handed to one
caller could be presented by another. The same holds for the ids of its tasks.
"""

import os
from base64 import b64decode, urlsafe_b64encode
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from adapters.mcp.client_wire import NotMcp
from adapters.mcp.wire import decode_value, encode
from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject, canonical_json, json_object
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
        inside: JsonObject = {"until_us": self._clock.now_us() + VALID_S * 1_000_000, "state": state}
        return self._sealed(inside, _bound_to_call(request, capability))

    def open(self, request: Request, capability: Capability) -> str | None:
        """The state sealed in `request.continuation`.

        Raises: InvalidRequest: not sealed here, for somebody or something else, or too long ago.
        """
        said = self._opened(request.continuation, _bound_to_call(request, capability))
        until_us, state = said.get("until_us"), said.get("state")
        if not isinstance(until_us, int) or until_us < self._clock.now_us():
            raise _not_this_call()
        return state if isinstance(state, str) else None

    def close_task(self, task_id: str, request: Request, capability: Capability) -> str:
        """A task's id for this caller only. How long it holds is the server's business."""
        return self._sealed({"task": task_id}, _bound_to_task(request, capability))

    def open_task(self, sealed: str, request: Request, capability: Capability) -> str:
        """The server's own id of a task. Raises: InvalidRequest: not sealed here, or for somebody else."""
        try:
            return str(self._opened(sealed, _bound_to_task(request, capability))["task"])
        except (InvalidRequest, KeyError) as error:
            raise InvalidRequest("there is no such task") from error

    def _sealed(self, inside: JsonObject, bound_to: bytes) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        return urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, encode(inside), bound_to)).decode()

    def _opened(self, sealed: str, bound_to: bytes) -> JsonObject:
        try:
            raw = b64decode(sealed, altchars=b"-_", validate=True)
            if urlsafe_b64encode(raw) != sealed.encode():
                raise _not_this_call()  # one state has one spelling
            return json_object(decode_value(self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound_to)))
        except (InvalidTag, ValueError, *NotMcp) as error:
            raise _not_this_call() from error


def _not_this_call() -> InvalidRequest:
    """Of the protocol, not of the call: `detail` names the member of the parameters that is wrong."""
    said = "the requestState is not valid for this call, or not any more; begin the call again"
    return InvalidRequest(said, detail={"member": "requestState"})


def _bound_to_call(request: Request, capability: Capability) -> bytes:
    who = request.principal
    arguments = request.body.content().structured
    try:
        # The second round is not charged and not asked about again, so it must be the call of the first.
        digest = sha256(canonical_json(arguments)).hexdigest()
    except ValueError:
        digest = sha256(encode(arguments)).hexdigest()
    return encode([who.tenant, list(who.chain), capability.name, request.operation, digest])


def _bound_to_task(request: Request, capability: Capability) -> bytes:
    who = request.principal
    return encode([who.tenant, list(who.chain), capability.name, "task"])
