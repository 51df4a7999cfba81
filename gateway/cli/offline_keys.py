"""Keys minted where a gateway that is not running keeps them; it finds them when it starts."""

import anyio

from adapters.identity.apikeys import KeyGrant, KeyMint, MintedKey
from adapters.identity.secrets import SecretResolver
from adapters.storage.directory import DataDirectory
from adapters.storage.keys import SqlKeyStore
from adapters.system import SystemClock
from gateway.app.sections import Sections, configuration_folder
from gateway.app.storage import open_storage


def mint_offline(data: DataDirectory, sections: Sections, grant: KeyGrant) -> MintedKey:
    """A stored key.

    Raises: Conflict, InvalidRequest, Unavailable: the data directory, or the database of the configuration, cannot be
        used.
    """
    data.prepare()
    return anyio.run(_minted, data, sections, grant)


async def _minted(data: DataDirectory, sections: Sections, grant: KeyGrant) -> MintedKey:
    clock = SystemClock()
    secrets = SecretResolver(configuration_folder(sections))
    async with open_storage(data, sections.storage, secrets, clock) as storage:
        minted = KeyMint(storage.keys.pepper).mint(grant, clock.now_us())
        await SqlKeyStore(storage.rows).add(minted.stored)
        return minted
