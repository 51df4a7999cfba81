from pathlib import Path

import pytest

from adapters.storage.audit.erase import erase_bodies
from adapters.storage.audit.reader import AuditReader, Query
from adapters.storage.audit.verify import verify
from gateway.core.content import plain
from gateway.core.errors import NotFound
from gateway.core.model import principal
from tests.fakes_audit import Desk, a_record

pytestmark = pytest.mark.anyio

BOB = principal("bob", tenant="acme")


def left_in(directory: Path) -> bytes:
    """Every byte of every file."""
    return b"".join(each.read_bytes() for each in sorted(directory.iterdir()))


async def test_what_a_subject_said_is_erased_from_the_file_and_the_chain_holds(tmp_path: Path) -> None:
    desk = Desk(tmp_path, bodies=True)
    async with desk.opened() as audit:
        for number in range(3):
            audit.record(a_record(number, request=plain(f"ana's own words {number}")))
        await audit.record_durably(a_record(3, principal=BOB, tenant="acme", request=plain("bob's own words")))
        assert erase_bodies(desk.path, Query(tenant="default", subject="ana", limit=1)) == 3
        assert erase_bodies(desk.path, Query(tenant="default", subject="ana")) == 0
        await audit.record_durably(a_record(4, request=None))
    assert verify(desk.path, digest_key=desk.keys.digest).ok
    (ana,) = AuditReader(desk.path).show(a_record(0).id, tenant="default")
    (bob,) = AuditReader(desk.path).show(a_record(3).id, tenant="acme")
    assert ana.request is None
    assert bob.request is not None
    left = left_in(tmp_path)
    assert b"own words 1" not in left
    assert b"bob's own words" in left


async def test_the_same_words_of_two_tenants_are_kept_apart(tmp_path: Path) -> None:
    desk = Desk(tmp_path, bodies=True)
    await desk.written(a_record(1), a_record(2, principal=BOB, tenant="acme"))
    assert erase_bodies(desk.path, Query(tenant="default")) == 1
    (bob,) = AuditReader(desk.path).show(a_record(2).id, tenant="acme")
    assert bob.request == {"structured": {"order": "A-1"}}


async def test_where_there_is_no_log_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        erase_bodies(tmp_path / "audit.db", Query(tenant=None))
    assert left_in(tmp_path) == b""
