"""How each MCP client wants to be told about a server: where its file is, what stands in it. Pure; writes nothing."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal, TypeAlias, assert_never

from gateway.core.json import JsonObject

ClientName: TypeAlias = Literal["claude-code", "claude-desktop", "cursor", "vscode", "json"]

SERVER_NAME = "drawbridge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What a client needs to know of the gateway."""

    url: str
    """Of the MCP door."""
    key: str
    relay: tuple[str, ...]
    """Command line of the stdio relay, which brings its own key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where the client runs."""

    home: Path
    project: Path
    platform: str
    """As `sys.platform` has it."""
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What to do for one client."""

    file: Path | None
    """The client's own file; None where everything is printed."""
    section: str
    """The member of that file that lists servers."""
    entry: JsonObject
    after: str
    """What the user does next."""
    command: str = ""
    """The client's own command that does the same."""
    shared: bool = False
    """The file lies in a project folder, from where it may get into a repository."""

    def document(self) -> JsonObject:
        """The file as it would be if there were nothing else in it."""
        return {self.section: {SERVER_NAME: self.entry}}


def setup_for(client: ClientName, connection: Connection, machine: Machine) -> Setup:
    """The setup of one client."""
    match client:
        case "claude-code":
            return Setup(
                file=machine.project / ".mcp.json",
                section="mcpServers",
                entry=_http(connection),
                command=_claude_code_command(connection),
                after="Start `claude` in this folder and approve the server; /mcp shows it.",
                shared=True,
            )
        case "claude-desktop":
            # Its file takes only commands; a server over HTTP needs OAuth and its own dialog there.
            program, *arguments = connection.relay
            return Setup(
                file=_claude_desktop_file(machine),
                section="mcpServers",
                entry={"command": program, "args": [*arguments]},
                after="Quit Claude Desktop completely and start it again.",
            )
        case "cursor":
            # Cursor tells the transport from `url`; it has no `type`.
            return Setup(
                file=machine.project / ".cursor" / "mcp.json",
                section="mcpServers",
                entry={"url": connection.url, "headers": _headers(connection)},
                after="Cursor notices by itself; switch the server on under Settings, MCP.",
                shared=True,
            )
        case "vscode":
            return Setup(
                file=machine.project / ".vscode" / "mcp.json",
                section="servers",
                entry=_http(connection),
                after="Open the file in VS Code and press Start above the server.",
                shared=True,
            )
        case "json":
            return Setup(
                file=None,
                section="mcpServers",
                entry=_http(connection),
                after="Paste it where your client keeps its MCP servers.",
            )
        case _:
            assert_never(client)


def _http(connection: Connection) -> JsonObject:
    return {"type": "http", "url": connection.url, "headers": _headers(connection)}


def _headers(connection: Connection) -> JsonObject:
    return {"Authorization": f"Bearer {connection.key}"}


def _claude_code_command(connection: Connection) -> str:
    header = f"Authorization: Bearer {connection.key}"
    return shlex.join(["claude", "mcp", "add", "--transport", "http", SERVER_NAME, connection.url, "--header", header])


def _claude_desktop_file(machine: Machine) -> Path:
    name = PurePath("Claude") / "claude_desktop_config.json"
    if machine.platform == "darwin":
        return machine.home / "Library" / "Application Support" / name
    if machine.platform == "win32":
        return Path(machine.environment.get("APPDATA") or machine.home / "AppData" / "Roaming") / name
    return Path(machine.environment.get("XDG_CONFIG_HOME") or machine.home / ".config") / name
