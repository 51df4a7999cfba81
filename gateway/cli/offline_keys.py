"""Keys minted into the files of a gateway that is not running; it finds them when it starts."""

import anyio

from adapters.identity.apikeys import KeyGrant, KeyMint, MintedKey
from adapters.identity.keyfiles import random_key
from adapters.storage.database import Database
from adapters.storage.directory import DataDirectory
from adapters.storage.keys import SqlKeyStore
from adapters.storage.tables import GATEWAY_SCHEMA
from adapters.system import SystemClock


def mint_offline(data: DataDirectory, grant: KeyGrant) -> MintedKey:
    """A stored key. Raises: InvalidRequest, Unavailable: the data directory cannot be used."""
    data.prepare()
    minted = KeyMint(random_key(data.pepper)).mint(grant, SystemClock().now_us())
    anyio.run(_store, data, minted)
    return minted


async def _store(data: DataDirectory, minted: MintedKey) -> None:
    database = await Database.open(data.gateway_db, GATEWAY_SCHEMA)
    try:
        await SqlKeyStore(database).add(minted.stored)
    finally:
        await database.aclose()
