"""The audit log, in memory."""

from dataclasses import replace

from gateway.core.record import Record


class MemoryAudit:
    """See `AuditLog`. Nothing is kept but the records themselves, in the order in which they were handed over."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def record(self, record: Record) -> None:
        self.records.append(replace(record))

    async def record_durably(self, record: Record) -> None:
        self.record(record)
