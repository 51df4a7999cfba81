"""What agents remember, found again by its words: SQLite's FTS5, or PostgreSQL's text search.

What counts as a word is decided here once, for both (`words_in`); the database gets words with spaces between. A query
is an "or" of quoted words, so nothing in it is a search operator. On SQLite the first word of every row says in which
memory it stands: rows of other tenants are not even looked at.
"""

from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, text

from adapters.storage.tables import memos
from adapters.storage.transactions import Transactions
from gateway.core.labels import labels_from_json
from gateway.core.ports.memory import Memo, MemoryPlace, Room, words_asked, words_in

_c = memos.c
_HERE = (_c.tenant == bindparam("of_tenant"), _c.name == bindparam("of_name"))
_KNOWN = select(_c.number).where(*_HERE, _c.id == bindparam("of_id"))
_KEEP = insert(memos).returning(_c.number)
_FILLED = select(func.count(), func.coalesce(func.sum(_c.size_bytes), 0), func.min(_c.at_us)).where(*_HERE)
_SIZES = select(_c.number, _c.size_bytes, _c.at_us).where(*_HERE).order_by(_c.at_us.desc(), _c.id.desc())
_LIST = (
    select(memos)
    .where(*_HERE, _c.at_us >= bindparam("after_us"))
    .order_by(_c.at_us.desc(), _c.id.desc())
    .limit(bindparam("most"))
)
_THESE = select(_c.number).where(*_HERE, _c.id.in_(bindparam("of_ids", expanding=True)))
_OLDER = select(_c.number).where(_c.name == bindparam("of_name"), _c.at_us < bindparam("before_us"))
_OLDER_OF_ONE = _OLDER.where(_c.tenant == bindparam("of_tenant"))
_FORGET = delete(memos).where(_c.number.in_(bindparam("numbers", expanding=True)))
_NAMES = select(_c.name, func.count()).group_by(_c.name)
_NAMES_OF_ONE = _NAMES.where(_c.tenant == bindparam("of_tenant"))

_INDEX = text("INSERT INTO memo_words (rowid, place, words) VALUES (:number, :place, :words)")
_UNINDEX = text("DELETE FROM memo_words WHERE rowid IN :numbers").bindparams(bindparam("numbers", expanding=True))
_FOUND_BY_SQLITE = text(
    "SELECT memos.* FROM memo_words JOIN memos ON memos.number = memo_words.rowid"
    " WHERE memo_words MATCH :query AND memos.tenant = :of_tenant AND memos.name = :of_name"
    " AND memos.at_us >= :after_us"
    # Where a word stands in most rows it weighs next to nothing; the last digits of that are chance.
    " ORDER BY round(bm25(memo_words, 0.0, 1.0), 9), memos.at_us DESC, memos.id DESC LIMIT :most"
)
_FOUND_BY_POSTGRES = text(
    "SELECT memos.* FROM memos, to_tsquery('simple', :query) AS asked"
    " WHERE tenant = :of_tenant AND name = :of_name AND at_us >= :after_us AND to_tsvector('simple', words) @@ asked"
    " ORDER BY ts_rank(to_tsvector('simple', words), asked) DESC, at_us DESC, id DESC LIMIT :most"
)
_AT_ONCE = 500


class SqlMemory:
    """See `Memory`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def add(self, place: MemoryPlace, memo: Memo, room: Room) -> None:
        where = {"of_tenant": place.tenant, "of_name": place.name}
        row = _row(place, memo)

        def act(connection: Connection) -> None:
            if connection.execute(_KNOWN, {**where, "of_id": memo.id}).first() is None:
                number = connection.execute(_KEEP, row).scalar_one()
                if _is_sqlite(connection):
                    connection.execute(_INDEX, {"number": number, "place": _mark(place), "words": row["words"]})
            _forget(connection, _surplus(connection, where, room))

        await self._database.write(act, about=f"{place.tenant}/{place.name}")

    async def search(self, place: MemoryPlace, query: str, *, after_us: int, limit: int) -> tuple[Memo, ...]:
        words = words_asked(query)
        if not words:
            return ()
        asked: dict[str, Any] = {
            "of_tenant": place.tenant,
            "of_name": place.name,
            "after_us": after_us,
            "most": max(limit, 0),
        }

        def act(connection: Connection) -> list[dict[str, Any]]:
            if _is_sqlite(connection):
                either = " OR ".join(f'"{word}"' for word in words)
                given = {**asked, "query": f'place : "{_mark(place)}" AND words : ({either})'}
                statement = _FOUND_BY_SQLITE
            else:
                given = {**asked, "query": " | ".join(f"'{word}'" for word in words)}
                statement = _FOUND_BY_POSTGRES
            columns = statement.columns(*_c)
            return [dict(row) for row in connection.execute(columns, given).mappings()]

        return tuple(map(_memo, await self._database.read(act)))

    async def list(self, place: MemoryPlace, *, after_us: int, limit: int) -> tuple[Memo, ...]:
        asked = {"of_tenant": place.tenant, "of_name": place.name, "after_us": after_us, "most": max(limit, 0)}

        def act(connection: Connection) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(_LIST, asked).mappings()]

        return tuple(map(_memo, await self._database.read(act)))

    async def forget(self, place: MemoryPlace, ids: Collection[str]) -> int:
        asked = {"of_tenant": place.tenant, "of_name": place.name, "of_ids": [*ids]}

        def act(connection: Connection) -> int:
            return _forget(connection, [*connection.execute(_THESE, asked).scalars()])

        return await self._database.write(act, about=f"{place.tenant}/{place.name}")

    async def lapse(self, name: str, before_us: int, *, tenant: str = "") -> int:
        asked = {"of_name": name, "before_us": before_us, **({"of_tenant": tenant} if tenant else {})}

        def act(connection: Connection) -> int:
            older = _OLDER_OF_ONE if tenant else _OLDER
            return _forget(connection, [*connection.execute(older, asked).scalars()])

        return await self._database.write(act, about=f"{tenant}/{name}")

    async def names(self, tenant: str = "") -> Mapping[str, int]:
        asked, wanted = ({"of_tenant": tenant}, _NAMES_OF_ONE) if tenant else ({}, _NAMES)

        def act(connection: Connection) -> dict[str, int]:
            return {name: count for name, count in connection.execute(wanted, asked).all()}

        return await self._database.read(act)


def _surplus(connection: Connection, where: Mapping[str, str], room: Room) -> list[int]:
    """What has lapsed or has no room."""
    count, size_bytes, oldest_us = connection.execute(_FILLED, where).one()
    if count <= room.entries and size_bytes <= room.bytes and (oldest_us is None or oldest_us >= room.after_us):
        return []
    rows = connection.execute(_SIZES, where).all()
    left = room.bytes
    for kept, (_, size, at_us) in enumerate(rows):
        left -= size
        if kept == room.entries or left < 0 or at_us < room.after_us:
            return [row.number for row in rows[kept:]]
    return []


def _forget(connection: Connection, numbers: list[int]) -> int:
    for start in range(0, len(numbers), _AT_ONCE):
        some = {"numbers": numbers[start : start + _AT_ONCE]}
        if _is_sqlite(connection):
            connection.execute(_UNINDEX, some)
        connection.execute(_FORGET, some)
    return len(numbers)


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


def _mark(place: MemoryPlace) -> str:
    """A word no text has, which every entry of the place has."""
    return sha256(f"{place.tenant}\n{place.name}".encode()).hexdigest()


def _row(place: MemoryPlace, memo: Memo) -> dict[str, Any]:
    return {
        "tenant": place.tenant,
        "name": place.name,
        "id": memo.id,
        "text": memo.text,
        "tags": [*memo.tags],
        "words": " ".join(words_in(" ".join((memo.text, *memo.tags)))),
        "run_id": memo.run_id,
        "step_id": memo.step_id,
        "agent": memo.agent,
        "labels": memo.labels.to_json(),
        "at_us": memo.at_us,
        "size_bytes": memo.size_bytes,
    }


def _memo(row: dict[str, Any]) -> Memo:
    return Memo(
        id=row["id"],
        text=row["text"],
        tags=tuple(row["tags"] or ()),
        run_id=row["run_id"],
        step_id=row["step_id"],
        agent=row["agent"],
        labels=labels_from_json(row["labels"]),
        at_us=row["at_us"],
    )
