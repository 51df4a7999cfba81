"""Reading and proving the audit log, offline, from a real one."""

import json
import sqlite3
from pathlib import Path

import anyio
import pytest

from adapters.storage.audit.keys import load_or_create_audit_keys
from adapters.storage.audit.log import open_audit
from adapters.storage.directory import DataDirectory
from adapters.storage.settings import AuditSettings
from gateway.cli.failure import FINDING, OK, USAGE
from gateway.cli.main import main
from gateway.core.model import principal
from gateway.core.record import Record
from tests.fakes import FakeClock

ANA = principal("ana", roles=frozenset({"support"}))
AGENT = principal("agent:refunds", kind="agent", behind=ANA)


def record(number: int, *, denied: bool = False) -> Record:
    return Record(
        id=f"rec_{number}",
        phase="outcome",
        at_us=1_795_253_400_000_000 + number,
        principal=AGENT if denied else ANA,
        tenant="default",
        operation="call",
        capability="tool:orders/refund" if denied else "tool:orders/find",
        outcome="denied" if denied else "ok",
        rule="support.deny[0]" if denied else "support.allow[0]",
        reason="refunds are for people" if denied else "",
        duration_us=2500,
    )


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """A data directory with three records."""
    data = DataDirectory(root=tmp_path / ".drawbridge")
    data.prepare()

    async def fill() -> None:
        keys = load_or_create_audit_keys(data.keys)
        async with open_audit(data.audit_db, keys=keys, settings=AuditSettings(), clock=FakeClock()) as log:
            for each in (record(1), record(2, denied=True), record(3)):
                await log.record_durably(each)

    anyio.run(fill)
    return data


def run(data: DataDirectory, *arguments: str) -> int:
    return main(["audit", *arguments, "--data", str(data.root)])


def test_the_latest_records_are_lines_with_who_what_and_why(
    data: DataDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, "tail", "-n", "2") == OK
    denied, allowed = capsys.readouterr().out.splitlines()
    for part in ("denied", "ana > agent:refunds", "tool:orders/refund", "support.deny[0]: refunds are for people"):
        assert part in denied
    assert "ok" in allowed


def test_a_search_narrows_by_all_that_is_given(data: DataDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "search", "--outcome", "denied", "--as", "ana", "--call", "tool:orders/*", "--json") == OK
    assert [each["id"] for each in json.loads(capsys.readouterr().out)["records"]] == ["rec_2"]
    assert run(data, "search", "--since", "2030-01-01T00:00:00Z") == OK
    assert capsys.readouterr().err.strip() == "No record fits."


@pytest.mark.parametrize("since", ["soon", "2026-13-01T00:00:00Z"])
def test_a_time_that_is_none_is_wrong_usage(since: str, data: DataDirectory) -> None:
    assert run(data, "search", "--since", since) == USAGE


def test_one_record_is_shown_by_the_id_a_denial_names(data: DataDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "show", "rec_2") == OK
    assert "refunds are for people" in capsys.readouterr().out
    assert run(data, "show", "rec_9") == FINDING


def test_an_untouched_log_is_intact_and_a_touched_one_is_not(
    data: DataDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, "verify") == OK
    assert "intact" in capsys.readouterr().out
    with sqlite3.connect(data.audit_db) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in names:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE records SET line = replace(line, 'people', 'anyone') WHERE seq = 2")
    connection.close()
    assert run(data, "verify", "--json") == FINDING
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["findings"][0]["seq"]) == (False, 2)


def test_an_export_has_every_record_once(
    data: DataDirectory, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(data, "export", "--to", str(tmp_path / "out.jsonl")) == OK
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [each["record"]["id"] for each in lines] == ["rec_1", "rec_2", "rec_3"]
    capsysbinary.readouterr()
    assert run(data, "export", "--format", "ocsf") == OK
    events = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert [each["status"] for each in events] == ["Success", "Failure", "Success"]


def test_where_nothing_was_recorded_the_answer_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "tail", "--data", str(tmp_path)]) == FINDING
    assert "audit.db" in capsys.readouterr().err
