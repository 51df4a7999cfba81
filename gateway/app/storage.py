"""Where the configuration says that rows are kept, opened: SQLite files, or PostgreSQL that several gateways share."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from adapters.identity.keyset import KeySet, key_set_from_files, key_set_from_secret
from adapters.storage.changes import Changes
from adapters.storage.database import Database
from adapters.storage.directory import DataDirectory
from adapters.storage.postgres import PostgresDatabase
from adapters.storage.scratch import SCRATCH_SCHEMA
from adapters.storage.settings import StorageSettings
from adapters.storage.tables import GATEWAY_SCHEMA
from adapters.storage.transactions import Transactions
from gateway.app.storage_url import postgres_url
from gateway.core.errors import Conflict
from gateway.core.ports.world import Clock, Secret, Secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Open databases, and the keys that what is stored in them depends on."""

    rows: Transactions
    scratch: Transactions
    keys: KeySet
    changes: Changes | None
    """What other processes change; None where there are none."""
    postgres: Secret | None
    """The URL of the database; None for files."""


@asynccontextmanager
async def open_storage(
    directory: DataDirectory, settings: StorageSettings, secrets: Secrets, clock: Clock
) -> AsyncGenerator[Storage]:
    """Everything opened, for the time of the block.

    Raises: Conflict: other gateways on the database have other keys; InvalidRequest, Unavailable: something cannot be
        used.
    """
    url = postgres_url(settings, secrets)
    keys = key_set_from_secret(secrets.resolve(settings.secret)) if settings.secret else None
    keys = keys or key_set_from_files(directory.keys)
    async with AsyncExitStack() as stack:
        if url is None:
            rows = await Database.open(directory.gateway_db, GATEWAY_SCHEMA)
            stack.push_async_callback(rows.aclose)
            scratch = await Database.open(directory.scratch_db, SCRATCH_SCHEMA)
            stack.push_async_callback(scratch.aclose)
            yield Storage(rows=rows, scratch=scratch, keys=keys, changes=None, postgres=None)
            return
        shared = await PostgresDatabase.open(url, (GATEWAY_SCHEMA, SCRATCH_SCHEMA), connections=settings.connections)
        stack.push_async_callback(shared.aclose)
        await _agree(shared, keys)
        yield Storage(rows=shared, scratch=shared, keys=keys, changes=Changes(shared, clock), postgres=url)


async def _agree(database: PostgresDatabase, keys: KeySet) -> None:
    """What one gateway signs, seals and digests the others have to read. Raises: Conflict: they have other keys."""
    if await database.agreed("keys", keys.fingerprint) != keys.fingerprint:
        raise Conflict(
            "the gateways on this PostgreSQL database have other keys than this one: give all of them the same"
            " storage.secret, or the same files pepper, delegation.key, state.key and accounts.key in keys/. To change"
            " the keys of all, stop them and `DELETE FROM drawbridge.agreements`: minted keys and accounts are"
            " void then"
        )
