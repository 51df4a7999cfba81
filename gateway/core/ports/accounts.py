"""Accounts that people have at upstreams and let the gateway use: kept under seal, one a person and server."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One connected account."""

    tenant: str
    subject: str
    """Of the principal whose it is."""
    server: str
    """Slug."""
    issuer: str
    """Who gave the tokens; they are shown to nobody else."""
    scope: str
    sealed: bytes = field(repr=False)
    """Its tokens, under a key that is not where this is stored."""
    connected_at_us: int
    renewed_at_us: int


class Accounts(Protocol):
    """Where they are kept."""

    async def put(self, account: Account) -> None:
        """Store it, in the place of an earlier one."""
        ...

    async def replace(self, account: Account, sealed: bytes) -> bool:
        """Store it in the place of the one `sealed` so; False, and nothing happens, where that is gone or changed."""
        ...

    async def find(self, tenant: str, subject: str, server: str) -> Account | None: ...

    async def all(self, tenant: str) -> tuple[Account, ...]:
        """By server and subject."""
        ...

    async def remove(self, tenant: str, subject: str, server: str) -> bool:
        """False where there is none."""
        ...

    async def drop(self, account: Account) -> bool:
        """Remove it; False, and nothing happens, where it is gone or has other tokens by now."""
        ...
