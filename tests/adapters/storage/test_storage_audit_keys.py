import stat
from pathlib import Path

import pytest

from adapters.storage.audit.keys import load_audit_keys, load_or_create_audit_keys
from gateway.core.errors import Unavailable


def test_keys_are_made_once_and_are_their_owners_only(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    assert load_audit_keys(directory) is None
    made = load_or_create_audit_keys(directory)
    again = load_audit_keys(directory)
    assert again is not None
    assert (again.digest, again.public) == (made.digest, made.public)
    assert {stat.S_IMODE(each.stat().st_mode) for each in directory.iterdir()} == {0o600}
    assert len(list(directory.iterdir())) == 2


def test_keys_do_not_show_themselves(tmp_path: Path) -> None:
    keys = load_or_create_audit_keys(tmp_path)
    assert keys.digest.hex() not in repr(keys)
    assert repr(keys.digest) not in repr(keys)


def test_a_damaged_key_is_refused_and_not_replaced(tmp_path: Path) -> None:
    load_or_create_audit_keys(tmp_path)
    (tmp_path / "audit-digest.key").write_bytes(b"short")
    with pytest.raises(Unavailable):
        load_or_create_audit_keys(tmp_path)
    assert (tmp_path / "audit-digest.key").read_bytes() == b"short"


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(Unavailable, match="keys"):
        load_or_create_audit_keys(tmp_path / "keys")
