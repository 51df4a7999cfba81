"""Files that hold key material."""

from pathlib import Path

import pytest

from adapters.identity.apikeys import new_key
from adapters.identity.keyfiles import operator_key, random_key
from gateway.core.errors import InvalidRequest, Unavailable


def test_a_key_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    key = random_key(path)

    assert len(key) == 32
    assert random_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["pepper"]


def test_two_places_have_two_keys(tmp_path: Path) -> None:
    assert random_key(tmp_path / "a") != random_key(tmp_path / "b")


def test_a_key_file_open_to_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    random_key(path)
    path.chmod(0o640)

    with pytest.raises(InvalidRequest, match="chmod 600"):
        random_key(path)


def test_a_damaged_key_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    random_key(path)
    path.write_bytes(b"short")

    with pytest.raises(InvalidRequest, match="damaged"):
        random_key(path)
    assert path.read_bytes() == b"short"


def test_a_folder_that_is_missing_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        random_key(tmp_path / "missing" / "pepper")


def test_the_operators_key_is_shown_once(tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    first = operator_key(path, new_key)
    again = operator_key(path, new_key)

    assert first.created
    assert not again.created
    assert again.key.reveal() == first.key.reveal() == path.read_text().strip()
    assert path.stat().st_mode & 0o777 == 0o600
    assert first.key.reveal() not in repr(first)


def test_an_operators_key_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    operator_key(path, new_key)
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(InvalidRequest, match="damaged"):
        operator_key(path, new_key)
