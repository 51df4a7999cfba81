"""How keys are made and which are too weak."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.identity.apikeys import KeyGrant, KeyMint, key_id, new_key, weakness
from gateway.core.ports.storage import ApiKey

MINT = KeyMint(bytes(range(32)))
GRANT = KeyGrant(subject="ana", roles=frozenset({"support"}), expires_at_us=99, note="laptop")


def test_a_minted_key_has_the_documented_shape() -> None:
    key = MINT.mint(GRANT, 10).key.reveal()

    prefix, public, secret = key.split("_", 2)
    assert prefix == "dbk"
    assert 8 <= len(public) <= 12
    assert set(public) <= set(string.ascii_lowercase + string.digits)
    assert len(secret) == 43
    assert set(secret) <= set(string.ascii_letters + string.digits + "-_")
    assert weakness(key) == ""


def test_what_is_stored_is_the_grant_and_a_digest_and_never_the_key() -> None:
    minted = MINT.mint(GRANT, 10)
    key = minted.key.reveal()

    assert minted.stored == ApiKey(
        id=key_id(key.encode()),
        digest=MINT.digest(key.encode()),
        subject="ana",
        kind="client",
        tenant="default",
        roles=frozenset({"support"}),
        created_at_us=10,
        expires_at_us=99,
        note="laptop",
    )
    assert key.split("_", 2)[2] not in repr(minted)


def test_no_two_keys_are_alike() -> None:
    keys = {new_key() for _ in range(200)}

    assert len(keys) == len({key_id(key.encode()) for key in keys}) == 200


def test_another_pepper_gives_another_digest() -> None:
    key = new_key().encode()

    assert KeyMint(bytes(32)).digest(key) != MINT.digest(key)
    assert MINT.digest(key) == KeyMint(bytes(range(32))).digest(key)


@given(st.binary(max_size=80))
def test_anything_can_be_asked_for_its_id(noise: bytes) -> None:
    assert isinstance(key_id(noise), str)


@pytest.mark.parametrize(
    "other", [b"", b"dbk", b"dbk__", b"dbk_abcdefghij", b"dbk_abcdefghij_short", b"gwk_abcdefghij_" + b"x" * 43]
)
def test_a_key_of_another_shape_has_no_id(other: bytes) -> None:
    assert key_id(other) == ""


@pytest.mark.parametrize(
    "key",
    [
        "",
        "hunter2",
        "fifteen-charact",
        "a" * 64,
        "abcabcabcabcabcabcabcabc",
        "k7f-20xkk7f-20xkk7f-20xk",
        "change-me-change-me-now",
        "drawbridge-admin-password",
        "my-secret-api-key-123456",
        "with space in the middle of it",
        "schlüssel-mit-umlaut-9271-xyz",
        "line\nbreak-0123-zyxw-9876",
    ],
)
def test_a_weak_key_is_called_weak_without_being_repeated(key: str) -> None:
    reason = weakness(key)

    assert reason
    assert not key or key not in reason


@pytest.mark.parametrize("key", ["dZ4-kQ8vT1mXpL6w", "3f9c1e7ab2d84506f1c7e2a9", "correct-horse-battery-staple"])
def test_a_key_that_is_hard_to_guess_is_not_called_weak(key: str) -> None:
    assert weakness(key) == ""
