"""What every audit log has to keep, whatever it writes to."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from adapters.storage.audit.log import AuditFile
from adapters.storage.audit.reader import AuditReader, Query
from gateway.core.errors import Unavailable
from gateway.core.json import json_text
from gateway.core.ports.storage import AuditLog
from tests.fakes import ListAudit
from tests.fakes_audit import Desk, a_record


class Opened(Protocol):
    @property
    def log(self) -> AuditLog: ...

    def stored(self) -> list[str]:
        """Ids of what would be there after a crash right now."""
        ...

    async def refuse(self) -> None:
        """Bring the log to a state in which it takes nothing."""
        ...


@dataclass
class InMemory:
    log: ListAudit

    def stored(self) -> list[str]:
        return [record.id for record in self.log.records]

    async def refuse(self) -> None:
        self.log.full = True


@dataclass
class InFile:
    log: AuditFile
    path: Path

    def stored(self) -> list[str]:
        found = AuditReader(self.path).search(Query(tenant=None, limit=1000))
        return [json_text(entry.fields["id"]) for entry in found]

    async def refuse(self) -> None:
        await self.log.aclose()


@pytest.fixture(params=["memory", "file"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    if request.param == "memory":
        yield InMemory(ListAudit())
        return
    async with Desk(tmp_path).opened() as audit:
        yield InFile(audit, tmp_path / "audit.db")


@pytest.mark.anyio
async def test_what_was_recorded_durably_is_there_when_the_call_returns(opened: Opened) -> None:
    await opened.log.record_durably(a_record(1))
    assert opened.stored() == [a_record(1).id]


@pytest.mark.anyio
async def test_a_durable_record_takes_everything_before_it_along_in_order(opened: Opened) -> None:
    for number in range(10):
        opened.log.record(a_record(number))
    await opened.log.record_durably(a_record(10))
    assert opened.stored() == [a_record(number).id for number in range(11)]


@pytest.mark.anyio
async def test_a_log_that_takes_nothing_says_so_to_both_kinds_of_callers(opened: Opened) -> None:
    await opened.refuse()
    with pytest.raises(Unavailable):
        opened.log.record(a_record(1))
    with pytest.raises(Unavailable):
        await opened.log.record_durably(a_record(2))
