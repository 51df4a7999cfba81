import sqlite3
import stat
from pathlib import Path

import anyio
import pytest

from adapters.storage.audit.checkpoint import notes_from_text, opened
from adapters.storage.audit.keys import new_audit_keys
from adapters.storage.audit.log import open_audit
from adapters.storage.audit.reader import AuditReader, Query
from adapters.storage.audit.verify import verify
from adapters.storage.settings import AuditSettings
from adapters.system import SystemClock
from gateway.core.content import Content, Plain, plain
from gateway.core.errors import Conflict, Unavailable
from tests.fakes_audit import Desk, a_record

pytestmark = pytest.mark.anyio


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def stored(desk: Desk) -> list[str]:
    return [str(entry.fields["id"]) for entry in AuditReader(desk.path).search(Query(tenant=None, limit=100_000))]


async def test_a_record_nobody_waits_for_is_on_disk_after_the_interval(desk: Desk) -> None:
    async with desk.opened(commit_ms=1) as audit:
        audit.record(a_record(1))
        with anyio.fail_after(30):
            while stored(desk) != [a_record(1).id]:
                await anyio.lowlevel.checkpoint()


async def test_callers_that_wait_at_once_share_commits_and_all_are_served(desk: Desk) -> None:
    async with desk.opened() as audit, anyio.create_task_group() as tasks:
        for number in range(300):
            tasks.start_soon(audit.record_durably, a_record(number))
    assert stored(desk) == [a_record(number).id for number in range(300)]
    assert verify(desk.path, public_key=desk.keys.public, digest_key=desk.keys.digest, export=desk.export).ok


async def test_a_waiter_that_gives_up_leaves_its_record_behind_and_hurts_nobody(desk: Desk) -> None:
    async with desk.opened() as audit:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await audit.record_durably(a_record(1))
        await audit.record_durably(a_record(2))
    assert stored(desk) == [a_record(1).id, a_record(2).id]


async def test_closing_writes_and_signs_what_is_left(desk: Desk) -> None:
    await desk.written(*(a_record(number) for number in range(100)))
    report = verify(desk.path)
    assert (report.records, report.signed, report.ok) == (100, 100, True)
    note = opened(next(notes_from_text(desk.export.read_text())), desk.keys.public)
    assert note is not None
    assert (note.size, note.root.hex()) == (100, report.root)


async def test_opening_and_closing_without_a_record_signs_nothing(desk: Desk) -> None:
    await desk.written()
    await desk.written(a_record(1))
    await desk.written()
    assert verify(desk.path).checkpoints == 1


async def test_the_chain_goes_on_across_restarts(desk: Desk) -> None:
    for number in range(7):
        await desk.written(*(a_record(number * 10 + each) for each in range(number)))
    report = verify(desk.path, public_key=desk.keys.public, digest_key=desk.keys.digest, export=desk.export)
    assert (report.ok, report.records, report.checkpoints) == (True, 21, 6)


async def test_checkpoints_come_after_so_many_records_and_after_so_much_time(desk: Desk) -> None:
    async with desk.opened(checkpoint_records=10) as audit:
        for number in range(25):
            await audit.record_durably(a_record(number))
    assert verify(desk.path).checkpoints == 3
    async with desk.opened(checkpoint_s=0.01, commit_ms=1) as audit:
        audit.record(a_record(25))
        with anyio.fail_after(30):
            while verify(desk.path).signed != 26:
                await anyio.lowlevel.checkpoint()


async def test_a_full_queue_refuses_and_what_it_took_is_kept(desk: Desk) -> None:
    async with desk.opened(queue_records=5, commit_ms=1000) as audit:
        taken = 0
        with pytest.raises(Unavailable):
            for taken in range(100):
                audit.record(a_record(taken))
        await audit.flush()
        audit.record(a_record(taken))
    assert stored(desk) == [a_record(number).id for number in range(taken + 1)]


async def test_bytes_that_wait_are_bounded_too(desk: Desk) -> None:
    async with desk.opened(queue_bytes=1000, commit_ms=1000) as audit:
        large = a_record(1, request=Plain(Content(), size_bytes=600), result=Plain(Content(), size_bytes=600))
        audit.record(large)
        with pytest.raises(Unavailable):
            audit.record(a_record(2))
        await audit.flush()
        await audit.record_durably(a_record(2))


async def test_everything_is_closed_to_others(desk: Desk) -> None:
    async with desk.opened() as audit:
        await audit.record_durably(a_record())
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in desk.path.parent.iterdir()}
        assert set(modes) >= {"audit.db", "audit.db-wal", "audit.db-shm"}
    modes["checkpoints.txt"] = stat.S_IMODE(desk.export.stat().st_mode)
    assert set(modes.values()) == {0o600}


async def test_a_commit_is_flushed_to_the_disk_before_it_is_reported(desk: Desk) -> None:
    async with desk.opened() as audit:
        await audit.record_durably(a_record())
        pragmas = {
            name: audit._table._connection.execute(f"PRAGMA {name}").fetchone()[0]  # pyright: ignore[reportPrivateUsage]
            for name in ("journal_mode", "synchronous")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}


async def test_two_writers_of_one_log_are_refused(desk: Desk) -> None:
    async with desk.opened():
        with pytest.raises(Conflict):
            async with desk.opened():
                pass


async def test_a_disk_that_fails_refuses_and_loses_nothing_that_was_taken(desk: Desk) -> None:
    async with desk.opened(commit_ms=1) as audit:
        await audit.record_durably(a_record(1))
        other = sqlite3.connect(desk.path, isolation_level=None)
        # A trigger that fails stands for a disk that does.
        other.execute("CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        for number in range(2, 50):
            audit.record(a_record(number))
        with pytest.raises(Unavailable):
            await audit.record_durably(a_record(50))
        with pytest.raises(Unavailable):
            await audit.record_durably(a_record(51))
        audit.record(a_record(52))
        other.execute("DROP TRIGGER full")
        other.close()
        await audit.flush()
        await audit.record_durably(a_record(53))
    assert stored(desk) == [a_record(number).id for number in (*range(1, 51), 52, 53)]
    assert verify(desk.path, digest_key=desk.keys.digest).ok


async def test_a_log_that_cannot_write_any_more_closes_all_the_same(desk: Desk) -> None:
    async with desk.opened(commit_ms=1) as audit:
        await audit.record_durably(a_record(1))
        other = sqlite3.connect(desk.path, isolation_level=None)
        other.execute("CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        audit.record(a_record(2))
    other.execute("DROP TRIGGER full")
    other.close()
    await desk.written(a_record(3))
    assert stored(desk) == [a_record(1).id, a_record(3).id]
    assert verify(desk.path).ok


async def test_bodies_are_kept_once_where_configured_and_erased_when_old(desk: Desk) -> None:
    async with desk.opened(bodies=True) as audit:
        audit.record(a_record(1, at_us=1, result=plain("old")))
        for number in range(2, 5):
            await audit.record_durably(a_record(number, at_us=SystemClock().now_us(), result=plain("new")))
    (old,) = AuditReader(desk.path).show(a_record(1).id, tenant=None)
    (new,) = AuditReader(desk.path).show(a_record(3).id, tenant=None)
    assert old.result is None
    assert (new.request, new.result) == (
        {"structured": {"order": "A-1"}},
        {"parts": [{"text": "new", "media_type": "text/plain"}]},
    )
    assert verify(desk.path).ok


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE records SET line = replace(line, 'refund', 'refuse') WHERE seq = 3",
        "DELETE FROM records WHERE seq = 3",
        "UPDATE head SET size = 2",
        "UPDATE head SET mac = zeroblob(32)",
        "DELETE FROM head",
        "UPDATE checkpoints SET frontier = zeroblob(32)",
        "UPDATE checkpoints SET frontier = zeroblob(64)",
        "UPDATE checkpoints SET note = replace(note, 'time 2', 'time 3')",
    ],
)
async def test_a_log_that_was_touched_is_not_written_on(desk: Desk, damage: str) -> None:
    await desk.written(a_record(1))
    async with desk.opened() as audit:
        await audit.record_durably(a_record(2))
        await audit.record_durably(a_record(3))
        with sqlite3.connect(desk.path) as other:
            # Behind the newest checkpoint, as after a crash.
            other.execute("CREATE TABLE was AS SELECT * FROM checkpoints")
    with sqlite3.connect(desk.path) as other:
        other.execute("DELETE FROM checkpoints")
        other.execute("INSERT INTO checkpoints SELECT * FROM was")
        assert other.execute(damage).rowcount == 1
    other.close()
    with pytest.raises(Unavailable, match="verify"):
        async with desk.opened():
            pass


async def test_a_log_is_not_written_on_with_other_keys(desk: Desk) -> None:
    await desk.written(a_record(1))
    with pytest.raises(Unavailable, match="keys"):
        async with open_audit(desk.path, keys=new_audit_keys(), settings=AuditSettings(), clock=SystemClock()):
            pass


async def test_a_note_that_a_crash_kept_from_the_export_is_added_at_the_next_start(desk: Desk) -> None:
    await desk.written(a_record(1))
    await desk.written(a_record(2))
    notes = list(notes_from_text(desk.export.read_text()))
    desk.export.write_text(notes[0])
    async with desk.opened():
        assert list(notes_from_text(desk.export.read_text())) == notes
    async with desk.opened():
        assert list(notes_from_text(desk.export.read_text())) == notes


async def test_an_export_that_cannot_be_written_does_not_stop_the_log(desk: Desk) -> None:
    desk.export.mkdir()
    await desk.written(a_record(1))
    await desk.written(a_record(2))
    assert verify(desk.path).records == 2
