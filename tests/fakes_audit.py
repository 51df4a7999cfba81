"""Records and logs for the tests of the audit log."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from adapters.storage.audit.keys import AuditKeys, new_audit_keys
from adapters.storage.audit.log import AuditFile, open_audit
from adapters.storage.settings import AuditSettings
from adapters.system import SystemClock
from gateway.core.content import plain
from gateway.core.model import principal
from gateway.core.record import Record

ANA = principal("ana", roles=frozenset({"support", "clerk"}))
HELP = principal("workflow:help", kind="workflow", behind=ANA)
REFUNDS = principal("agent:refunds", kind="agent", behind=HELP)
START_US = 1_795_000_000_000_000


def a_record(number: int = 0, **changed: Any) -> Record:
    """An outcome as the pipeline writes it."""
    fields: dict[str, Any] = {
        "id": f"rec_{number:026d}",
        "phase": "outcome",
        "at_us": START_US + number,
        "principal": ANA,
        "tenant": "default",
        "operation": "call",
        "capability": "tool:orders/refund",
        "protocol": "mcp",
        "outcome": "ok",
        "policy": "access",
        "rule": "support.allow[0]",
        "snapshot": "v1",
        "duration_us": 1200,
        "request_id": str(number),
        "request": plain({"order": "A-1"}),
    }
    return Record(**{**fields, **changed})


class Desk:
    """A directory with a log in it, and the keys to it."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.path = directory / "audit.db"
        self.export = directory / "checkpoints.txt"
        self.keys: AuditKeys = new_audit_keys()
        self.settings = AuditSettings(**settings)

    def opened(self, **settings: Any) -> AbstractAsyncContextManager[AuditFile]:
        """The log, with settings changed for this once."""
        changed = self.settings.model_copy(update=settings)
        return open_audit(self.path, keys=self.keys, settings=changed, clock=SystemClock(), export=self.export)

    async def written(self, *records: Record) -> None:
        """A log that was opened, given these records, and closed."""
        async with self.opened() as audit:
            for record in records:
                audit.record(record)
