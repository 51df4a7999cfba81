import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from adapters.storage.audit.checkpoint import Checkpoint, notes_from_text, opened, public_bytes, sign, verifier_key

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ROOT = hashlib.sha256(b"root").digest()
AT_US = 1_795_000_000_000_000
ORIGIN = "drawbridge.audit/00ff"


def test_a_note_says_what_was_signed() -> None:
    note = sign(ORIGIN, 17, ROOT, AT_US, KEY)
    expected = Checkpoint(origin=ORIGIN, size=17, root=ROOT, time="2026-11-18T11:06:40Z")
    assert opened(note, KEY.public_key()) == expected


def test_a_note_is_laid_out_as_c2sp_has_it() -> None:
    note = sign(ORIGIN, 17, ROOT, AT_US, KEY)
    text, signature = note.split("\n\n")
    assert text.splitlines()[:3] == [ORIGIN, "17", base64.b64encode(ROOT).decode()]
    dash, name, encoded = signature.rstrip("\n").split(" ")
    assert (dash, name) == ("\u2014", ORIGIN)
    key_id = hashlib.sha256(ORIGIN.encode() + b"\n\x01" + public_bytes(KEY.public_key())).digest()[:4]
    signed = base64.b64decode(encoded)
    assert signed[:4] == key_id
    KEY.public_key().verify(signed[4:], f"{text}\n".encode())


def test_the_verifier_key_is_what_c2sp_tools_take() -> None:
    name, key_id, encoded = verifier_key(ORIGIN, KEY.public_key()).split("+", 2)
    decoded = base64.b64decode(encoded)
    assert name == ORIGIN
    assert decoded[0] == 1
    assert Ed25519PublicKey.from_public_bytes(decoded[1:]) == KEY.public_key()
    assert hashlib.sha256(ORIGIN.encode() + b"\n" + decoded).hexdigest()[:8] == key_id


def test_nothing_but_the_right_key_and_the_very_text_opens_a_note() -> None:
    note = sign(ORIGIN, 17, ROOT, AT_US, KEY)
    assert opened(note, Ed25519PrivateKey.generate().public_key()) is None
    assert opened(note.replace("\n17\n", "\n18\n"), KEY.public_key()) is None
    assert opened(note.replace(" ed25519", " rot13"), KEY.public_key()) is None
    for broken in ("", "x", "a\n-1\nAA==\n\n", note[:-20], note.replace("\u2014 ", "- "), "a\n1\n!!\n\n\u2014 a b\n"):
        assert opened(broken, KEY.public_key()) is None


def test_a_witness_may_sign_too() -> None:
    note = sign(ORIGIN, 17, ROOT, AT_US, KEY)
    text, own = note.split("\n\n")
    witnessed = f"{text}\n\n\u2014 witness.example AAAAAAAA\n{own}"
    assert opened(witnessed, KEY.public_key()) == opened(note, KEY.public_key()) is not None


def test_an_export_is_taken_apart_into_its_notes() -> None:
    notes = [sign(ORIGIN, size, ROOT, AT_US, KEY) for size in (1, 2, 3)]
    assert list(notes_from_text("\n".join(notes))) == notes
    assert list(notes_from_text("\n" + notes[0] + "\n" + notes[1][:40])) == [
        notes[0],
        notes[1][:40].rstrip("\n") + "\n",
    ]
