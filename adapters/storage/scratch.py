"""Scratchpads of all runs; on SQLite in a file of their own: in the engine's they would fight its one writer."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    Connection,
    MetaData,
    RowMapping,
    Table,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from adapters.storage.columns import TEXT, JsonText
from adapters.storage.database import Database
from adapters.storage.run_claims import Claim, ClaimTables
from adapters.storage.schema import Schema
from adapters.storage.transactions import Transactions
from gateway.core.errors import Conflict
from gateway.core.json import JsonObject, json_object, json_text
from gateway.core.labels import labels_from_json
from gateway.core.ports.journal import Write
from gateway.core.ports.scratchpad import Entry

_TABLES = MetaData()

entries = Table(
    "entries",
    _TABLES,
    Column("run_id", TEXT, primary_key=True),
    Column("key", TEXT, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("value", JsonText, nullable=True),
    Column("writer", TEXT, nullable=False),
    Column("labels", JsonText, nullable=True),
)
writes = Table(
    "writes",
    _TABLES,
    Column("run_id", TEXT, primary_key=True),
    Column("once", TEXT, primary_key=True),
    Column("outcome", JsonText, nullable=False),
)
_claims = ClaimTables(_TABLES)

SCRATCH_SCHEMA = Schema(name="scratch", number=2, tables=_TABLES, migrations={2: _claims.add_claimants})

_RUN: BindParameter[str] = bindparam("of_run")
_KEY: BindParameter[str] = bindparam("of_key")

_GET = select(entries).where(entries.c.run_id == _RUN, entries.c.key == _KEY)
_ALL = select(entries).where(entries.c.run_id == _RUN).order_by(entries.c.key)
_ADD = insert(entries)
_REPLACE = update(entries).where(entries.c.run_id == _RUN, entries.c.key == _KEY)
_WRITTEN = select(writes.c.outcome).where(writes.c.run_id == _RUN, writes.c.once == bindparam("of_once"))
_REMEMBER = insert(writes)
_WRITES = select(writes.c.once, writes.c.outcome).where(writes.c.run_id == _RUN)
_FORGET = (delete(entries).where(entries.c.run_id == _RUN), delete(writes).where(writes.c.run_id == _RUN))


class SqlScratchStore:
    """See `ScratchStore`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database
        self._file: Database | None = None
        """Its own, where it has one."""
        self._claiming: set[str] | None = None
        """Runs that may have claimed something, once somebody asked; None as well where other processes claim."""

    @classmethod
    async def open(cls, path: Path) -> "SqlScratchStore":
        """The store in the file at `path`. Raises: Unavailable: see `Database.open`."""
        file = await Database.open(path, SCRATCH_SCHEMA)
        store = cls(file)
        store._file = file
        return store

    async def get(self, run_id: str, key: str) -> Entry | None:
        place = {"of_run": run_id, "of_key": key}
        row = await self._database.read(lambda connection: connection.execute(_GET, place).mappings().first())
        return None if row is None else _entry_from(row)

    async def all(self, run_id: str) -> Mapping[str, Entry]:
        rows = await self._database.read(
            lambda connection: connection.execute(_ALL, {"of_run": run_id}).mappings().all()
        )
        return {row["key"]: _entry_from(row) for row in rows}

    async def put(self, run_id: str, entry: Entry, *, expected_version: int | None, once: str) -> Entry:
        def act(connection: Connection) -> JsonObject:
            if once:
                known = connection.execute(_WRITTEN, {"of_run": run_id, "of_once": once}).scalar()
                if known is not None:
                    return json_object(known)
            outcome = _put(connection, run_id, entry, expected_version)
            if once:
                connection.execute(_REMEMBER, {"run_id": run_id, "once": once, "outcome": outcome})
            return outcome

        # The Conflict is raised outside the transaction, which would forget it otherwise.
        outcome = await self._database.write(act, about=run_id)
        if "actual" in outcome:
            raise conflict_from(outcome)
        return _entry_from(outcome)

    async def writes(self, run_id: str) -> tuple[Write, ...]:
        rows = await self._database.read(lambda connection: connection.execute(_WRITES, {"of_run": run_id}).all())
        return tuple(
            Write(once=row.once, key=row.outcome["key"], version=row.outcome["version"], writer=row.outcome["writer"])
            for row in rows
            if "version" in row.outcome
        )

    async def copy(self, origin: str, run_id: str, once: Collection[str]) -> None:
        wanted = frozenset(once)

        def act(connection: Connection) -> None:
            found = connection.execute(_WRITES, {"of_run": origin}).all()
            made = [row for row in found if row.once in wanted and "version" in row.outcome]
            for statement in _FORGET:
                connection.execute(statement, {"of_run": run_id})
            if made:
                connection.execute(
                    _REMEMBER, [{"run_id": run_id, "once": row.once, "outcome": row.outcome} for row in made]
                )
                latest = {
                    row.outcome["key"]: row.outcome for row in sorted(made, key=lambda row: row.outcome["version"])
                }
                connection.execute(_ADD, [{"run_id": run_id, **outcome} for outcome in latest.values()])

        await self._database.write(act)

    async def belongs(self, run_id: str, to: str) -> None:
        await self._database.write(lambda connection: _claims.join(connection, run_id, to), about=run_id)

    async def claim(self, tenant: str, run_id: str, resource: str, *, until_us: int, now_us: int) -> bool:
        claim = Claim(tenant=tenant, resource=resource, run_id=run_id, until_us=until_us)
        (await self._those_who_claim(run_id)).add(run_id)
        return await self._database.write(lambda connection: _claims.take(connection, claim, now_us), about=run_id)

    async def release(self, tenant: str, run_id: str, resource: str) -> None:
        await self._database.write(
            lambda connection: _claims.give_back(connection, run_id, (tenant, resource)), about=run_id
        )

    async def release_all(self, run_id: str) -> None:
        """See `ScratchStore.release_all`. Every run ends with it, and most have claimed nothing."""
        claiming = await self._those_who_claim(run_id)
        if run_id not in claiming:
            return
        claiming.discard(run_id)
        try:
            await self._database.write(lambda connection: _claims.give_back(connection, run_id), about=run_id)
        except BaseException:
            claiming.add(run_id)
            raise

    async def _those_who_claim(self, run_id: str) -> set[str]:
        """Runs that may have claimed something; where others claim too, this one may always have."""
        if self._database.shared:
            return {run_id}
        if self._claiming is None:
            found = await self._database.read(_claims.claiming)
            if self._claiming is None:  # somebody else may have asked meanwhile, and claimed
                self._claiming = found
        return self._claiming

    async def hold(self, run_id: str) -> None:
        await self._database.write(lambda connection: _claims.hold(connection, run_id), about=run_id)

    async def let_go_on(self, run_id: str, held_us: int) -> None:
        await self._database.write(lambda connection: _claims.let_go_on(connection, run_id, held_us), about=run_id)

    async def forget(self, run_id: str) -> None:
        def act(connection: Connection) -> None:
            for statement in _FORGET:
                connection.execute(statement, {"of_run": run_id})
            _claims.forget(connection, run_id)

        await self._database.write(act, about=run_id)

    async def aclose(self) -> None:
        """Let go of the file it was opened with; bounded; idempotent."""
        if self._file is not None:
            await self._file.aclose()


def _put(connection: Connection, run_id: str, entry: Entry, expected_version: int | None) -> JsonObject:
    place = {"of_run": run_id, "of_key": entry.key}
    known = connection.execute(_GET, place).mappings().first()
    actual: int = 0 if known is None else known["version"]
    if expected_version is not None and expected_version != actual:
        return {"key": entry.key, "expected": expected_version, "actual": actual}
    labels: JsonObject = entry.labels.to_json()
    written: JsonObject = {"version": actual + 1, "value": entry.value, "writer": entry.writer, "labels": labels}
    if known is None:
        connection.execute(_ADD, {"run_id": run_id, "key": entry.key, **written})
    else:
        connection.execute(_REPLACE, {**place, **written})
    return {"key": entry.key, **written}


def conflict_from(outcome: JsonObject) -> Conflict:
    """What a write at another version than the expected one raises."""
    key, expected, actual = outcome.get("key"), outcome.get("expected"), outcome.get("actual")
    return Conflict(
        f"{key} of the scratchpad is at version {actual}, not {expected}",
        detail={"key": key, "expected": expected, "actual": actual},
    )


def _entry_from(row: RowMapping | Mapping[str, Any]) -> Entry:
    return Entry(
        key=json_text(row["key"]),
        value=row["value"],
        version=row["version"],
        writer=json_text(row["writer"]),
        labels=labels_from_json(row["labels"]),
    )
