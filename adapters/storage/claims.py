"""What one of many has to itself for a while. Knows nothing of what it is."""

from sqlalchemy import Connection, Delete, Update, bindparam, delete, or_, update
from sqlalchemy.dialects.postgresql import insert  # SQLite understands what it compiles to

from adapters.storage.tables import claims
from adapters.storage.transactions import Transactions

_c = claims.c
_add = insert(claims)
_TAKE = _add.on_conflict_do_update(
    index_elements=["tenant", "name"],
    set_={"holder": _add.excluded.holder, "until_us": _add.excluded.until_us},
    where=or_(_c.holder == _add.excluded.holder, _c.until_us <= bindparam("now_us")),
).execution_options(preserve_rowcount=True)
_OVER = delete(claims).where(_c.tenant == bindparam("of_tenant"), _c.until_us <= bindparam("now_us"))
_HELD = (_c.tenant == bindparam("of_tenant"), _c.name == bindparam("of_name"), _c.holder == bindparam("of_holder"))
_LEAVE = delete(claims).where(*_HELD)
_PASS_ON = update(claims).where(*_HELD).values(holder=bindparam("to_holder"))


class SqlClaims:
    """See `Claims`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def take(self, tenant: str, name: str, holder: str, *, now_us: int, until_us: int) -> bool:
        row = {"tenant": tenant, "name": name, "holder": holder, "until_us": until_us, "now_us": now_us}

        def act(connection: Connection) -> bool:
            taken = connection.execute(_TAKE, row).rowcount > 0
            if taken:
                connection.execute(_OVER, {"of_tenant": tenant, "now_us": now_us})
            return taken

        return await self._database.write(act, about=f"claim {tenant} {name}")

    async def leave(self, tenant: str, name: str, holder: str) -> None:
        await self._held(_LEAVE, tenant, name, {"of_holder": holder})

    async def pass_on(self, tenant: str, name: str, holder: str, to: str) -> None:
        await self._held(_PASS_ON, tenant, name, {"of_holder": holder, "to_holder": to})

    async def _held(self, statement: Delete | Update, tenant: str, name: str, who: dict[str, str]) -> None:
        values = {"of_tenant": tenant, "of_name": name, **who}

        def act(connection: Connection) -> None:
            connection.execute(statement, values)

        await self._database.write(act, about=f"claim {tenant} {name}")
