"""Signed statements "this log had this many records, with this root". Pure.

The text is a C2SP checkpoint (tlog-checkpoint): origin, size, root in base64, then our extension lines `algorithm` and
`time`. The envelope is a C2SP signed note: a blank line, then `— name base64(key id + signature)`. The key id is the
first four bytes of SHA-256(name, line feed, algorithm byte, public key); 0x01 stands for Ed25519. Other signatures on
the same note, a witness's for example, are left alone, so the algorithm can change without breaking old notes.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_ED25519 = b"\x01"
_DASH = "\u2014 "


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes
    time: str
    """RFC 3339, as the signer's clock said; empty where the note does not tell."""


def sign(origin: str, size: int, root: bytes, at_us: int, key: Ed25519PrivateKey) -> str:
    """The note that states size and root; the signature's name is the origin."""
    time = datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"{origin}\n{size}\n{_base64(root)}\nalgorithm sha256 ed25519\ntime {time}\n"
    signature = key.sign(text.encode())
    return f"{text}\n{_DASH}{origin} {_base64(_key_id(origin, key.public_key()) + signature)}\n"


def opened(note: str, key: Ed25519PublicKey) -> Checkpoint | None:
    """What a note states, or None unless it is a checkpoint with a valid signature of this key."""
    text, blank, signatures = note.partition("\n\n")
    text += "\n"
    checkpoint = _checkpoint_from_text(text)
    if not blank or checkpoint is None:
        return None
    wanted = _key_id(checkpoint.origin, key)
    for line in signatures.splitlines():
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        signed = _bytes(encoded)
        if line.startswith(_DASH) and name == checkpoint.origin and signed is not None and signed[:4] == wanted:
            try:
                key.verify(signed[4:], text.encode())
            except InvalidSignature:
                return None
            return checkpoint
    return None


def notes_from_text(text: str) -> Iterator[str]:
    """The notes of an export file, one after another; what is cut off at the end comes as it stands."""
    note: list[str] = []
    for line in text.splitlines():
        ended = len(note) > 0 and note[-1].startswith(_DASH) and not line.startswith(_DASH)
        if ended:
            yield "\n".join(note) + "\n"
            note = []
        if note or line:
            note.append(line)
    if note:
        yield "\n".join(note) + "\n"


def verifier_key(origin: str, key: Ed25519PublicKey) -> str:
    """The public key as C2SP tools take it: `name+key id+base64(algorithm, key)`."""
    return f"{origin}+{_key_id(origin, key).hex()}+{_base64(_ED25519 + public_bytes(key))}"


def public_bytes(key: Ed25519PublicKey) -> bytes:
    """The 32 bytes of a public key."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _checkpoint_from_text(text: str) -> Checkpoint | None:
    lines = text.splitlines()
    if len(lines) < 3 or not lines[1].isascii() or not lines[1].isdecimal():
        return None
    root = _bytes(lines[2])
    if root is None or len(root) != 32:
        return None
    time = next((line.removeprefix("time ") for line in lines[3:] if line.startswith("time ")), "")
    return Checkpoint(origin=lines[0], size=int(lines[1]), root=root, time=time)


def _key_id(name: str, key: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public_bytes(key)).digest()[:4]


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(encoded: str) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
