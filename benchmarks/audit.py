"""What the audit log costs and withstands: `python -m benchmarks.audit`. Prints a table; figures are of this machine.

CPU time is the kernel's own accounting: per thread from /proc (schedstat) where there is one, else of the process.
"""

import argparse
import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import msgspec

from adapters.mcp.wire import Answer, Params
from adapters.storage.audit.keys import load_or_create_audit_keys
from adapters.storage.audit.log import AuditFile, open_audit
from adapters.storage.audit.reader import AuditReader, Query
from adapters.storage.audit.verify import verify
from adapters.storage.settings import AuditSettings
from adapters.system import SortableIds, SystemClock
from gateway.core.json import json_text
from gateway.core.model import principal
from gateway.core.record import Record

CALLERS = 64
TARGET_PER_S = 8_000
CLOCK = SystemClock()
IDS = SortableIds()
ANA = principal("ana", roles=frozenset({"support"}))
ARGUMENTS = {"name": msgspec.Raw(b'"refund"'), "arguments": msgspec.Raw(b'{"order":"A-1001","amount":120}')}
ANSWER = b'{"content":[{"type":"text","text":"refunded A-1001"}],"structuredContent":{"refunded":true}}'


def a_record() -> Record:
    """As the pipeline leaves one behind after a `tools/call`."""
    return Record(
        id=IDS.new("rec"),
        phase="outcome",
        at_us=CLOCK.now_us(),
        principal=ANA,
        tenant="default",
        operation="call",
        capability="tool:orders/refund",
        protocol="mcp",
        outcome="ok",
        policy="access",
        rule="support.allow[0]",
        snapshot="0123456789abcdef",
        duration_us=1234,
        request_id="17",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        request=Params(ARGUMENTS, era="modern", size_bytes=180),
        result=Answer(ANSWER, era="modern"),
    )


def opened(directory: Path, **settings: float):  # the type is the context manager's
    return open_audit(
        directory / "audit.db",
        keys=load_or_create_audit_keys(directory / "keys"),
        settings=AuditSettings.model_validate(settings),
        clock=CLOCK,
        export=directory / "checkpoints.txt",
    )


def writer_cpu() -> Callable[[], float]:
    """Seconds of CPU the writer's thread has used so far; of the whole process where threads are not accounted."""
    native = next(thread.native_id for thread in threading.enumerate() if thread.name == "audit")
    accounts = Path(f"/proc/self/task/{native}/schedstat")
    if not accounts.exists():
        return time.process_time
    return lambda: int(accounts.read_text().split()[0]) / 1e9


async def durable(audit: AuditFile, count: int) -> tuple[float, float, list[float]]:
    """(records per second, process CPU us per record, waits in ms) of callers that each wait for the disk."""
    waits: list[float] = []

    async def caller() -> None:
        for _ in range(count // CALLERS):
            began = time.perf_counter()
            await audit.record_durably(a_record())
            waits.append((time.perf_counter() - began) * 1e3)

    began, cpu = time.perf_counter(), time.process_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(CALLERS):
            tasks.start_soon(caller)
    took = time.perf_counter() - began
    return len(waits) / took, (time.process_time() - cpu) / len(waits) * 1e6, sorted(waits)


async def handed_over(audit: AuditFile, per_s: int, seconds: float) -> tuple[float, float, int]:
    """(us of a call of `record`, writer's CPU us per record, records) at a steady rate nobody waits at."""
    cpu = writer_cpu()
    await audit.flush()
    before, count, cost = cpu(), 0, 0.0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        records = [a_record() for _ in range(int(elapsed * per_s) - count)]
        calling = time.perf_counter()
        for record in records:
            audit.record(record)
        cost += time.perf_counter() - calling
        count += len(records)
        await anyio.sleep(0.001)
    await audit.flush()
    return cost / count * 1e6, (cpu() - before) / count * 1e6, count


async def child(directory: Path) -> None:
    """Write until killed, and tell every record that is on disk."""
    async with opened(directory, checkpoint_records=1000) as audit, anyio.create_task_group() as tasks:

        async def caller() -> None:
            while True:
                record = a_record()
                audit.record(a_record())
                await audit.record_durably(record)
                os.write(1, f"{record.id}\n".encode())

        for _ in range(CALLERS):
            tasks.start_soon(caller)


def killed(directory: Path, acknowledged: int) -> tuple[int, int, str]:
    """(acknowledged, lost, verification) after kill -9 in the middle of the load."""
    command = [sys.executable, "-m", "benchmarks.audit", "--child", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = {process.stdout.readline().strip() for _ in range(acknowledged)}
        process.send_signal(signal.SIGKILL)
        told |= {line.strip() for line in process.stdout if line.endswith("\n")}
    path = directory / "audit.db"
    keys = load_or_create_audit_keys(directory / "keys")
    report = verify(path, public_key=keys.public, digest_key=keys.digest, export=directory / "checkpoints.txt")
    stored = {json_text(entry.fields["id"]) for entry in AuditReader(path).entries(Query(tenant=None))}
    found = f"whole, {report.records} records, {report.checkpoints} checkpoints" if report.ok else str(report.first)
    return len(told), len(told - stored), found


async def measure(count: int, directory: Path) -> None:
    async with opened(directory) as audit:
        await durable(audit, CALLERS * 20)
        runs = [await durable(audit, count) for _ in range(3)]
        best = max(runs, key=lambda run: run[0])
        waits = best[2]
        row(f"durable records/s, {CALLERS} callers waiting", f"{min(r[0] for r in runs):,.0f} - {best[0]:,.0f}")
        row("  target", f"{TARGET_PER_S:,}")
        row("  wait p50 / p99", f"{waits[len(waits) // 2]:.2f} / {waits[len(waits) * 99 // 100]:.2f} ms")
        row("  CPU of the whole process, callers included", f"{best[1]:.1f} us a record")
        for per_s in (500, 5_000, 20_000):
            call_us, writer_us, records = await handed_over(audit, per_s, 2.0)
            row(f"records nobody waits for, {per_s:,}/s ({records:,})", f"record() {call_us:.2f} us")
            row("  CPU of the writer, all told", f"{writer_us:.1f} us a record")
    path = directory / "audit.db"
    began = time.process_time()
    report = verify(path)
    row(
        "verify",
        f"{report.records / (time.process_time() - began):,.0f} records/s, {'whole' if report.ok else 'BROKEN'}",
    )
    row("size on disk", f"{path.stat().st_size / report.records:.0f} bytes a record")


def row(name: str, value: str) -> None:
    print(f"{name:<48} {value}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    # As the gateway does after its start: what is there for good is not looked through again and again.
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    if options.child:
        anyio.run(child, options.child, backend_options={"use_uvloop": True})
        return
    with tempfile.TemporaryDirectory() as scratch:
        anyio.run(partial(measure, options.records, Path(scratch)), backend_options={"use_uvloop": True})
    with tempfile.TemporaryDirectory() as scratch:
        told, lost, found = killed(Path(scratch), options.records)
        row("kill -9 under load: acknowledged / lost", f"{told:,} / {lost}")
        row("  the log afterwards", found)


if __name__ == "__main__":
    main()
