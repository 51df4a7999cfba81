"""`drawbridge connect`: an MCP client gets its own key and its own configuration."""

import shutil
import subprocess
import sys
from os import environ
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.adopt import write_setup
from gateway.cli.client_keys import Minted, keep_for_relay, mint_for_client
from gateway.cli.clients import SERVER_NAME, ClientName, Connection, Machine, Setup, setup_for
from gateway.cli.options import AsJson, ConfigPath, DataPath, Place, Show, place, single_command
from gateway.cli.place_contents import listen_url
from gateway.cli.remote import connect as connect_remote
from gateway.cli.remote import running_url
from gateway.cli.render import may_show_secret, note, say, show
from gateway.core.json import Json

app = single_command()

PLACEHOLDER = "YOUR-DRAWBRIDGE-KEY"


@app.command()
def connect(
    client: Annotated[ClientName, typer.Argument(help="Which client.", show_default=False)],
    print_only: Annotated[bool, typer.Option("--print", help="Print what would be written; change no file.")] = False,
    as_whom: Annotated[str, typer.Option("--as", help="The principal it acts as; by default the only one.")] = "",
    reveal: Show = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Mint a key for an MCP client and write the client's configuration."""
    at = place(config, data)
    url = running_url(at)
    writes = not print_only and client != "json"
    # The desktop's relay reads its key from a file, so there is nothing to hide from whoever sees the output.
    wanted = writes or client == "claude-desktop" or may_show_secret(anyway=reveal)
    minted = _mint(at, client, as_whom, running=bool(url)) if wanted else None
    connection = Connection(
        url=f"{url or listen_url(at)}/mcp",
        key=minted.secret if minted is not None else PLACEHOLDER,
        relay=_relay(at, client),
    )
    machine = Machine(home=Path.home(), project=Path.cwd(), platform=sys.platform, environment=environ)
    setup = setup_for(client, connection, machine)
    if client == "claude-desktop" and minted is not None:
        keep_for_relay(at, client, minted)
    if writes and setup.file is not None:
        _write(setup, setup.file, minted, as_json=as_json)
    else:
        _print(setup, minted, as_json=as_json)
    if not url:
        note("No gateway is running: start it with `drawbridge serve`.")


def _mint(at: Place, client: ClientName, as_whom: str, *, running: bool) -> Minted:
    if not running:
        return mint_for_client(at, None, client, as_whom)
    with connect_remote(at) as remote:
        return mint_for_client(at, remote, client, as_whom)


def _relay(at: Place, client: ClientName) -> tuple[str, ...]:
    """The stdio relay's command line with absolute paths: desktop programs start it anywhere, with another PATH."""
    beside = Path(sys.executable).with_name("drawbridge")
    program = (str(beside),) if beside.is_file() else (sys.executable, "-m", "gateway")
    return (*program, "mcp", "--client", client, "--config", str(at.config), "--data", str(at.data.root))


def _write(setup: Setup, file: Path, minted: Minted | None, *, as_json: bool) -> None:
    backup = write_setup(setup, file)
    exposed = setup.shared and _may_be_committed(file)
    if as_json:
        said: dict[str, Json] = {"file": str(file), "backup": str(backup or ""), "server": SERVER_NAME}
        if minted is not None:
            said.update(key=minted.id, principal=minted.subject)
        show(said, lambda: "", as_json=True)
    else:
        say(f"Wrote {SERVER_NAME} into {file}" + (f"; what was there before is in {backup.name}." if backup else "."))
        if minted is not None:
            say(f"It acts as {minted.subject} with a key of its own; `drawbridge keys revoke {minted.id}` ends it.")
        say(setup.after)
    if exposed:
        note(f"{file.name} holds a key, and git does not ignore it: keep it out of the repository.")


def _print(setup: Setup, minted: Minted | None, *, as_json: bool) -> None:
    if minted is None:
        note(f"Put a key in place of {PLACEHOLDER}: `drawbridge keys mint`; or print here with --show.")
    if as_json:
        said: dict[str, Json] = {"file": str(setup.file or ""), "content": setup.document(), "command": setup.command}
        show(said, lambda: "", as_json=True)
        return
    if setup.command:
        say(setup.command)
        note(f"\nor in {setup.file}:")
    elif setup.file is not None:
        note(f"in {setup.file}:")
    show(setup.document(), lambda: "", as_json=True)
    note(setup.after)


def _may_be_committed(file: Path) -> bool:
    """Whether the file lies in a git work tree that does not ignore it; False where git cannot tell."""
    git = shutil.which("git")
    if git is None:
        return False
    command = [git, "-C", str(file.parent), "check-ignore", "--quiet", str(file)]
    try:
        # 0: ignored; 1: not ignored; 128: no work tree here.
        return subprocess.run(command, capture_output=True, timeout=5, check=False).returncode == 1  # noqa: S603 - fixed
    except (OSError, subprocess.TimeoutExpired):
        return False
