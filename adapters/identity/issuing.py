"""Minting and revoking API keys: stored and in force in one step. Decides not who may."""

import anyio

from adapters.identity.apikeys import KeyGrant, KeyMint, MintedKey
from adapters.identity.authenticator import Authenticator
from gateway.core.ports.storage import ApiKey, KeyStore
from gateway.core.ports.world import Clock


class KeyIssuer:
    """Keeps the store and the authenticator in step."""

    def __init__(self, *, store: KeyStore, mint: KeyMint, authenticator: Authenticator, clock: Clock) -> None:
        self._store = store
        self._mint = mint
        self._authenticator = authenticator
        self._clock = clock
        self._revoked: set[str] = set()
        """Here, whatever became of it on disk."""
        self._turn = anyio.Lock()

    async def load(self) -> None:
        """Put every stored key in force; at start, and when another process has minted or revoked one."""
        async with self._turn:
            stored = await self._store.all()
            self._authenticator.load(key for key in stored if key.id not in self._revoked)

    async def mint(self, grant: KeyGrant) -> MintedKey:
        """A new key, accepted from now on; this is the only time it can be shown."""
        minted = self._mint.mint(grant, self._clock.now_us())
        async with self._turn:
            await self._store.add(minted.stored)
            self._authenticator.add(minted.stored)
        return minted

    async def revoke(self, key_id: str) -> bool:
        """Refuse a key from now on; False where there is none, or it was revoked before."""
        # First in force, then on disk: if the disk fails the key is dead all the same, and the caller is told.
        self._revoked.add(key_id)
        self._authenticator.revoke(key_id)
        return await self._store.revoke(key_id, self._clock.now_us())

    async def all(self) -> tuple[ApiKey, ...]:
        """Every key, revoked and expired ones included, oldest first."""
        return await self._store.all()
