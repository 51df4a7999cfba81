"""The data directory."""

import json
from pathlib import Path

import pytest

from adapters.storage.directory import DataDirectory, Endpoint, data_directory
from gateway.core.errors import InvalidRequest, Unavailable

ENDPOINT = Endpoint(url="http://127.0.0.1:8640", pid=4711, started_at_us=1_700_000_000_000_000)


def test_an_option_wins_over_the_environment_and_that_over_the_configurations_folder(tmp_path: Path) -> None:
    configuration = tmp_path / "conf" / "gateway.yaml"
    environment = {"DRAWBRIDGE_DATA": str(tmp_path / "env")}

    option = data_directory(tmp_path / "option", configuration=configuration, environment=environment)
    variable = data_directory(None, configuration=configuration, environment=environment)
    beside = data_directory(None, configuration=configuration, environment={"DRAWBRIDGE_DATA": ""})

    assert option.root == tmp_path / "option"
    assert variable.root == tmp_path / "env"
    assert beside.root == tmp_path / "conf" / ".drawbridge"


def test_without_a_configuration_it_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert data_directory(None, configuration=None, environment={}).root == tmp_path / ".drawbridge"


def test_it_is_made_closed_to_others(tmp_path: Path) -> None:
    directory = DataDirectory(root=tmp_path / "deep" / "data")
    directory.prepare()
    directory.prepare()

    assert directory.root.stat().st_mode & 0o777 == 0o700
    assert directory.keys.stat().st_mode & 0o777 == 0o700


def test_an_open_one_of_ours_is_closed(tmp_path: Path) -> None:
    directory = DataDirectory(root=tmp_path)
    for name in ("gateway.db", "gateway.db-wal", "gateway.db.schema-1.bak", "endpoint.json"):
        (tmp_path / name).touch()
    tmp_path.chmod(0o755)

    directory.prepare()

    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_an_open_folder_of_somebody_elses_is_refused_and_left_open(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)

    with pytest.raises(InvalidRequest, match=r"thesis\.tex"):
        DataDirectory(root=tmp_path).prepare()

    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()

    with pytest.raises(InvalidRequest, match="not a directory"):
        DataDirectory(root=tmp_path / "data").prepare()


def test_a_place_where_none_can_be_is_said_to_be_unusable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Unavailable):
        DataDirectory(root=tmp_path / "file" / "data").prepare()


def test_what_one_gateway_writes_its_commands_read(tmp_path: Path) -> None:
    directory = DataDirectory(root=tmp_path)
    assert directory.read_endpoint() is None

    directory.write_endpoint(Endpoint(url="http://old", pid=1, started_at_us=1))
    directory.write_endpoint(ENDPOINT)

    assert directory.read_endpoint() == ENDPOINT
    assert directory.endpoint.stat().st_mode & 0o777 == 0o600
    assert json.loads(directory.endpoint.read_text()) == {
        "url": "http://127.0.0.1:8640",
        "pid": 4711,
        "started_at_us": 1_700_000_000_000_000,
    }
    assert [each.name for each in tmp_path.iterdir()] == ["endpoint.json"]


def test_a_note_taken_away_is_gone(tmp_path: Path) -> None:
    directory = DataDirectory(root=tmp_path)
    directory.write_endpoint(ENDPOINT)

    directory.remove_endpoint()
    directory.remove_endpoint()

    assert directory.read_endpoint() is None


@pytest.mark.parametrize(
    "note", ["", "{", "[]", "null", '{"url": "x"}', '{"url": "x", "pid": "y", "started_at_us": 1}']
)
def test_a_note_that_makes_no_sense_counts_as_none(tmp_path: Path, note: str) -> None:
    directory = DataDirectory(root=tmp_path)
    directory.endpoint.write_text(note)

    assert directory.read_endpoint() is None


def test_a_note_that_cannot_be_written_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        DataDirectory(root=tmp_path / "missing").write_endpoint(ENDPOINT)


def test_everything_lies_in_the_directory(tmp_path: Path) -> None:
    directory = DataDirectory(root=tmp_path)
    places = [
        *(directory.gateway_db, directory.audit_db, directory.runs_db, directory.scratch_db, directory.lock),
        *(directory.keys, directory.operator_key, directory.endpoint),
    ]

    assert len(set(places)) == len(places)
    assert all(tmp_path in place.parents for place in places)
