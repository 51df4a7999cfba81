"""The keys a gateway signs with: its own, or the same in every process that has the secret."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from adapters.identity.keyset import KeySet, key_set_from_files, key_set_from_secret
from gateway.core.errors import InvalidRequest
from gateway.core.ports.world import Secret

SECRET = Secret("3f9c1e7ab2d845069b1c77e0aa4f55d0")


def keys_of(key_set: KeySet) -> set[bytes]:
    return {key_set.pepper, key_set.delegation, key_set.state, key_set.accounts}


def test_keys_in_files_are_made_once(tmp_path: Path) -> None:
    first = key_set_from_files(tmp_path)

    assert key_set_from_files(tmp_path) == first
    names = {"pepper", "delegation.key", "state.key", "accounts.key"}
    assert {each.name for each in tmp_path.iterdir()} == names
    assert [len(each) for each in keys_of(first)] == [32] * 4


def test_the_same_secret_gives_the_same_keys_and_each_is_another() -> None:
    first = key_set_from_secret(SECRET)

    assert key_set_from_secret(Secret(SECRET.reveal())) == first
    assert [len(each) for each in keys_of(first)] == [32] * 4
    assert not keys_of(first) & keys_of(key_set_from_secret(Secret(SECRET.reveal() + "0")))


def test_a_fingerprint_tells_sets_apart_and_shows_none_of_their_keys(tmp_path: Path) -> None:
    derived, kept = key_set_from_secret(SECRET), key_set_from_files(tmp_path)

    assert derived.fingerprint == key_set_from_secret(SECRET).fingerprint != kept.fingerprint
    assert not any(key.hex() in derived.fingerprint for key in keys_of(derived))
    assert SECRET.reveal() not in repr(derived)
    assert str(derived.pepper) not in repr(derived)


@pytest.mark.parametrize("name", [each.name for each in fields(KeySet)])
def test_a_set_in_which_any_one_key_is_another_has_another_fingerprint(name: str) -> None:
    first = key_set_from_secret(SECRET)

    assert replace(first, **{name: bytes(32)}).fingerprint != first.fingerprint


@pytest.mark.parametrize("weak", ["3f9c1e7ab2d84506", "abcabcabcabcabcabcabcabcabcabcabcabc", "password" * 6, "ü" * 40])
def test_a_weak_secret_is_refused_and_not_repeated(weak: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        key_set_from_secret(Secret(weak))

    assert weak not in refused.value.message
