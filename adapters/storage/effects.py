"""The ledger by which an effect happens once. Knows neither the call nor what its outcome means."""

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from adapters.storage.presence import is_alive
from adapters.storage.tables import effects
from adapters.storage.transactions import Transactions
from gateway.core.errors import Conflict, NotFound
from gateway.core.json import JsonObject
from gateway.core.ports.storage import EffectState, Fresh, Known, Unfinished

_c = effects.c
_THIS = (_c.tenant == bindparam("of_tenant"), _c.key == bindparam("of_key"))
_UNFINISHED = (*_THIS, _c.finished_at_us.is_(None))
_FIND = select(_c.digest, _c.process, _c.began_at_us, _c.tried_at_us, _c.finished_at_us, _c.outcome).where(*_THIS)
_BEGIN = insert(effects)
_AGAIN = (
    update(effects)
    .where(*_UNFINISHED)
    .values(attempts=_c.attempts + 1, process=bindparam("by_process"), tried_at_us=bindparam("now_us"))
)
_FINISH = update(effects).where(*_UNFINISHED).values(finished_at_us=bindparam("now_us"), outcome=bindparam("result"))
_LEAVE = update(effects).where(*_UNFINISHED).values(process="")
_FORGET = delete(effects).where(*_UNFINISHED)
_LONGEST_US = 3_600_000_000
"""No call takes longer: whoever tried it before could not tell what came of it."""


class SqlEffectLedger:
    """See `EffectLedger`."""

    def __init__(self, database: Transactions, *, process: str) -> None:
        """`process`: an id no other process has, nor this one after a restart."""
        self._database = database
        self._process = process

    async def begin(self, tenant: str, key: str, digest: str, at_us: int) -> EffectState:
        place = {"of_tenant": tenant, "of_key": key}
        row = {
            "tenant": tenant,
            "key": key,
            "digest": digest,
            "process": self._process,
            "began_at_us": at_us,
            "attempts": 1,
            "tried_at_us": at_us,
        }

        def act(connection: Connection) -> EffectState:
            known = connection.execute(_FIND, place).first()
            if known is None:
                connection.execute(_BEGIN, row)
                return Fresh()
            if known.digest != digest:
                raise Conflict("this idempotency key was used before, with other arguments or by another caller")
            if known.finished_at_us is not None:
                return Known(known.outcome)
            here = known.process == self._process
            recent = at_us - known.tried_at_us < _LONGEST_US
            elsewhere = self._database.shared and not here and recent and is_alive(connection, known.process)
            return Unfinished(known.began_at_us, here=here, elsewhere=elsewhere)

        return await self._database.write(act, about=key)

    async def again(self, tenant: str, key: str, at_us: int) -> None:
        """See `EffectLedger.again`. From now on it is under way in this process.

        Raises: NotFound: nothing unfinished has this key.
        """
        values = {"of_tenant": tenant, "of_key": key, "by_process": self._process, "now_us": at_us}

        def act(connection: Connection) -> None:
            if connection.execute(_AGAIN, values).rowcount == 0:
                raise NotFound("no unfinished effect has this idempotency key")

        await self._database.write(act, about=key)

    async def finish(self, tenant: str, key: str, outcome: JsonObject, at_us: int) -> None:
        """See `EffectLedger.finish`. The first outcome stays.

        Raises: NotFound: it was never begun.
        """
        place = {"of_tenant": tenant, "of_key": key}

        def act(connection: Connection) -> None:
            written = connection.execute(_FINISH, {**place, "result": outcome, "now_us": at_us}).rowcount
            if written == 0 and connection.execute(_FIND, place).first() is None:
                raise NotFound("no effect with this idempotency key was begun")

        await self._database.write(act, about=key)

    async def leave(self, tenant: str, key: str) -> None:
        place = {"of_tenant": tenant, "of_key": key}

        def act(connection: Connection) -> None:
            connection.execute(_LEAVE, place)

        await self._database.write(act, about=key)

    async def forget(self, tenant: str, key: str) -> None:
        """See `EffectLedger.forget`. An effect with an outcome is never forgotten."""
        place = {"of_tenant": tenant, "of_key": key}

        def act(connection: Connection) -> None:
            connection.execute(_FORGET, place)

        await self._database.write(act, about=key)
