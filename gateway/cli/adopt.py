"""Puts an entry into a client's own JSON file without losing anything that is there."""

import json
import shutil
from pathlib import Path

from gateway.cli.clients import SERVER_NAME, Setup
from gateway.cli.failure import Failure
from gateway.cli.files import write_private
from gateway.core.json import Json

_MOST_BACKUPS = 1000


def write_setup(setup: Setup, file: Path) -> Path | None:
    """Add the entry to the file, or replace the one of the same name; gives the backup of what was there before.

    Raises: Failure: the file holds something this cannot read, so it is left alone.
    """
    # A link is followed, not replaced: dotfiles are often kept elsewhere.
    file = file.resolve()
    if not file.exists():
        write_private(file, json.dumps(setup.document(), indent=2) + "\n")
        return None
    before = _document(file)
    servers = before.get(setup.section, {})
    if not isinstance(servers, dict):
        raise Failure(f"{file}: {setup.section} is no object; nothing was changed", _PASTE)
    before[setup.section] = {**servers, SERVER_NAME: setup.entry}
    backup = _backup(file)
    write_private(file, json.dumps(before, indent=2, ensure_ascii=False) + "\n")
    return backup


_PASTE = "Use --print and paste the entry yourself."


def _document(file: Path) -> dict[str, Json]:
    text = file.read_text(encoding="utf-8-sig")
    try:
        said: Json = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise Failure(f"{file} is not plain JSON (comments?); nothing was changed", _PASTE) from error
    if not isinstance(said, dict):
        raise Failure(f"{file} holds no JSON object; nothing was changed", _PASTE)
    return said


def _backup(file: Path) -> Path:
    """A copy beside the file under a name no earlier backup has."""
    for number in range(_MOST_BACKUPS):
        backup = file.with_name(f"{file.name}.bak{number or ''}")
        if not backup.exists():
            shutil.copy2(file, backup)
            backup.chmod(0o600)
            return backup
    raise Failure(f"there are {_MOST_BACKUPS} backups of {file} already; nothing was changed", "Remove some of them.")
