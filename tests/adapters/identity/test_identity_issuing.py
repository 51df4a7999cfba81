"""Minting and revoking, stored and in force."""

import pytest

from adapters.identity.apikeys import KeyGrant, KeyMint
from adapters.identity.authenticator import Authenticator
from adapters.identity.delegation import DelegationTokens
from adapters.identity.issuing import KeyIssuer
from gateway.core.errors import Unauthenticated, Unavailable
from gateway.core.ports.storage import KeyStore
from gateway.testing.stores.around_runs import MemoryOpenSteps
from tests.fakes import FakeClock
from tests.fakes_storage import MemoryKeyStore

pytestmark = pytest.mark.anyio


def start(store: KeyStore) -> tuple[KeyIssuer, Authenticator]:
    clock = FakeClock()
    mint = KeyMint(bytes(32))
    tokens = DelegationTokens(bytes(range(32)), clock=clock)
    door = Authenticator(mint=mint, tokens=tokens, steps=MemoryOpenSteps(), clock=clock)
    return KeyIssuer(store=store, mint=mint, authenticator=door, clock=clock), door


async def test_a_key_works_from_the_moment_it_is_minted_and_after_a_restart() -> None:
    store = MemoryKeyStore()
    issuer, door = start(store)
    minted = await issuer.mint(KeyGrant(subject="carl"))
    header = f"Bearer {minted.key.reveal()}".encode()
    assert door.identify(header).principal.subject == "carl"
    assert await issuer.all() == (minted.stored,)

    later, later_door = start(store)
    with pytest.raises(Unauthenticated):
        later_door.identify(header)
    await later.load()

    assert later_door.identify(header).principal.subject == "carl"


async def test_a_revoked_key_stays_revoked_after_a_restart() -> None:
    store = MemoryKeyStore()
    issuer, door = start(store)
    minted = await issuer.mint(KeyGrant(subject="carl"))
    header = f"Bearer {minted.key.reveal()}".encode()
    door.identify(header)

    assert await issuer.revoke(minted.stored.id)
    assert not await issuer.revoke(minted.stored.id)

    with pytest.raises(Unauthenticated):
        door.identify(header)
    later, later_door = start(store)
    await later.load()
    with pytest.raises(Unauthenticated):
        later_door.identify(header)
    assert [key.revoked_at_us is not None for key in await later.all()] == [True]


async def test_keys_minted_and_revoked_by_another_gateway_count_after_the_next_load() -> None:
    store = MemoryKeyStore()
    here, door = start(store)
    there, _ = start(store)
    minted = await there.mint(KeyGrant(subject="carl"))
    header = f"Bearer {minted.key.reveal()}".encode()

    await here.load()
    assert door.identify(header).principal.subject == "carl"

    await there.revoke(minted.stored.id)
    await here.load()
    with pytest.raises(Unauthenticated):
        door.identify(header)


async def test_a_key_revoked_here_stays_dead_although_the_store_did_not_take_it() -> None:
    class FullStore(MemoryKeyStore):
        async def revoke(self, key_id: str, at_us: int) -> bool:
            raise Unavailable("the disk is full")

    issuer, door = start(FullStore())
    minted = await issuer.mint(KeyGrant(subject="carl"))
    with pytest.raises(Unavailable):
        await issuer.revoke(minted.stored.id)

    await issuer.load()

    with pytest.raises(Unauthenticated):
        door.identify(f"Bearer {minted.key.reveal()}".encode())
