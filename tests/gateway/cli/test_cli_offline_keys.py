"""Keys minted while no gateway runs."""

from pathlib import Path

import anyio

from adapters.identity.apikeys import KeyGrant, KeyMint, key_id
from adapters.identity.keyfiles import random_key
from adapters.identity.secrets import SecretResolver
from adapters.storage.database import Database
from adapters.storage.directory import DataDirectory
from adapters.storage.keys import SqlKeyStore
from adapters.storage.tables import GATEWAY_SCHEMA
from adapters.system import SystemClock
from gateway.app.sections import Sections, load_configuration
from gateway.app.storage import open_storage
from gateway.cli.offline_keys import mint_offline
from gateway.core.ports.storage import ApiKey


def test_a_key_minted_offline_is_the_one_a_later_gateway_knows(tmp_path: Path) -> None:
    data = DataDirectory(root=tmp_path / ".drawbridge")
    (tmp_path / "gateway.yaml").touch()
    sections = Sections(load_configuration(tmp_path / "gateway.yaml"))
    minted = mint_offline(data, sections, KeyGrant(subject="ana", note="connect cursor"))

    async def stored() -> tuple[ApiKey, ...]:
        database = await Database.open(data.gateway_db, GATEWAY_SCHEMA)
        try:
            return await SqlKeyStore(database).all()
        finally:
            await database.aclose()

    found = anyio.run(stored)
    secret = minted.key.reveal().encode()
    assert found == (minted.stored,)
    assert found[0].id == key_id(secret)
    assert found[0].digest == KeyMint(random_key(data.keys / "pepper")).digest(secret)
    assert data.gateway_db.stat().st_mode & 0o077 == 0


def test_a_key_minted_offline_goes_where_the_configuration_says(tmp_path: Path, postgres_url: str) -> None:
    data = DataDirectory(root=tmp_path / ".drawbridge")
    (tmp_path / "gateway.yaml").write_text(f"storage: {{url: '{postgres_url}', secret: 'file:secret'}}\n")
    (tmp_path / "secret").write_text("3f9c1e7ab2d845069b1c77e0aa4f55d0\n")
    (tmp_path / "secret").chmod(0o600)
    sections = Sections(load_configuration(tmp_path / "gateway.yaml", data))

    minted = mint_offline(data, sections, KeyGrant(subject="ana"))

    async def stored() -> tuple[ApiKey, ...]:
        secrets = SecretResolver(tmp_path)
        async with open_storage(data, sections.storage, secrets, SystemClock()) as storage:
            return await SqlKeyStore(storage.rows).all()

    assert anyio.run(stored) == (minted.stored,)
    assert not data.gateway_db.exists()
    assert not (data.keys / "pepper").exists()
