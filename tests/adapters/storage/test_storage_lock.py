"""One gateway owns a data directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.storage.lock import StorageLock
from gateway.core.errors import Conflict, Unavailable

HOLDER = """
import sys
from pathlib import Path
from adapters.storage.lock import StorageLock
StorageLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_gateway_is_refused_by_the_pid_of_the_first(tmp_path: Path) -> None:
    with StorageLock(tmp_path / "gateway.lock"), pytest.raises(Conflict) as refusal:
        StorageLock(tmp_path / "gateway.lock").acquire()

    assert refusal.value.detail == {"pid": str(os.getpid())}
    assert str(os.getpid()) in refusal.value.message


def test_a_released_lock_can_be_had_again(tmp_path: Path) -> None:
    first = StorageLock(tmp_path / "gateway.lock")
    first.acquire()
    first.acquire()
    first.release()
    first.release()

    with StorageLock(tmp_path / "gateway.lock"):
        assert (tmp_path / "gateway.lock").read_text() == f"{os.getpid()}\n"


def test_the_lock_goes_when_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "gateway.lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Conflict) as refusal:
            StorageLock(path).acquire()
        assert refusal.value.detail == {"pid": str(holder.pid)}
        holder.kill()
        holder.wait(60)

    with StorageLock(path):
        pass


def test_a_lock_that_cannot_be_opened_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        StorageLock(tmp_path / "missing" / "gateway.lock").acquire()
