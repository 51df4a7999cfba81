"""What budgets have given out in the present minute, over all processes on a shared database. Decides no budget.

Two that reserve at the same moment meet in the row: the second is run again, and sees what the first has taken.
"""

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from adapters.storage.tables import minutes
from adapters.storage.transactions import Transactions
from gateway.core.ports.costs import Fits, Given

_c = minutes.c
_THIS = (_c.budget == bindparam("of_budget"), _c.minute == bindparam("of_minute"))
_FIND = select(_c.calls, _c.tokens).where(*_THIS)
_BEGIN = insert(minutes)
_ADD = (
    update(minutes)
    .where(*_THIS)
    .values(
        calls=_c.calls + bindparam("more_calls", type_=_c.calls.type),
        tokens=_c.tokens + bindparam("more_tokens", type_=_c.tokens.type),
    )
)
_OVER = delete(minutes).where(_c.budget == bindparam("of_budget"), _c.minute < bindparam("of_minute") - 1)


class SqlMinutes:
    """See `MinuteLedger`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def reserve(self, given: Given, fits: Fits) -> tuple[int, int] | None:
        place, more = _place(given), {"more_calls": given.calls, "more_tokens": given.tokens}
        row = {"budget": given.budget, "minute": given.minute, "calls": given.calls, "tokens": given.tokens}

        def act(connection: Connection) -> tuple[int, int] | None:
            known = connection.execute(_FIND, place).first()
            calls, tokens = (0, 0) if known is None else (known.calls, known.tokens)
            if not fits(calls, tokens):
                return calls, tokens
            if known is None:
                connection.execute(_OVER, place)
                connection.execute(_BEGIN, row)
            else:
                connection.execute(_ADD, {**place, **more})
            return None

        return await self._database.write(act, about=given.budget)

    async def settle(self, given: Given) -> None:
        values = {**_place(given), "more_calls": given.calls, "more_tokens": given.tokens}

        def act(connection: Connection) -> None:
            connection.execute(_ADD, values)

        await self._database.write(act, about=given.budget)


def _place(given: Given) -> dict[str, str | int]:
    return {"of_budget": given.budget, "of_minute": given.minute}
