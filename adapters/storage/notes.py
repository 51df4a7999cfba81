"""What runs of a workflow keep for later runs of it. Knows no topic."""

from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select

from adapters.storage.tables import notes
from adapters.storage.transactions import Transactions
from gateway.core.json import Json
from gateway.core.ports.runs import NOTES_AT_MOST, NotePlace

_c = notes.c
_PLACE = (
    _c.tenant == bindparam("of_tenant"),
    _c.workflow == bindparam("of_workflow"),
    _c.owner == bindparam("of_owner"),
    _c.topic == bindparam("of_topic"),
    _c.key == bindparam("of_key"),
)
_GET = (
    select(_c.value)
    .where(*_PLACE, _c.until_us > bindparam("now_us"))
    .order_by(_c.at_us.desc(), _c.id.desc())
    .limit(bindparam("most"))
)
_FORGET = delete(notes).where(*_PLACE, _c.id == bindparam("of_id"))
_KEEP = insert(notes)
_LAPSED = delete(notes).where(*_PLACE, _c.until_us <= bindparam("now_us"))
_NEWEST = select(_c.id).where(*_PLACE).order_by(_c.at_us.desc(), _c.id.desc()).limit(NOTES_AT_MOST).scalar_subquery()
_SURPLUS = delete(notes).where(*_PLACE, _c.id.not_in(_NEWEST))


class SqlNotes:
    """See `NoteStore`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def put(self, place: NotePlace, note_id: str, value: Json, *, at_us: int, until_us: int) -> None:
        where = _where(place)
        row = {name.removeprefix("of_"): each for name, each in where.items()}

        def act(connection: Connection) -> None:
            connection.execute(_FORGET, {**where, "of_id": note_id})
            if value is not None:
                connection.execute(_KEEP, {**row, "id": note_id, "value": value, "at_us": at_us, "until_us": until_us})
            connection.execute(_LAPSED, {**where, "now_us": at_us})
            connection.execute(_SURPLUS, where)

        await self._database.write(act, about=place.key)

    async def get(self, place: NotePlace, *, now_us: int, limit: int) -> tuple[Json, ...]:
        asked = {**_where(place), "now_us": now_us, "most": limit}
        return tuple(await self._database.read(lambda connection: connection.execute(_GET, asked).scalars().all()))


def _where(place: NotePlace) -> dict[str, Any]:
    return {
        "of_tenant": place.tenant,
        "of_workflow": place.workflow,
        "of_owner": place.owner,
        "of_topic": place.topic,
        "of_key": place.key,
    }
