"""What was seen of the definitions servers give, and which of it is trusted. Compares nothing but digests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, RowMapping, and_, bindparam, create_engine, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from adapters.storage.tables import pins
from adapters.storage.transactions import Transactions
from gateway.core.errors import Conflict, NotFound, Unavailable
from gateway.core.ports.pinning import Pin

PINS = "pins"
"""The topic under which changes are marked."""

_c = pins.c
_PLACE = and_(_c.tenant == bindparam("of_tenant"), _c.name == bindparam("of_name"))
_FIND = select(pins).where(_PLACE)
_ALL = select(pins).order_by(_c.tenant, _c.owner, _c.name)
_ADD = insert(pins)
_CHANGE = update(pins).where(_PLACE)


class SqlPins:
    """See `Pins`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def all(self) -> tuple[Pin, ...]:
        rows = await self._database.read(lambda connection: connection.execute(_ALL).mappings().all())
        return tuple(_pin_from(row) for row in rows)

    async def see(self, pins: Sequence[Pin]) -> tuple[Pin, ...]:
        def act(connection: Connection) -> tuple[Pin, ...]:
            found = tuple(_see(connection, pin) for pin in pins)
            self._database.mark(connection, PINS)
            return found

        return await self._database.write(act, about=PINS)

    async def approve(self, tenant: str, name: str, digest: str, *, at_us: int, by: str) -> Pin:
        place = {"of_tenant": tenant, "of_name": name}

        def act(connection: Connection) -> Pin:
            row = connection.execute(_FIND, place).mappings().first()
            if row is None:
                raise NotFound(f"nothing called {name} was ever seen")
            if row["seen_digest"] != digest:
                raise changed_meanwhile(name)
            trusted = {"digest": digest, "definition": row["seen"], "approved_at_us": at_us, "approved_by": by}
            connection.execute(_CHANGE, {**place, **trusted})
            self._database.mark(connection, PINS)
            return _pin_from({**row, **trusted})

        return await self._database.write(act, about=PINS)


def pins_in_file(path: Path) -> tuple[Pin, ...]:
    """The pins a gateway has kept in its file, which may be at work with it; none where there is no such file. Changes
    nothing. Raises: Unavailable: it cannot be read."""
    if not path.exists():
        return ()
    engine = create_engine(f"sqlite:///file:{quote(str(path))}?mode=ro&uri=true")
    try:
        with engine.connect() as connection:
            return tuple(_pin_from(row) for row in connection.execute(_ALL).mappings().all())
    except SQLAlchemyError as error:
        raise Unavailable(f"what is pinned in {path.name} cannot be read") from error
    finally:
        engine.dispose()


def changed_meanwhile(name: str) -> Conflict:
    """What whoever approves something else than what is there is told."""
    return Conflict(f"{name} has changed since you looked at it: look again")


def _see(connection: Connection, pin: Pin) -> Pin:
    place = {"of_tenant": pin.tenant, "of_name": pin.name}
    row = connection.execute(_FIND, place).mappings().first()
    if row is None:
        connection.execute(_ADD, _row_from(pin))
        return pin
    seen = {"seen_digest": pin.seen_digest, "seen": dict(pin.seen), "seen_at_us": pin.seen_at_us}
    if row["seen_digest"] != pin.seen_digest:
        connection.execute(_CHANGE, {**place, **seen})
        return _pin_from({**row, **seen})
    return _pin_from(row)


def _row_from(pin: Pin) -> dict[str, Any]:
    row: dict[str, Any] = {column.name: getattr(pin, column.name) for column in pins.columns}
    return {**row, "definition": dict(pin.definition), "seen": dict(pin.seen)}


def _pin_from(row: "RowMapping | dict[Any, Any]") -> Pin:
    return Pin(**row)
