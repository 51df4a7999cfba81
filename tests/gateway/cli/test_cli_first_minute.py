"""What a new user does, in the order they do it; no gateway runs."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from adapters.identity.apikeys import key_id, weakness
from gateway.cli.failure import FINDING, OK, USAGE
from gateway.cli.main import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which the user stands, and a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "DRAWBRIDGE_CONFIG", "DRAWBRIDGE_DATA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_init_writes_a_configuration_that_check_finds_right(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--as", "ana"]) == OK
    assert "drawbridge connect claude-code" in capsys.readouterr().out
    assert main(["check"]) == OK
    key = (home / ".drawbridge" / "keys" / "ana.key").read_text().strip()
    assert weakness(key) == ""
    assert key not in (home / "gateway.yaml").read_text()
    assert (home / ".drawbridge" / ".gitignore").read_text() == "*\n"
    first = (home / "gateway.yaml").read_text().splitlines()[0]
    schema = json.loads((home / first.rpartition("$schema=")[2]).read_text())
    assert "principals" in schema["properties"]


def test_init_takes_over_a_clients_servers_and_hides_their_secrets(home: Path) -> None:
    servers = {"Git": {"command": "git-mcp", "args": ["--all"], "env": {"GIT_TOKEN": "t0ps3cret"}}}
    (home / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    assert main(["init", "--as", "ana", "--from", "mcp.json"]) == OK
    text = (home / "gateway.yaml").read_text()
    assert "t0ps3cret" not in text
    reference = yaml.safe_load(text)["servers"]["git"]["env"]["GIT_TOKEN"]
    file = home / reference.removeprefix("file:")
    assert file.read_text() == "t0ps3cret\n"
    assert file.stat().st_mode & 0o077 == 0
    assert main(["check"]) == OK


def test_init_never_replaces_a_configuration(home: Path) -> None:
    (home / "gateway.yaml").write_text("roles: {}\n")
    assert main(["init"]) == USAGE
    assert (home / "gateway.yaml").read_text() == "roles: {}\n"


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"mcpServers": {}}'])
def test_init_from_a_file_without_servers_writes_nothing(text: str, home: Path) -> None:
    (home / "mcp.json").write_text(text)
    assert main(["init", "--from", "mcp.json"]) == USAGE
    assert [each.name for each in home.iterdir()] == ["mcp.json"]


def test_check_names_file_line_column_and_what_was_meant(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "gateway.yaml").write_text("roles:\n  support: {allow: ['*']}\nprincipals:\n  ana: {roles: [suport]}\n")
    assert main(["check"]) == FINDING
    said = capsys.readouterr().out
    assert f"{home / 'gateway.yaml'}:4:" in said
    assert "did you mean 'support'?" in said
    assert main(["check", "--json"]) == FINDING
    problem = json.loads(capsys.readouterr().out)["problems"][0]
    assert (problem["line"], problem["suggestion"]) == (4, "support")


def test_check_warns_of_messages_that_start_a_workflow_as_somebody_who_may_not(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """\
buses:
  mail: {url: "memory:", topics: {orders: {}, done: {}}}
workflows:
  intake:
    pattern: sequential
    stages: [{tool: mail/done}]
    started_by: [{bus: mail, topic: orders, principal: mailroom}]
roles:
  clerk: {allow: ["ALLOWED"]}
principals:
  mailroom: {roles: [clerk]}
"""
    for allowed in ("tool:mail/*", "workflow:intake", "workflow:*"):
        (home / "gateway.yaml").write_text(text.replace("ALLOWED", allowed))
        assert main(["check", "--json"]) == OK
        problems = json.loads(capsys.readouterr().out)["problems"]
        denied = [each for each in problems if "may not call workflow 'intake'" in each["message"]]
        assert len(denied) == (1 if allowed == "tool:mail/*" else 0)
    assert denied == []


def test_check_finds_a_pattern_that_is_not_installed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "gateway.yaml").write_text("workflows: {help: {pattern: nonesuch, description: x}}\n")
    assert main(["check"]) == FINDING
    assert "nonesuch" in capsys.readouterr().out


def test_connect_writes_the_clients_file_with_a_key_of_its_own(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", "--as", "ana"])
    assert main(["connect", "claude-code"]) == OK
    server = json.loads((home / ".mcp.json").read_text())["mcpServers"]["drawbridge"]
    key = server["headers"]["Authorization"].removeprefix("Bearer ")
    said = capsys.readouterr()
    assert server["url"] == "http://127.0.0.1:8640/mcp"
    assert f"drawbridge keys revoke {key_id(key.encode())}" in said.out
    assert key not in said.out + said.err
    assert "drawbridge serve" in said.err


def test_connect_to_the_desktop_keeps_the_key_where_the_relay_looks(home: Path) -> None:
    main(["init", "--as", "ana"])
    assert main(["connect", "claude-desktop"]) == OK
    kept = home / ".drawbridge" / "keys" / "client-claude-desktop.key"
    assert kept.stat().st_mode & 0o077 == 0
    written = next((home / "home").rglob("claude_desktop_config.json")).read_text()
    assert kept.read_text().strip() not in written
    assert str(home / "gateway.yaml") in written


def test_connect_that_prints_into_a_pipe_shows_and_mints_no_key(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", "--as", "ana"])
    capsys.readouterr()
    assert main(["connect", "cursor", "--print"]) == OK
    headers = json.loads(capsys.readouterr().out)["mcpServers"]["drawbridge"]["headers"]
    assert headers == {"Authorization": "Bearer YOUR-DRAWBRIDGE-KEY"}
    assert not (home / ".cursor").exists()
    assert not (home / ".drawbridge" / "gateway.db").exists()


def test_connect_asks_which_of_several_principals(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "gateway.yaml").write_text(
        "roles: {r: {allow: ['*']}}\nprincipals: {ana: {roles: [r]}, bea: {roles: [r]}}\n"
    )
    assert main(["connect", "cursor"]) == USAGE
    assert "--as" in capsys.readouterr().err
    assert main(["connect", "cursor", "--as", "cai"]) == USAGE
    assert main(["connect", "cursor", "--as", "bea"]) == OK


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A port of this machine that is nobody else's: who connects is turned away until somebody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held


def test_doctor_finds_open_files_missing_secrets_and_a_gateway_that_is_down(
    home: Path, taken: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["init", "--as", "ana"])
    (home / ".drawbridge" / "keys" / "ana.key").chmod(0o644)
    config = home / "gateway.yaml"
    text = config.read_text().replace("file:.drawbridge/keys/ana.key", "env:NO_SUCH_VARIABLE")
    config.write_text(f"{text}\ngateway: {{port: {taken.getsockname()[1]}}}\n")
    capsys.readouterr()
    assert main(["doctor", "--json"]) == FINDING
    found = {each["about"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    assert found["configuration"]["level"] == "ok"
    assert "NO_SUCH_VARIABLE" in found["principals.ana.key"]["text"]
    assert "chmod 600" in found["files"]["hint"]
    assert "drawbridge serve" in found["gateway"]["hint"]


def test_doctor_tells_a_gateway_that_is_down_from_a_port_that_is_taken(
    home: Path, taken: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["init", "--as", "ana"])
    config = home / "gateway.yaml"
    config.write_text(f"{config.read_text()}\ngateway: {{port: {taken.getsockname()[1]}}}\n")
    taken.listen()
    capsys.readouterr()
    assert main(["doctor", "--json"]) == FINDING
    found = {each["about"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    assert found["gateway"]["level"] == "error"
    assert "gateway.port" in found["gateway"]["hint"]


def test_the_schema_is_printed_for_editors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == OK
    assert "workflows" in json.loads(capsys.readouterr().out)["properties"]
