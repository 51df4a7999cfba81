"""Runs that messages have started. Knows no broker."""

from dataclasses import asdict, fields

from sqlalchemy import Connection, bindparam, func, insert, or_, select, update

from adapters.storage.tables import starts
from adapters.storage.transactions import Transactions
from gateway.core.ports.starts import Start

_c = starts.c
_RUN = _c.run_id == bindparam("of_run")
_MESSAGE = (
    _c.bus == bindparam("of_bus"),
    _c.topic == bindparam("of_topic"),
    _c.message_id == bindparam("of_message"),
)
_UNTOLD = _c.told_at_us == 0
_KNOWN = select(_c.run_id).where(or_(_RUN, (_MESSAGE[0] & _MESSAGE[1] & _MESSAGE[2])))
_ADD = insert(starts)
_COUNT = select(func.count()).select_from(starts).where(*_MESSAGE[:2], _UNTOLD)
_FIELDS = tuple(starts.c[each.name] for each in fields(Start))
_FIND = select(*_FIELDS).where(*_MESSAGE)
_UNDER_WAY = select(*_FIELDS).where(_UNTOLD).order_by(_c.at_us, _c.run_id).limit(bindparam("most"))
_CLAIM = update(starts).where(
    _RUN, _UNTOLD, or_(_c.claimed_by == bindparam("of_claimer"), _c.claimed_until_us <= bindparam("now_us"))
)
_TELL = update(starts).where(_RUN)


class SqlStarts:
    """See `StartStore`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def add(self, start: Start) -> None:
        place = {**_message(start.bus, start.topic, start.message_id), "of_run": start.run_id}
        row = {**asdict(start), "claimed_by": "", "claimed_until_us": 0, "told_at_us": 0}

        def act(connection: Connection) -> None:
            if connection.execute(_KNOWN, place).first() is None:
                connection.execute(_ADD, row)

        await self._database.write(act, about=start.run_id)

    async def find(self, bus: str, topic: str, message_id: str) -> Start | None:
        place = _message(bus, topic, message_id)
        row = await self._database.read(lambda connection: connection.execute(_FIND, place).mappings().first())
        return None if row is None else Start(**row)

    async def count(self, bus: str, topic: str) -> int:
        place = {"of_bus": bus, "of_topic": topic}
        return await self._database.read(lambda connection: connection.execute(_COUNT, place).scalar_one())

    async def under_way(self, limit: int) -> tuple[Start, ...]:
        asked = {"most": limit}
        rows = await self._database.read(lambda connection: connection.execute(_UNDER_WAY, asked).mappings().all())
        return tuple(Start(**row) for row in rows)

    async def claim(self, run_id: str, *, by: str, now_us: int, until_us: int) -> bool:
        values = {
            "of_run": run_id,
            "of_claimer": by,
            "now_us": now_us,
            "claimed_by": by,
            "claimed_until_us": until_us,
        }

        def act(connection: Connection) -> bool:
            return connection.execute(_CLAIM, values).rowcount > 0

        return await self._database.write(act, about=run_id)

    async def told(self, run_id: str, at_us: int) -> None:
        def act(connection: Connection) -> None:
            connection.execute(_TELL, {"of_run": run_id, "told_at_us": at_us})

        await self._database.write(act, about=run_id)


def _message(bus: str, topic: str, message_id: str) -> dict[str, str]:
    return {"of_bus": bus, "of_topic": topic, "of_message": message_id}
