"""What every `KeyStore` does."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from adapters.storage.keys import SqlKeyStore
from adapters.storage.tables import GATEWAY_SCHEMA
from gateway.core.errors import Conflict
from gateway.core.ports.storage import ApiKey, KeyStore
from tests.contracts.databases import STORES, opened
from tests.fakes_storage import MemoryKeyStore

pytestmark = pytest.mark.anyio

KEY = ApiKey(
    id="k1",
    digest=bytes(range(32)),
    subject="ana",
    kind="client",
    tenant="default",
    roles=frozenset({"support", "billing"}),
    created_at_us=10,
)


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[KeyStore]:
    if request.param == "memory":
        yield MemoryKeyStore()
        return
    async with opened(request, GATEWAY_SCHEMA) as database:
        yield SqlKeyStore(database)


async def test_keys_come_back_whole_oldest_first(store: KeyStore) -> None:
    young = replace(KEY, id="k0", created_at_us=20, expires_at_us=99, note="laptop", kind="operator", roles=frozenset())
    await store.add(young)
    await store.add(KEY)

    assert await store.all() == (KEY, young)


async def test_an_id_is_given_once(store: KeyStore) -> None:
    await store.add(KEY)

    with pytest.raises(Conflict):
        await store.add(replace(KEY, tenant="other"))

    assert await store.all() == (KEY,)


async def test_a_revoked_key_stays_listed_with_the_time_it_was_first_revoked(store: KeyStore) -> None:
    await store.add(KEY)

    assert await store.revoke("k1", 50)
    assert not await store.revoke("k1", 60)

    assert await store.all() == (replace(KEY, revoked_at_us=50),)


async def test_what_is_no_key_is_not_revoked(store: KeyStore) -> None:
    assert not await store.revoke("k9", 50)
