import hashlib
import sqlite3
from pathlib import Path

import msgspec
import pytest

from adapters.storage.audit.export import jsonl_of, ocsf_jsonl_of, ocsf_of
from adapters.storage.audit.merkle import genesis
from adapters.storage.audit.reader import AuditReader, Query
from tests.fakes_audit import START_US, Desk, a_record

pytestmark = pytest.mark.anyio


async def test_the_chain_can_be_checked_from_an_export(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    await desk.written(*(a_record(number) for number in range(5)))
    origin = sqlite3.connect(desk.path).execute("SELECT origin FROM log").fetchone()[0]
    before = genesis(origin)
    exported = b"".join(jsonl_of(entry) for entry in AuditReader(desk.path).entries(Query(tenant=None)))
    lines = exported.splitlines()
    for number, line in enumerate(lines, 1):
        said = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        before = hashlib.sha256(before + bytes(said["record"])).digest()
        assert bytes(said["hash"]).decode() == f'"{before.hex()}"'
        assert bytes(said["seq"]).decode() == str(number)
    assert len(lines) == 5


async def test_a_refused_call_becomes_an_api_activity(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    await desk.written(a_record(1, outcome="denied", code=1403, reason="no rule", run_id="run_1"))
    (entry,) = AuditReader(desk.path).tail(1, tenant=None)
    said = msgspec.json.decode(ocsf_jsonl_of(entry))
    assert said["unmapped"].pop("request_digest")
    assert said == {
        "category_uid": 6,
        "class_uid": 6003,
        "activity_id": 99,
        "type_uid": 600399,
        "severity_id": 3,
        "status_id": 2,
        "status": "Failure",
        "time": START_US // 1000,
        "duration": 1,
        "metadata": {
            "version": "1.4.0",
            "uid": a_record(1).id,
            "tenant_uid": "default",
            "product": {"name": "Drawbridge", "vendor_name": "Drawbridge"},
        },
        "actor": {"user": {"name": "ana", "type": "client", "groups": [{"name": "clerk"}, {"name": "support"}]}},
        "src_endpoint": {"name": "ana"},
        "api": {
            "operation": "call",
            "service": {"name": "tool:orders/refund"},
            "request": {"uid": "1"},
            "response": {"code": 1403, "message": "no rule"},
        },
        "action": "Denied",
        "action_id": 2,
        "policy": {"name": "access", "uid": "support.allow[0]"},
        "unmapped": {"phase": "outcome", "snapshot": "v1", "run_id": "run_1", "request_bytes": 30},
    }


@pytest.mark.parametrize(
    ("fields", "activity", "status"),
    [
        ({"operation": "read", "outcome": "ok"}, 2, 1),
        ({"operation": "task.get", "outcome": "error"}, 2, 2),
        ({"operation": "keys.mint"}, 99, 0),
        ({}, 99, 0),
    ],
)
async def test_activity_and_status_follow_the_record(fields: dict[str, str], activity: int, status: int) -> None:
    event = ocsf_of({**fields})
    assert (event["activity_id"], event["status_id"]) == (activity, status)
    assert "action" not in event
