"""What a record keeps of a body: size, digest, and where configured the masked text itself. Pure.

The digest is HMAC-SHA-256(audit key, tenant, zero byte, bytes), in hexadecimal. The bytes are the body's own as they
came, or its content as JSON where it never was on a wire. Keyed, because a plain hash of a short answer ("yes", an
amount, a name) is found by trying; with the tenant in it, because equal digests would tell one tenant about another.
"""

import hashlib
from dataclasses import dataclass

import msgspec

from adapters.storage.audit.masking import Masker
from gateway.core.content import Body, Content, Part
from gateway.core.errors import GatewayError
from gateway.core.json import Json, JsonObject

_BLOCK_BYTES = 64
_TENANTS = 1024
_CUT_MARGIN = 512
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Kept:
    """A body to be stored under its digest."""

    digest: str
    body: bytes
    """Masked JSON: `structured`, `parts`, `metadata`, or `cut` with the first characters of it."""


class Digests:
    """HMAC-SHA-256 from two prepared states: a third of the price of `hmac.digest`, which begins anew each time."""

    def __init__(self, key: bytes) -> None:
        padded = (key if len(key) <= _BLOCK_BYTES else hashlib.sha256(key).digest()).ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))
        self._tenants = {"": self._begun("")}

    def of(self, tenant: str, data: bytes) -> str:
        """The digest of a tenant's bytes."""
        begun = self._tenants.get(tenant)
        if begun is None:
            begun = self._begun(tenant)
            if len(self._tenants) >= _TENANTS:
                self._tenants.clear()
            self._tenants[tenant] = begun
        inner = begun.copy()
        inner.update(data)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()

    def _begun(self, tenant: str):  # the type of a hash has no public name
        begun = self._inner.copy()
        begun.update(tenant.encode("utf-8", "replace") + b"\0")
        return begun


def bytes_of(body: Body) -> bytes:
    """A body's own bytes where it still has them (`raw`, or `members` of raw JSON), else its content as JSON.

    Raises: GatewayError: it says nothing valid.
    """
    raw = getattr(body, "raw", None)
    if isinstance(raw, bytes):
        return raw
    members = getattr(body, "members", None)
    if isinstance(members, dict):
        return _encode(members)
    return _encode(_json_of(body.content()))


def kept_of(body: Body, digest: str, masker: Masker, most_bytes: int) -> Kept | None:
    """What is stored of a body; None if it says nothing valid."""
    try:
        said = _json_of(body.content(), most_bytes + _CUT_MARGIN)
    except GatewayError:
        return None
    encoded = _encode(masker.value(said))
    if len(encoded) > most_bytes:
        # Cut by characters of the masked JSON, so that what is cut can be no half of a secret.
        start = encoded[: most_bytes // 2].decode("utf-8", "ignore")
        encoded = _encode({"cut": start, "bytes": len(encoded)})
    return Kept(digest, encoded)


def _json_of(content: Content, most_chars: int | None = None) -> JsonObject:
    said: JsonObject = {}
    if content.structured is not None:
        said["structured"] = content.structured
    parts: list[Json] = [
        _json_of_part(part, most_chars)
        for part in content.parts
        if part.data is None or part.data is not content.structured
    ]
    if parts:
        said["parts"] = parts
    if content.metadata:
        said["metadata"] = dict(content.metadata)
    return said


def _json_of_part(part: Part, most_chars: int | None) -> JsonObject:
    match part.kind:
        case "text":
            said: JsonObject = {"text": part.text[:most_chars]}
        case "data":
            said = {"data": part.data}
        case "url":
            said = {"url": part.url}
        case "raw":
            # Nobody reads an image in a log, and no mask sees into one.
            said = {"raw": part.raw} if most_chars is None else {"raw_bytes": len(part.raw) * 3 // 4}
    if part.media_type:
        said["media_type"] = part.media_type
    if part.name:
        said["name"] = part.name
    if part.metadata:
        said["metadata"] = dict(part.metadata)
    return said
