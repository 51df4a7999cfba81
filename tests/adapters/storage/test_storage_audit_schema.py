import sqlite3
import stat
from pathlib import Path

import pytest

from adapters.storage.audit.reader import AuditReader
from adapters.storage.audit.schema import open_to_read, open_to_write
from gateway.core.errors import Unavailable
from tests.fakes_audit import Desk, a_record

pytestmark = pytest.mark.anyio


def made(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


async def test_a_newer_file_is_refused_to_writers_and_readers_and_stays_as_it_is(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    await desk.written(a_record())
    made(desk.path, "PRAGMA user_version = 99")
    before = desk.path.read_bytes()
    with pytest.raises(Unavailable, match="newer"):
        async with desk.opened():
            pass
    with pytest.raises(Unavailable, match="newer"):
        AuditReader(desk.path).tail(1, tenant=None)
    assert desk.path.read_bytes() == before


@pytest.mark.parametrize(
    "statements", [("CREATE TABLE other (a)",), ("CREATE TABLE other (a)", "PRAGMA user_version = 1")]
)
async def test_somebody_elses_database_is_refused_and_stays_as_it_is(
    tmp_path: Path, statements: tuple[str, ...]
) -> None:
    path = tmp_path / "audit.db"
    made(path, *statements)
    before = path.read_bytes()
    for opening in (lambda: open_to_write(path, origin="o", public_key=b""), lambda: open_to_read(path)):
        with pytest.raises(Unavailable, match="no audit log"):
            opening()
    assert path.read_bytes() == before


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    path.write_text("text " * 2000)
    with pytest.raises(Unavailable):
        open_to_write(path, origin="o", public_key=b"")


async def test_an_empty_file_becomes_a_log_but_is_none(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    path.touch(mode=0o644)
    with pytest.raises(Unavailable, match="empty"):
        open_to_read(path)
    open_to_write(path, origin="o", public_key=b"").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    open_to_read(path).close()


async def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="elsewhere"):
        open_to_write(tmp_path / "elsewhere" / "audit.db", origin="o", public_key=b"")


async def test_a_readers_connection_cannot_write(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    await desk.written(a_record())
    connection = open_to_read(desk.path)
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM records")
    connection.close()
