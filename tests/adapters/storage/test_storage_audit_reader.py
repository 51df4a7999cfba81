import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.storage.audit.reader import AuditReader, Entry, Query
from gateway.core.content import plain
from gateway.core.errors import NotFound, Unavailable
from gateway.core.labels import Labels
from gateway.core.model import principal
from tests.fakes_audit import REFUNDS, START_US, Desk, a_record

pytestmark = pytest.mark.anyio

LABELS = Labels(untrusted=frozenset({"server:web", "chaos:c1"}), confidential=frozenset({"email"}))
OTHER = principal("bob", tenant="acme")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path, bodies=True)
    await desk.written(
        a_record(1, phase="intent", outcome=""),
        a_record(1, result=plain("refunded")),
        a_record(2, principal=REFUNDS, capability="tool:orders/find", run_id="run_1", step_id="run_1/1"),
        a_record(3, outcome="denied", reason="\u00c4rger mit Regel SEVEN", capability="agent:refunds"),
        a_record(4, principal=OTHER, tenant="acme", run_id="run_1", labels=LABELS),
        a_record(5, principal=None, tenant="", operation="identify", outcome="denied"),
    )
    yield desk


def numbers(entries: "tuple[Entry, ...] | list[Entry]") -> list[int]:
    return [entry.seq for entry in entries]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(tenant=None), [1, 2, 3, 4, 5, 6]),
        (Query(tenant="default"), [1, 2, 3, 4]),
        (Query(tenant="acme"), [5]),
        (Query(tenant="nobody"), []),
        (Query(tenant=None, subject="ana"), [1, 2, 3, 4]),
        (Query(tenant=None, subject="agent:refunds"), [3]),
        (Query(tenant=None, subject="workflow:help"), [3]),
        (Query(tenant=None, capability="tool:orders/*"), [1, 2, 3, 5, 6]),
        (Query(tenant=None, capability="*:refund*"), [4]),
        (Query(tenant=None, outcome="denied"), [4, 6]),
        (Query(tenant="default", run_id="run_1"), [3]),
        (Query(tenant=None, run_id="run_1"), [3, 5]),
        (Query(tenant=None, step_id="run_1/1"), [3]),
        (Query(tenant="acme", record_id=a_record(1).id), []),
        (Query(tenant="default", record_id=a_record(1).id), [1, 2]),
        (Query(tenant=None, since_us=START_US + 3), [4, 5, 6]),
        (Query(tenant=None, until_us=START_US + 3), [1, 2, 3]),
        (Query(tenant=None, text="regel seven"), [4]),
        (Query(tenant=None, text="\u00c4rger"), [4]),
        (Query(tenant=None, text="' OR 1=1 --"), []),
        (Query(tenant=None, label="chaos:*"), [5]),
        (Query(tenant=None, label="email"), [5]),
        (Query(tenant=None, label="chaos"), []),
        (Query(tenant=None, label="untrusted"), []),
        (Query(tenant="default", label="chaos:c1"), []),
        (Query(tenant=None, limit=2), [5, 6]),
        (Query(tenant=None, after=2, limit=2), [3, 4]),
        (Query(tenant="default", outcome="denied", since_us=START_US + 4), []),
    ],
)
async def test_a_search_finds_what_matches_oldest_first(desk: Desk, query: Query, found: list[int]) -> None:
    assert numbers(AuditReader(desk.path).search(query)) == found


async def test_the_tail_is_the_end(desk: Desk) -> None:
    assert numbers(AuditReader(desk.path).tail(2, tenant=None)) == [5, 6]
    assert numbers(AuditReader(desk.path).tail(2, tenant="default")) == [3, 4]


async def test_one_call_is_shown_with_its_intent_and_what_was_said(desk: Desk) -> None:
    intent, outcome = AuditReader(desk.path).show(a_record(1).id, tenant="default")
    said = outcome.to_json()
    assert (intent.entry.fields["phase"], said["phase"], said["seq"]) == ("intent", "outcome", 2)
    assert said["request"] == {"structured": {"order": "A-1"}}
    assert said["result"] == {"parts": [{"text": "refunded", "media_type": "text/plain"}]}
    assert "result" not in intent.to_json()


async def test_no_call_of_another_tenant_is_shown(desk: Desk) -> None:
    assert AuditReader(desk.path).show(a_record(1).id, tenant="acme") == ()


async def test_following_gives_what_comes_and_only_that(desk: Desk) -> None:
    pauses = 0

    def pause() -> None:
        nonlocal pauses
        pauses += 1
        if pauses > 50:
            raise TimeoutError

    reader = AuditReader(desk.path)
    async with desk.opened() as audit:
        from_the_start = reader.follow(Query(tenant="default", after=2))
        assert numbers([next(from_the_start), next(from_the_start)]) == [3, 4]
        from_now_on = reader.follow(Query(tenant="default"), pause=pause)
        with pytest.raises(TimeoutError):
            next(from_now_on)
        pauses = 0
        again = reader.follow(Query(tenant="default", after=6), pause=pause)
        await audit.record_durably(a_record(7))
        await audit.record_durably(a_record(8, principal=OTHER, tenant="acme"))
        await audit.record_durably(a_record(9))
        assert numbers([next(again), next(again)]) == [7, 9]
        from_the_start.close()
        again.close()


async def test_everything_can_be_read_whatever_the_limit(desk: Desk) -> None:
    assert numbers(list(AuditReader(desk.path).entries(Query(tenant=None, limit=1)))) == [1, 2, 3, 4, 5, 6]


async def test_a_damaged_record_does_not_hide_the_others(desk: Desk) -> None:
    connection = sqlite3.connect(desk.path, isolation_level=None)
    connection.execute("UPDATE records SET line = '{\"id' WHERE seq = 3")
    connection.close()
    reader = AuditReader(desk.path)
    assert numbers(reader.search(Query(tenant=None, outcome="denied", subject=""))) == [4, 6]
    assert numbers(reader.search(Query(tenant=None, subject="ana"))) == [1, 2, 4]
    assert reader.search(Query(tenant=None))[2].to_json() == {"seq": 3, "id": "", "damaged": True}


async def test_no_log_and_no_database_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with pytest.raises(NotFound):
        AuditReader(path).tail(1, tenant=None)
    path.write_text("this is no database, however long it may be " * 100)
    with pytest.raises(Unavailable):
        AuditReader(path).tail(1, tenant=None)


async def test_reading_changes_nothing(desk: Desk) -> None:
    before = desk.path.read_bytes()
    AuditReader(desk.path).tail(10, tenant=None)
    assert desk.path.read_bytes() == before
