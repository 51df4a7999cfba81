"""Minted API keys, as digests. Never sees a key itself."""

from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from adapters.storage.tables import api_keys
from adapters.storage.transactions import Transactions
from gateway.core.errors import Conflict
from gateway.core.ports.storage import ApiKey

KEYS = "keys"
"""The topic under which changes are marked."""

_BY_ID = select(api_keys.c.id).where(api_keys.c.id == bindparam("key_id"))
_ALL = select(api_keys).order_by(api_keys.c.created_at_us, api_keys.c.id)
_ADD = insert(api_keys)
_REVOKE = (
    update(api_keys)
    .where(api_keys.c.id == bindparam("key_id"), api_keys.c.revoked_at_us.is_(None))
    .values(revoked_at_us=bindparam("at_us"))
)


class SqlKeyStore:
    """See `KeyStore`."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def add(self, key: ApiKey) -> None:
        row = _row_from_key(key)

        def act(connection: Connection) -> None:
            if connection.execute(_BY_ID, {"key_id": key.id}).first() is not None:
                raise Conflict("a key with this id exists")
            connection.execute(_ADD, row)
            self._database.mark(connection, KEYS)

        await self._database.write(act)

    async def all(self) -> tuple[ApiKey, ...]:
        rows = await self._database.read(lambda connection: connection.execute(_ALL).mappings().all())
        return tuple(_key_from_row(row) for row in rows)

    async def revoke(self, key_id: str, at_us: int) -> bool:
        def act(connection: Connection) -> bool:
            revoked = connection.execute(_REVOKE, {"key_id": key_id, "at_us": at_us}).rowcount > 0
            if revoked:
                self._database.mark(connection, KEYS)
            return revoked

        return await self._database.write(act)


def _row_from_key(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "digest": key.digest,
        "subject": key.subject,
        "kind": key.kind,
        "roles": sorted(key.roles),
        "created_at_us": key.created_at_us,
        "expires_at_us": key.expires_at_us,
        "revoked_at_us": key.revoked_at_us,
        "note": key.note,
    }


def _key_from_row(row: RowMapping) -> ApiKey:
    return ApiKey(
        id=row["id"],
        digest=row["digest"],
        subject=row["subject"],
        kind=row["kind"],
        tenant=row["tenant"],
        roles=frozenset(row["roles"]),
        created_at_us=row["created_at_us"],
        expires_at_us=row["expires_at_us"],
        revoked_at_us=row["revoked_at_us"],
        note=row["note"],
    )
