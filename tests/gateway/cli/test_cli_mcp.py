"""The stdio relay, as a desktop client starts it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.storage.directory import DataDirectory
from gateway.cli.failure import OK, USAGE
from gateway.cli.main import main

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a key for the client `desk`, and a port nothing listens on."""
    (tmp_path / "gateway.yaml").write_text("gateway: {port: 9}\n")
    data = DataDirectory(root=tmp_path / ".drawbridge")
    data.prepare()
    (data.keys / "client-desk.key").write_text("k\n")
    return tmp_path


@pytest.mark.e2e
def test_without_a_gateway_initialize_is_answered_by_what_to_do(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "mcp", "--client", "desk"],
        cwd=folder,
        input=json.dumps(INITIALIZE) + "\n",
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    (answer,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, answer["id"]) == (OK, 1)
    assert "drawbridge serve" in answer["error"]["message"]


def test_a_client_without_a_key_is_told_how_to_get_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--config", str(folder / "gateway.yaml")]
    assert main(["mcp", "--client", "other", *where]) == USAGE
    said = capsys.readouterr()
    assert (said.out, "drawbridge connect other" in said.err) == ("", True)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "", "."])
def test_a_client_name_never_leads_out_of_the_keys(name: str, folder: Path) -> None:
    assert main(["mcp", "--client", name, "--config", str(folder / "gateway.yaml")]) == USAGE
