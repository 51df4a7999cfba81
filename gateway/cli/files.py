"""Files the command line writes: whole or not at all, and only for their owner where they hold a secret."""

import errno
import os
from pathlib import Path


def refuse_unwritable(path: Path) -> None:
    """Find out that `write_private` would fail before there is something that must not be lost. Raises: OSError."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    finally:
        draft.unlink(missing_ok=True)


def refuse_unwritable_report(path: Path) -> None:
    """Find out that a report could not be written to `path`, which keeps what it has. Raises: OSError."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    for folder in path.absolute().parents:
        if folder.exists():
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
            break
    if not path.exists():
        refuse_unwritable(path)
    elif path.is_file():  # opening a pipe could already be heard by whoever reads it
        path.open("ab").close()


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
