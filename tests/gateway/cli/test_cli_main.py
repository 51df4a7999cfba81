"""The command line as scripts see it: lazy start, exit codes, errors as sentences or JSON."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

from gateway.cli.failure import FINDING, INTERNAL, UNREACHABLE, USAGE, Failure, exit_code, report
from gateway.cli.main import COMMANDS, main
from gateway.core.errors import ERRORS

HEAVY = (
    "pydantic",
    "starlette",
    "sqlalchemy",
    "httpx2",
    "dbos",
    "mcp",
    "a2a",
    "cedarpy",
    "rich.console",
    "gateway.app",
)


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=180, check=False)


def test_help_imports_no_part_of_the_gateway() -> None:
    script = (
        "import sys; from gateway.cli.main import main; code = main(['--help']);"
        f"print([name for name in {HEAVY!r} if name in sys.modules], code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=180, check=True)
    assert done.stderr.strip() == "[] 0"
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_named_in_the_help_exists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(import_module(f"gateway.cli.commands.{name}").app, typer.Typer)
    assert main([name, "--help"]) == 0
    assert f"Usage: drawbridge {name}" in capsys.readouterr().out


def test_wrong_usage_exits_with_2_and_suggests_the_right_word(tmp_path: Path) -> None:
    done = run("serv", cwd=tmp_path)
    assert done.returncode == USAGE
    assert "'serve'" in done.stderr


def test_without_a_gateway_an_online_command_exits_with_3_and_says_what_to_do(tmp_path: Path) -> None:
    done = run("runs", "list", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (UNREACHABLE, "")
    assert "drawbridge serve" in done.stderr


def test_errors_are_json_on_stdout_when_json_is_asked_for(tmp_path: Path) -> None:
    done = run("tools", "list", "--json", cwd=tmp_path)
    assert done.returncode == UNREACHABLE
    assert json.loads(done.stdout)["error"]["exit"] == UNREACHABLE


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_of_the_gateway_has_an_exit_code(error: type[Exception]) -> None:
    each = next(known for known in ERRORS if known is error)
    assert exit_code(each("why")) in (FINDING, USAGE, UNREACHABLE, INTERNAL)


def test_an_unexpected_error_is_a_sentence_without_a_stack(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(RuntimeError("broken"), as_json=False) == INTERNAL
    said = capsys.readouterr().err
    assert "RuntimeError: broken" in said
    assert "Traceback" not in said


def test_a_failure_tells_its_hint_below(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(Failure("this went wrong", "Do that."), as_json=False) == FINDING
    assert capsys.readouterr().err == "drawbridge: this went wrong\n  Do that.\n"
