"""What `connect` writes for each client, word for word, and that nothing a user has is lost."""

import json
from pathlib import Path

import pytest

from gateway.cli.adopt import write_setup
from gateway.cli.clients import ClientName, Connection, Machine, setup_for
from gateway.cli.failure import Failure
from gateway.core.json import JsonObject

CONNECTION = Connection(
    url="http://127.0.0.1:8640/mcp",
    key="dbk_1_secret",
    relay=("/opt/bin/drawbridge", "mcp", "--client", "claude-desktop"),
)
HTTP: JsonObject = {
    "type": "http",
    "url": "http://127.0.0.1:8640/mcp",
    "headers": {"Authorization": "Bearer dbk_1_secret"},
}
WANTED: dict[ClientName, tuple[str, JsonObject]] = {
    "claude-code": (".mcp.json", {"mcpServers": {"drawbridge": HTTP}}),
    "claude-desktop": (
        ".config/Claude/claude_desktop_config.json",
        {
            "mcpServers": {
                "drawbridge": {"command": "/opt/bin/drawbridge", "args": ["mcp", "--client", "claude-desktop"]}
            }
        },
    ),
    "cursor": (
        ".cursor/mcp.json",
        {"mcpServers": {"drawbridge": {"url": HTTP["url"], "headers": HTTP["headers"]}}},
    ),
    "vscode": (".vscode/mcp.json", {"servers": {"drawbridge": HTTP}}),
    "json": ("", {"mcpServers": {"drawbridge": HTTP}}),
}


def machine(root: Path, platform: str = "linux") -> Machine:
    return Machine(home=root, project=root, platform=platform, environment={"APPDATA": str(root / "Roaming")})


@pytest.mark.parametrize("client", WANTED)
def test_each_client_gets_its_own_format(client: ClientName, tmp_path: Path) -> None:
    setup = setup_for(client, CONNECTION, machine(tmp_path))
    file, document = WANTED[client]
    assert setup.file == (tmp_path / file if file else None)
    assert setup.document() == document


def test_claude_code_can_be_told_by_its_own_command(tmp_path: Path) -> None:
    assert setup_for("claude-code", CONNECTION, machine(tmp_path)).command == (
        "claude mcp add --transport http drawbridge http://127.0.0.1:8640/mcp"
        " --header 'Authorization: Bearer dbk_1_secret'"
    )


@pytest.mark.parametrize(
    ("platform", "file"),
    [
        ("darwin", "Library/Application Support/Claude/claude_desktop_config.json"),
        ("win32", "Roaming/Claude/claude_desktop_config.json"),
    ],
)
def test_claude_desktop_is_found_on_each_platform(platform: str, file: str, tmp_path: Path) -> None:
    assert setup_for("claude-desktop", CONNECTION, machine(tmp_path, platform)).file == tmp_path / file


def test_the_key_never_stands_in_the_desktop_clients_file(tmp_path: Path) -> None:
    assert "secret" not in json.dumps(setup_for("claude-desktop", CONNECTION, machine(tmp_path)).document())


def test_an_existing_file_keeps_everything_else_and_a_backup(tmp_path: Path) -> None:
    file = tmp_path / ".mcp.json"
    before = '{"theme": "hell \u00fc", "mcpServers": {"other": {"command": "x"}, "drawbridge": {"url": "old"}}}'
    file.write_text(before, encoding="utf-8")
    backup = write_setup(setup_for("claude-code", CONNECTION, machine(tmp_path)), file)
    assert backup is not None
    assert backup.read_text(encoding="utf-8") == before
    after = json.loads(file.read_text(encoding="utf-8"))
    assert after == {"theme": "hell \u00fc", "mcpServers": {"other": {"command": "x"}, "drawbridge": HTTP}}
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_second_backup_leaves_the_first_alone(tmp_path: Path) -> None:
    file = tmp_path / ".mcp.json"
    file.write_text("{}")
    setup = setup_for("claude-code", CONNECTION, machine(tmp_path))
    first, second = write_setup(setup, file), write_setup(setup, file)
    assert first is not None
    assert second not in (None, first)
    assert first.read_text() == "{}"


@pytest.mark.parametrize("text", ['{"a": 1, // why\n}', "[]", '{"mcpServers": []}', "\x00"])
def test_a_file_that_is_not_understood_is_left_as_it_is(text: str, tmp_path: Path) -> None:
    file = tmp_path / ".mcp.json"
    file.write_text(text)
    with pytest.raises(Failure):
        write_setup(setup_for("claude-code", CONNECTION, machine(tmp_path)), file)
    assert file.read_text() == text
    assert [each.name for each in tmp_path.iterdir()] == [".mcp.json"]


def test_a_linked_file_is_changed_where_it_really_is(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    link = tmp_path / ".mcp.json"
    link.symlink_to(real)
    write_setup(setup_for("claude-code", CONNECTION, machine(tmp_path)), link)
    assert link.is_symlink()
    assert "drawbridge" in real.read_text()
