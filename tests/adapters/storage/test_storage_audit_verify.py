import hashlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from adapters.storage.audit.checkpoint import sign
from adapters.storage.audit.keys import new_audit_keys
from adapters.storage.audit.merkle import Chain, genesis
from adapters.storage.audit.verify import VerifyReport, verify
from gateway.core.errors import NotFound, Unavailable
from tests.fakes_audit import Desk, a_record

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """Thirty records; checkpoints at 10 and 20, none behind."""
    desk = Desk(tmp_path)
    await desk.written(*(a_record(number) for number in range(1, 11)))
    await desk.written(*(a_record(number) for number in range(11, 21)))
    await desk.written(*(a_record(number) for number in range(21, 31)))
    with sqlite3.connect(desk.path) as connection:
        connection.execute("DELETE FROM checkpoints WHERE size = 30")
    connection.close()
    yield desk


def touched(desk: Desk, *statements: str) -> None:
    connection = sqlite3.connect(desk.path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def rechained(desk: Desk, first: int) -> None:
    """What somebody does who knows the format: every hash from `first` on anew, the head's too."""
    connection = sqlite3.connect(desk.path, isolation_level=None)
    found = connection.execute("SELECT hash FROM records WHERE seq = ?", (first - 1,)).fetchone()
    before = found[0] if found else genesis(connection.execute("SELECT origin FROM log").fetchone()[0])
    rows = connection.execute("SELECT seq, line FROM records WHERE seq >= ? ORDER BY seq", (first,)).fetchall()
    last = first - 1
    for seq, line in rows:
        before = hashlib.sha256(before + line.encode()).digest()
        connection.execute("UPDATE records SET hash = ? WHERE seq = ?", (before, seq))
        last = seq
    connection.execute("UPDATE head SET size = ?, hash = ?", (last, before))
    connection.close()


def checked(desk: Desk) -> VerifyReport:
    return verify(desk.path, public_key=desk.keys.public, digest_key=desk.keys.digest)


def first_of(report: VerifyReport) -> tuple[str, int, str]:
    assert report.first is not None
    return report.first.trouble, report.first.seq, report.first.record_id


async def test_an_untouched_log_is_whole(desk: Desk) -> None:
    report = checked(desk)
    assert report.ok
    assert (report.records, report.checkpoints, report.signed, report.key_given) == (30, 2, 20, True)
    assert verify(desk.path).key_given is False
    assert report.to_json()["ok"] is True


@pytest.mark.parametrize("seq", [1, 7, 20, 29, 30])
async def test_an_altered_record_is_named(desk: Desk, seq: int) -> None:
    touched(desk, f"UPDATE records SET line = replace(line, '\"ok\"', '\"denied\"') WHERE seq = {seq}")
    assert first_of(checked(desk)) == ("altered", seq, a_record(seq).id)
    assert len(checked(desk).findings) == 1


@pytest.mark.parametrize("column", ["id = 'rec_other'", "at_us = 1", "tenant = 'acme'", "run_id = 'run_9'"])
async def test_a_record_filed_under_something_else_is_named(desk: Desk, column: str) -> None:
    touched(desk, f"UPDATE records SET {column} WHERE seq = 7")
    assert first_of(checked(desk))[:2] == ("altered", 7)


async def test_removed_records_are_named(desk: Desk) -> None:
    touched(desk, "DELETE FROM records WHERE seq IN (7, 8)")
    assert first_of(checked(desk)) == ("missing", 7, "")


async def test_a_removed_first_record_is_missed(desk: Desk) -> None:
    touched(desk, "DELETE FROM records WHERE seq = 1")
    assert first_of(checked(desk)) == ("missing", 1, "")


RENUMBER = ("UPDATE records SET seq = -seq WHERE seq > 7", "UPDATE records SET seq = -seq - 1 WHERE seq < 0")


async def test_a_removed_record_is_found_though_the_others_were_renumbered(desk: Desk) -> None:
    touched(desk, "DELETE FROM records WHERE seq = 7", *RENUMBER)
    assert first_of(checked(desk)) == ("altered", 7, a_record(8).id)


async def test_an_inserted_record_is_named(desk: Desk) -> None:
    touched(
        desk,
        "UPDATE records SET seq = -seq WHERE seq >= 7",
        "UPDATE records SET seq = 1 - seq WHERE seq < 0",
        "INSERT INTO records SELECT 7, at_us, tenant, id, run_id, hash, line FROM records WHERE seq = 3",
    )
    assert first_of(checked(desk)) == ("altered", 7, a_record(3).id)


async def test_a_record_added_at_the_end_with_the_right_hash_is_named(desk: Desk) -> None:
    touched(
        desk, "INSERT INTO records SELECT 31, at_us, tenant, 'rec_x', run_id, hash, line FROM records WHERE seq = 3"
    )
    head = sqlite3.connect(desk.path).execute("SELECT size, hash, mac FROM head").fetchone()
    rechained(desk, 31)
    connection = sqlite3.connect(desk.path, isolation_level=None)
    connection.execute("UPDATE records SET id = (SELECT id FROM records WHERE seq = 3) WHERE seq = 31")
    connection.execute("UPDATE head SET size = ?, hash = ?, mac = ?", head)
    connection.close()
    assert first_of(checked(desk))[:2] == ("appended", 31)


async def test_exchanged_records_are_named(desk: Desk) -> None:
    touched(
        desk,
        "UPDATE records SET seq = -7 WHERE seq = 7",
        "UPDATE records SET seq = 7 WHERE seq = 8",
        "UPDATE records SET seq = 8 WHERE seq = -7",
    )
    assert first_of(checked(desk)) == ("altered", 7, a_record(8).id)


async def test_a_chain_computed_anew_is_found_by_the_next_checkpoint(desk: Desk) -> None:
    touched(desk, "UPDATE records SET line = replace(line, '\"ok\"', '\"denied\"') WHERE seq = 13")
    rechained(desk, 13)
    # Between the last agreeing checkpoint and the next.
    assert first_of(checked(desk)) == ("rewritten", 11, a_record(11).id)


@pytest.mark.parametrize("left", [0, 3, 15, 19])
async def test_a_log_cut_before_its_newest_checkpoint_is_found(desk: Desk, left: int) -> None:
    touched(desk, f"DELETE FROM records WHERE seq > {left}")
    rechained(desk, left + 1)
    assert first_of(verify(desk.path))[:2] == ("truncated", left + 1)


async def test_a_tail_cut_behind_the_newest_checkpoint_is_found(desk: Desk) -> None:
    touched(desk, "DELETE FROM records WHERE seq > 25")
    assert first_of(verify(desk.path))[:2] == ("truncated", 26)
    rechained(desk, 26)
    # Who moves the head as well cannot make the statement that goes with it.
    assert first_of(checked(desk))[:2] == ("truncated", 26)


async def test_a_head_taken_away_is_found(desk: Desk) -> None:
    touched(desk, "DELETE FROM head")
    assert first_of(checked(desk))[:2] == ("appended", 1)


async def test_a_forged_checkpoint_is_found(desk: Desk) -> None:
    connection = sqlite3.connect(desk.path, isolation_level=None)
    origin = connection.execute("SELECT origin FROM log").fetchone()[0]
    note = sign(origin, 20, bytes(32), 0, new_audit_keys().signing)
    connection.execute("UPDATE checkpoints SET note = ? WHERE size = 20", (note,))
    connection.close()
    assert first_of(checked(desk)) == ("forged checkpoint", 20, "")


@pytest.mark.parametrize(
    "change", ["replace(note, char(10) || '20' || char(10), char(10) || '21' || char(10))", "'rubbish'", "x'ff00'"]
)
async def test_an_altered_checkpoint_is_found(desk: Desk, change: str) -> None:
    touched(desk, f"UPDATE checkpoints SET note = {change} WHERE size = 20")
    assert first_of(checked(desk)) == ("forged checkpoint", 20, "")


async def test_a_checkpoint_of_another_log_is_no_checkpoint_of_this_one(desk: Desk) -> None:
    foreign = sign("drawbridge.audit/other", 20, bytes(32), 0, desk.keys.signing)
    connection = sqlite3.connect(desk.path, isolation_level=None)
    connection.execute("UPDATE checkpoints SET note = ? WHERE size = 20", (foreign,))
    connection.close()
    assert first_of(checked(desk)) == ("forged checkpoint", 20, "")


async def test_a_whole_log_forged_with_other_keys_is_found_by_the_key(tmp_path: Path) -> None:
    true, forged = Desk(tmp_path / "a"), Desk(tmp_path / "b")
    for each in (true, forged):
        each.path.parent.mkdir()
        await each.written(a_record(1))
    assert verify(forged.path).ok
    troubles = {each.trouble for each in verify(forged.path, public_key=true.keys.public).findings}
    assert troubles == {"other key", "forged checkpoint"}


async def test_an_older_copy_put_in_place_is_found_by_the_export(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    await desk.written(a_record(1))
    shutil.copy(desk.path, tmp_path / "older")
    await desk.written(a_record(2))
    shutil.copy(tmp_path / "older", desk.path)
    assert checked(desk).ok
    report = verify(desk.path, public_key=desk.keys.public, export=desk.export)
    assert first_of(report)[:2] == ("truncated", 2)


async def test_a_log_rewritten_by_who_holds_the_key_is_found_by_the_export(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    await desk.written(a_record(1), a_record(2))
    connection = sqlite3.connect(desk.path, isolation_level=None)
    connection.execute("UPDATE records SET line = replace(line, '\"ok\"', '\"error\"') WHERE seq = 2")
    connection.close()
    rechained(desk, 1)
    connection = sqlite3.connect(desk.path, isolation_level=None)
    origin = connection.execute("SELECT origin FROM log").fetchone()[0]
    chain = Chain(head=genesis(origin))
    for (line,) in connection.execute("SELECT line FROM records ORDER BY seq"):
        chain.append(line.encode())
    connection.execute("UPDATE checkpoints SET note = ?", (sign(origin, 2, chain.root(), 0, desk.keys.signing),))
    connection.close()
    assert verify(desk.path, public_key=desk.keys.public).ok
    report = verify(desk.path, public_key=desk.keys.public, export=desk.export)
    assert first_of(report)[:2] == ("rewritten", 2)


def scribbled(size: int) -> Callable[[bytes], bytes]:
    def scribble(data: bytes) -> bytes:
        at = data.index(b'"subject":"ana"')
        return data[:at] + b"\x7f" * size + data[at + size :]

    return scribble


def halved(data: bytes) -> bytes:
    return data[: len(data) // 2]


async def test_a_damaged_file_is_found_and_does_not_break_the_check(desk: Desk) -> None:
    whole = desk.path.read_bytes()
    for change in (scribbled(1), scribbled(4096), halved):
        desk.path.write_bytes(change(whole))
        try:
            assert not checked(desk).ok
        except Unavailable as error:
            assert "cannot be" in error.message


async def test_a_line_that_is_no_json_is_found(desk: Desk) -> None:
    touched(desk, "UPDATE records SET line = x'ff00' WHERE seq = 4")
    rechained_from = first_of(checked(desk))
    assert rechained_from[:2] == ("altered", 4)


async def test_progress_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.storage.audit.verify._TELL_EVERY", 10)
    told: list[tuple[int, int]] = []
    verify(desk.path, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(10, 30), (20, 30), (30, 30)]


async def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        verify(tmp_path / "audit.db")
    await Desk(tmp_path).written(a_record())
    with pytest.raises(Unavailable):
        verify(tmp_path / "audit.db", export=tmp_path / "elsewhere.txt")


async def test_a_log_is_checked_while_it_is_written(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with desk.opened() as audit:
        await audit.record_durably(a_record(1))
        assert (checked(desk).ok, checked(desk).records) == (True, 1)
        await audit.record_durably(a_record(2))
        assert (checked(desk).ok, checked(desk).records) == (True, 2)
