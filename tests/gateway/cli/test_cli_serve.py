"""A real gateway from the command line, and the commands that ask it."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.failure import FINDING, OK, UNREACHABLE, USAGE
from gateway.cli.main import main

pytestmark = pytest.mark.e2e

CONFIG = """\
gateway: {port: 0}
roles:
  support: {allow: ["tool:orders/*"], deny: ["tool:orders/refund"]}
principals:
  ana: {roles: [support], key: "file:ana.key"}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which a gateway runs."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "gateway.yaml").write_text(CONFIG)
    (folder / "ana.key").write_text("k8Xq2LmZv0TrYw5NsPd7\n")
    command = [sys.executable, "-m", "gateway", "serve", "--json"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["url"].startswith("http://127.0.0.1:")
        yield folder
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == OK


@pytest.fixture
def ask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    capsys.readouterr()
    main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("ask")
def test_a_key_minted_at_run_time_is_listed_and_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    minted = said(capsys, "keys", "mint", "bea", "--role", "support", "--show")
    assert str(minted["secret"]).startswith("dbk_")
    assert "bea" in json.dumps(said(capsys, "keys", "list"))
    recorded = json.dumps(said(capsys, "audit", "search", "keys.mint"))
    assert "rec_" in recorded
    assert str(minted["secret"]) not in recorded


@pytest.mark.usefixtures("ask")
def test_the_running_gateway_explains_as_the_file_does(capsys: pytest.CaptureFixture[str]) -> None:
    question = ("explain", "--as", "ana", "--call", "tool:orders/refund")
    offline, online = said(capsys, *question), said(capsys, *question, "--online")
    for member in ("decision", "rule", "line", "change", "file"):
        assert offline[member] == online[member]
    assert (offline["decision"], offline["rule"]) == ("deny", "support.deny[0]")
    assert main([*question]) == FINDING


@pytest.mark.usefixtures("ask")
def test_doctor_finds_a_running_gateway_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    healthy = said(capsys, "doctor")
    assert healthy["healthy"] is True
    assert "answers at" in json.dumps(healthy)


@pytest.mark.usefixtures("ask")
def test_connecting_a_client_goes_through_the_running_gateway(capsys: pytest.CaptureFixture[str], ask: Path) -> None:
    assert main(["connect", "vscode"]) == OK
    server = json.loads((ask / ".vscode" / "mcp.json").read_text())["servers"]["drawbridge"]
    listed = json.dumps(said(capsys, "keys", "list"))
    assert server["headers"]["Authorization"].split("_")[1] in listed


def test_a_desktop_client_talks_through_the_relay(ask: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(ask))
    assert main(["connect", "claude-desktop"]) == OK
    written = json.loads(next(ask.rglob("claude_desktop_config.json")).read_text())["mcpServers"]["drawbridge"]
    hello: dict[str, object] = {"protocolVersion": "2025-11-25", "capabilities": {}}
    hello["clientInfo"] = {"name": "t", "version": "1"}
    sent = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    done = subprocess.run(
        [written["command"], *written["args"]],
        input="".join(json.dumps(each) + "\n" for each in sent),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    answers = {each.get("id"): each for each in map(json.loads, done.stdout.splitlines())}
    assert answers[1]["result"]["serverInfo"]["name"]
    assert answers[2]["result"]["tools"] == []


@pytest.mark.usefixtures("ask")
def test_an_agent_at_a_forbidden_address_is_refused_with_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agents", "add", "http://169.254.169.254/"]) == FINDING
    assert "169.254" not in capsys.readouterr().err
    assert main(["agents", "list"]) == OK


def test_a_second_gateway_on_the_same_data_is_refused(ask: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve"], cwd=ask, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == FINDING
    assert "another gateway" in done.stderr


def test_serving_a_wrong_configuration_says_where_it_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("princpals: {}\n")
    command = [sys.executable, "-m", "gateway", "serve"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == USAGE
    assert "gateway.yaml:1:1" in done.stderr
    assert "did you mean 'principals'?" in done.stderr


def test_serving_without_a_configuration_names_init(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--config", str(tmp_path / "none.yaml")]) == USAGE
    assert "drawbridge init" in capsys.readouterr().err


def test_nothing_is_asked_of_a_gateway_that_is_gone(tmp_path: Path) -> None:
    assert main(["runs", "list", "--data", str(tmp_path)]) == UNREACHABLE
