"""`drawbridge init`: from nothing to a configuration that works."""

import getpass
import json
from pathlib import Path
from typing import Annotated

import typer

from adapters.identity.apikeys import new_key
from adapters.storage.directory import FOLDER, DataDirectory
from gateway.cli.failure import USAGE, Failure
from gateway.cli.files import write_private
from gateway.cli.mcp_json import Adopted, adopt_servers
from gateway.cli.offline import schema_of_configuration
from gateway.cli.options import CONFIG_NAME, AsJson, single_command
from gateway.cli.render import note, say, show
from gateway.cli.scaffold import configuration_text, subject_from
from gateway.core.json import Json, json_object

app = single_command()

SCHEMA_NAME = "gateway.schema.json"


@app.command()
def init(
    origin: Annotated[
        Path | None, typer.Option("--from", help="Take over the servers of this client's mcp.json.")
    ] = None,
    folder: Annotated[Path, typer.Option("--dir", help="Where to write gateway.yaml.")] = Path(),
    owner: Annotated[str, typer.Option("--as", help="Your name as a principal; by default your login.")] = "",
    as_json: AsJson = False,
) -> None:
    """Write a gateway.yaml with you as its owner, and your key beside it."""
    config = folder.expanduser().absolute() / CONFIG_NAME
    if config.exists():
        raise Failure(f"{config} exists", "Change that file, or choose another folder with --dir.", code=USAGE)
    adopted = adopt_servers(_document(origin), f"{FOLDER}/keys") if origin is not None else Adopted()
    subject = subject_from(owner or _login())
    data = DataDirectory(root=config.parent / FOLDER)
    data.prepare()
    # Whatever lies in there is a secret or a database: no repository should ever see it.
    write_private(data.root / ".gitignore", "*\n")
    write_private(data.root / SCHEMA_NAME, json.dumps(schema_of_configuration(), indent=2) + "\n")
    for name, value in adopted.secrets.items():
        write_private(data.keys / name, value + "\n")
    key = data.keys / f"{subject}.key"
    if not key.exists():
        write_private(key, new_key() + "\n")
    text = configuration_text(
        owner=subject,
        key=f"file:{FOLDER}/keys/{key.name}",
        servers=adopted.servers,
        schema=f"{FOLDER}/{SCHEMA_NAME}",
    )
    write_private(config, text)
    _tell(config, subject, key, adopted, as_json=as_json)


def _tell(config: Path, subject: str, key: Path, adopted: Adopted, *, as_json: bool) -> None:
    notes: list[Json] = [*adopted.notes]
    if as_json:
        servers: list[Json] = [*adopted.servers]
        said: dict[str, Json] = {"config": str(config), "owner": subject, "key": str(key)}
        show({**said, "servers": servers, "notes": notes}, lambda: "", as_json=True)
        return
    say(f"Wrote {config}; its owner is {subject}, whose key is in {key}.")
    if adopted.servers:
        say(f"It has {len(adopted.servers)} servers: {', '.join(adopted.servers)}.")
    for line in adopted.notes:
        note(line)
    say("\nNext:")
    if not adopted.servers:
        say(f"  add a server to {config.name}")
    say("  drawbridge check                 is it right?")
    say("  drawbridge serve                 run it")
    say("  drawbridge connect claude-code   use it; also claude-desktop, cursor, vscode")


def _document(origin: Path) -> dict[str, Json]:
    try:
        said: Json = json.loads(origin.expanduser().read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Failure(f"{origin} cannot be read: {error.strerror}", code=USAGE) from error
    except ValueError as error:
        raise Failure(f"{origin} is not plain JSON", "Remove comments and trailing commas.", code=USAGE) from error
    found = json_object(said)
    if not json_object(found.get("mcpServers")) and not json_object(found.get("servers")):
        raise Failure(f"{origin} lists no servers: it has neither mcpServers nor servers", code=USAGE)
    return found


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in a container's passwd; Python 3.13 raises the former
        return "owner"
