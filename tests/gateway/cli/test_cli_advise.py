"""`drawbridge advise`, offline."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.commands.advise import app
from gateway.cli.failure import USAGE, Failure

RUNNER = CliRunner()


def test_traits_by_option_and_file_name_a_pattern_and_a_start(tmp_path: Path) -> None:
    file = tmp_path / "traits.yaml"
    file.write_text("specialists: 3\nsteps: 5\n")
    said = RUNNER.invoke(app, ["--traits", str(file), "--set", "dependencies=chain"])
    assert said.exit_code == 0, said.output
    assert said.stdout.startswith("sequential\n")
    assert "pattern: sequential" in said.stdout


def test_json_has_everything() -> None:
    said = RUNNER.invoke(app, ["--set", "intents=3", "--set", "specialists=3", "--set", "steps=3", "--json"])
    advice = json.loads(said.stdout)
    assert advice["pattern"] == "supervisor"
    assert set(advice["prediction"]) == {"calls", "latencyS", "costUsd", "success"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "intent=3"], "there is no trait 'intent' (did you mean 'intents'?)"),
        (["--set", "=3"], "there is no trait ''"),
        (["--set", "intents={"], "intents: '{' cannot be read as YAML"),
        (["--traits", "latin"], "latin cannot be read as YAML"),
        (["--run", "run_1", "--set", "intents=3"], "a record is advised on, or traits"),
    ],
)
def test_what_cannot_be_advised_on_is_said(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "latin").write_bytes(b"intents: 3 # \xff\n")
    monkeypatch.chdir(tmp_path)
    result = RUNNER.invoke(app, arguments)
    assert isinstance(result.exception, Failure)
    assert (result.exception.code, result.exception.message) == (USAGE, said)


def test_what_is_no_trait_is_refused_by_name() -> None:
    for wrong in ("intents", "intentions=3", "step_success=2"):
        said = RUNNER.invoke(app, ["--set", wrong])
        assert said.exit_code != 0
        assert wrong.partition("=")[0] in str(said.exception)
