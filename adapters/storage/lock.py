"""The lock by which one gateway owns a data directory. POSIX only: on Windows the gateway runs in WSL."""

import fcntl
import os
from pathlib import Path

from gateway.core.errors import Conflict, Unavailable


class StorageLock:
    """Held from `acquire` to `release`; the kernel lets go of it when the process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> None:
        """Become the one gateway of this directory; never waits.

        Raises: Conflict: another one is, its pid is named; Unavailable: the lock file cannot be used.
        """
        if self._file is not None:
            return
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(f"the lock {self._path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = os.read(file, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(file)
            raise Conflict(
                f"another gateway (pid {pid}) uses {self._path.parent}: stop it, or give this one its own --data",
                detail={"pid": pid},
            ) from error
        # The file stays when the lock goes: removing it would let two processes lock two different files of one name.
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        """Let go; idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> "StorageLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
