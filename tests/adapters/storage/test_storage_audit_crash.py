"""kill -9 of a process that writes: nothing that was acknowledged is lost, and the chain is whole."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.storage.audit.keys import load_or_create_audit_keys
from adapters.storage.audit.log import open_audit
from adapters.storage.audit.reader import AuditReader, Query
from adapters.storage.audit.verify import verify
from adapters.storage.settings import AuditSettings
from adapters.system import SystemClock
from gateway.core.json import json_text
from tests.fakes_audit import a_record

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

WRITER = """
import os, sys
from pathlib import Path
import anyio
from adapters.storage.audit.keys import load_or_create_audit_keys
from adapters.storage.audit.log import open_audit
from adapters.storage.settings import AuditSettings
from adapters.system import SystemClock
from tests.fakes_audit import a_record

async def main(directory, round_):
    settings = AuditSettings(checkpoint_records=100, commit_ms=1)
    keys = load_or_create_audit_keys(directory / "keys")
    opened = open_audit(directory / "audit.db", keys=keys, settings=settings, clock=SystemClock(),
                        export=directory / "checkpoints.txt")
    async with opened as audit, anyio.create_task_group() as tasks:
        async def caller(number):
            for turn in range(1_000_000):
                record = a_record(round_ * 10**9 + number * 10**6 + turn)
                audit.record(a_record(phase="event", id="rec_nobody_waits"))
                await audit.record_durably(record)
                os.write(1, (record.id + "\\n").encode())
        for number in range(16):
            tasks.start_soon(caller, number)

anyio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
"""


def acknowledged_until_killed(directory: Path, round_: int) -> set[str]:
    """Ids of the records a writer was told to be on disk before it was killed."""
    command = [sys.executable, "-c", WRITER, str(directory), str(round_)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = {process.stdout.readline().strip() for _ in range(700 * round_)}
        process.send_signal(signal.SIGKILL)
        told |= {line.strip() for line in process.stdout if line.endswith("\n")}
        assert process.wait(60) == -signal.SIGKILL
    return told


async def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    acknowledged = acknowledged_until_killed(tmp_path, 1) | acknowledged_until_killed(tmp_path, 2)
    keys = load_or_create_audit_keys(tmp_path / "keys")
    export = tmp_path / "checkpoints.txt"
    report = verify(tmp_path / "audit.db", public_key=keys.public, digest_key=keys.digest, export=export)
    stored = {json_text(entry.fields["id"]) for entry in AuditReader(tmp_path / "audit.db").entries(Query(tenant=None))}
    assert report.ok
    assert report.checkpoints > 0
    assert len(acknowledged) > 2000
    assert acknowledged <= stored
    # And the log goes on where it ended.
    opened = open_audit(tmp_path / "audit.db", keys=keys, settings=AuditSettings(), clock=SystemClock(), export=export)
    async with opened as audit:
        await audit.record_durably(a_record(0, phase="event"))
    assert verify(tmp_path / "audit.db", export=export).records == report.records + 1
