"""Accounts people have connected, their tokens under seal. Opens no seal."""

from typing import Any

from sqlalchemy import Connection, RowMapping, and_, bindparam, delete, insert, select

from adapters.storage.tables import accounts
from adapters.storage.transactions import Transactions
from gateway.core.ports.accounts import Account

_c = accounts.c
_PLACE = and_(
    _c.tenant == bindparam("of_tenant"), _c.subject == bindparam("of_subject"), _c.server == bindparam("of_server")
)
_FIND = select(accounts).where(_PLACE)
_OF_TENANT = select(accounts).where(_c.tenant == bindparam("of_tenant")).order_by(_c.server, _c.subject)
_ADD = insert(accounts)
_REMOVE = delete(accounts).where(_PLACE)
_IF_SAME = _REMOVE.where(_c.sealed == bindparam("as_sealed"))


class SqlAccounts:
    """See `Accounts`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def put(self, account: Account) -> None:
        place = _place(account.tenant, account.subject, account.server)
        row: dict[str, Any] = {column.name: getattr(account, column.name) for column in accounts.columns}

        def act(connection: Connection) -> None:
            connection.execute(_REMOVE, place)
            connection.execute(_ADD, row)

        await self._database.write(act, about=_about(account))

    async def replace(self, account: Account, sealed: bytes) -> bool:
        place = _place(account.tenant, account.subject, account.server)
        row: dict[str, Any] = {column.name: getattr(account, column.name) for column in accounts.columns}

        def act(connection: Connection) -> bool:
            same = connection.execute(_IF_SAME, {**place, "as_sealed": sealed}).rowcount > 0
            if same:
                connection.execute(_ADD, row)
            return same

        return await self._database.write(act, about=_about(account))

    async def find(self, tenant: str, subject: str, server: str) -> Account | None:
        place = _place(tenant, subject, server)
        row = await self._database.read(lambda connection: connection.execute(_FIND, place).mappings().first())
        return None if row is None else _account_from(row)

    async def all(self, tenant: str) -> tuple[Account, ...]:
        of = {"of_tenant": tenant}
        rows = await self._database.read(lambda connection: connection.execute(_OF_TENANT, of).mappings().all())
        return tuple(_account_from(row) for row in rows)

    async def remove(self, tenant: str, subject: str, server: str) -> bool:
        place = _place(tenant, subject, server)
        return await self._database.write(lambda connection: connection.execute(_REMOVE, place).rowcount > 0)

    async def drop(self, account: Account) -> bool:
        place = {**_place(account.tenant, account.subject, account.server), "as_sealed": account.sealed}
        return await self._database.write(lambda connection: connection.execute(_IF_SAME, place).rowcount > 0)


def _place(tenant: str, subject: str, server: str) -> dict[str, str]:
    return {"of_tenant": tenant, "of_subject": subject, "of_server": server}


def _about(account: Account) -> str:
    return f"account {account.tenant}/{account.server}/{account.subject}"


def _account_from(row: RowMapping) -> Account:
    return Account(**row)
