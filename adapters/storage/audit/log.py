"""The audit log: records are handed over in a queue, one thread writes them, many at a time.

asyncio is used as it is here: the writer thread wakes everybody a commit was waited for by with one call into the loop.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio
import structlog
from anyio import to_thread

from adapters.storage.audit.bodies import Kept
from adapters.storage.audit.keys import AuditKeys
from adapters.storage.audit.line import Lines
from adapters.storage.audit.masking import Masker
from adapters.storage.audit.table import AuditTable
from adapters.storage.lock import StorageLock
from adapters.storage.settings import AuditSettings
from gateway.core.errors import Unavailable
from gateway.core.ports.world import Clock
from gateway.core.record import Record

log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 2048
_RETRY_S = 0.5
_WAIT_S = 10.0
"""Longest somebody waits for a commit: a disk that takes longer counts as gone."""
_DAY_US = 86_400_000_000

Waiter: TypeAlias = "asyncio.Future[None]"


@asynccontextmanager
async def open_audit(
    path: Path,
    *,
    keys: AuditKeys,
    settings: AuditSettings,
    clock: Clock,
    export: Path | None = None,
    prefixes: tuple[str, ...] = (),
) -> AsyncGenerator["AuditFile"]:
    """The log at `path`, for as long as the block runs; leaving it writes what is queued and signs a last checkpoint.

    `export`: the file checkpoints are appended to as well; `prefixes`: how credentials to be masked begin, beside the
    well-known ones.

    Raises: Conflict: another process writes it; Unavailable: see `AuditTable.open`.
    """
    lock = StorageLock(path.with_name(f"{path.name}.lock"))
    with lock:
        table = await to_thread.run_sync(partial(AuditTable.open, path, keys=keys, export=export))
        lines = Lines(settings=settings, digest_key=keys.digest, masker=Masker(settings.mask, prefixes))
        audit = AuditFile(table, lines, settings=settings, clock=clock)
        try:
            yield audit
        finally:
            await audit.aclose()


class AuditFile:
    """See `ports.storage.AuditLog`. Made by `open_audit`; records come from one event loop's thread."""

    def __init__(self, table: AuditTable, lines: Lines, *, settings: AuditSettings, clock: Clock) -> None:
        self._table = table
        self._lines = lines
        self._settings = settings
        self._clock = clock
        self._most_records = settings.queue_records
        self._most_bytes = settings.queue_bytes
        self._queue: deque[Record | Waiter] = deque()
        # Each counter has one thread that moves it, so neither needs a lock.
        self._bytes_in = 0
        self._bytes_out = 0
        self._closed = False
        self._failing = False
        self._some = threading.Event()
        self._urgent = threading.Event()
        self._closing = threading.Event()
        self._signed_at_s = clock.monotonic_s()
        self._writer = threading.Thread(target=self._run, name="audit", daemon=True)
        self._writer.start()

    def record(self, record: Record) -> None:
        """See `AuditLog.record`. Less than a microsecond: everything else is the writer's work."""
        queue = self._queue
        if self._closed or len(queue) >= self._most_records or self._bytes_in - self._bytes_out >= self._most_bytes:
            raise self._refusal()
        if record.request is not None:
            self._bytes_in += record.request.size_bytes
        if record.result is not None:
            self._bytes_in += record.result.size_bytes
        queue.append(record)
        if not self._some.is_set():
            self._some.set()

    async def record_durably(self, record: Record) -> None:
        """See `AuditLog.record_durably`. A record whose waiter gives up is written all the same."""
        if self._failing:
            raise Unavailable("the audit log cannot write just now", retry_after_s=_RETRY_S)
        # Before the writer wakes: it would find a record that can wait, and have to be woken again.
        self._urgent.set()
        self.record(record)
        await self.flush()

    async def flush(self) -> None:
        """Return once everything handed over so far is on disk. Raises: Unavailable."""
        if self._closed:
            raise self._refusal()
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        self._queue.append(waiter)
        self._some.set()
        self._urgent.set()
        # A timer instead of a cancel scope: it costs a tenth, and this is paid by every call with side effects.
        timer = loop.call_later(_WAIT_S, _settle, [waiter], "the audit log did not answer in time")
        try:
            await waiter
        finally:
            timer.cancel()

    async def aclose(self) -> None:
        """Write what is queued, sign it, let go of the file; bounded; idempotent."""
        self._closed = True
        self._closing.set()
        self._some.set()
        self._urgent.set()
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._writer.join, _WAIT_S)
        if self._writer.is_alive():
            log.error("audit log did not close in time", records=len(self._queue))

    def _refusal(self) -> Unavailable:
        if self._closed:
            return Unavailable("the audit log is closed")
        return Unavailable("the audit log is full: the disk does not keep up", retry_after_s=1.0)

    def _run(self) -> None:
        try:
            while self._queue or self._table.behind or not self._closed:
                self._await_work()
                self._write_some()
                if self._failing and self._closed:
                    break
            if not self._failing:
                self._sign_last()
        except Exception:
            log.exception("audit log stopped")
        finally:
            self._closed = True
            self._give_up()
            self._table.close()

    def _await_work(self) -> None:
        if self._failing:
            self._closing.wait(_RETRY_S)
            return
        self._some.clear()
        if not self._queue and not self._closed:
            unsigned = self._table.size > self._table.signed
            self._some.wait(max(0.0, self._due_in_s()) if unsigned else None)
        if self._queue and not self._closed:
            self._urgent.wait(self._settings.commit_ms / 1000)
        self._urgent.clear()

    def _write_some(self) -> None:
        queue, table = self._queue, self._table
        waiters: list[Waiter] = []
        # While the disk fails only what it failed with is tried again; the queue fills up and then refuses.
        take, row_of, add = queue.popleft, self._lines.row_of, table.add
        for _ in range(0 if table.behind else min(len(queue), _MOST_AT_ONCE)):
            item = take()
            if isinstance(item, Record):
                kept: list[Kept] = []
                add(row_of(item, kept), kept)
                self._bytes_out += _bytes_of(item)
            else:
                waiters.append(item)
        failed = ""
        try:
            self._commit()
        except sqlite3.Error as error:
            if not self._failing:
                log.exception("audit log cannot write")
            failed = f"the audit log cannot write: {type(error).__name__}"
        self._failing = bool(failed)
        _settle_soon(waiters, failed)

    def _commit(self) -> None:
        table = self._table
        unsigned = table.size - table.signed
        if unsigned >= self._settings.checkpoint_records or (unsigned > 0 and self._due_in_s() <= 0):
            self._commit_signed()
        elif table.behind:
            table.commit()

    def _commit_signed(self) -> None:
        now_us, days = self._clock.now_us(), self._settings.body_days
        self._table.commit(signed_at_us=now_us, erase_before_us=now_us - days * _DAY_US if days else 0)
        self._signed_at_s = self._clock.monotonic_s()

    def _sign_last(self) -> None:
        if self._table.size > self._table.signed:
            try:
                self._commit_signed()
            except sqlite3.Error:
                log.exception("audit log could not sign its last checkpoint")

    def _give_up(self) -> None:
        """Nobody waits for a writer that is gone."""
        left = [self._queue.popleft() for _ in range(len(self._queue))]
        lost = sum(isinstance(each, Record) for each in left)
        if lost or self._table.behind:
            log.error("audit records were lost", queued=lost)
        _settle_soon([each for each in left if not isinstance(each, Record)], "the audit log is closed")

    def _due_in_s(self) -> float:
        return self._signed_at_s + self._settings.checkpoint_s - self._clock.monotonic_s()


def _bytes_of(record: Record) -> int:
    request, result = record.request, record.result
    return (request.size_bytes if request is not None else 0) + (result.size_bytes if result is not None else 0)


def _settle_soon(waiters: list[Waiter], failed: str) -> None:
    if not waiters:
        return
    try:
        waiters[0].get_loop().call_soon_threadsafe(_settle, waiters, failed)
    except RuntimeError:
        # The loop is gone, and whoever waited with it.
        log.warning("nobody was left to hear of a commit")


def _settle(waiters: list[Waiter], failed: str) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if failed:
            waiter.set_exception(Unavailable(failed))
        else:
            waiter.set_result(None)
