"""Connected accounts in memory."""

from gateway.core.ports.accounts import Account


class MemoryAccounts:
    """See `Accounts`."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], Account] = {}

    async def put(self, account: Account) -> None:
        self._rows[account.tenant, account.subject, account.server] = account

    async def replace(self, account: Account, sealed: bytes) -> bool:
        present = await self.find(account.tenant, account.subject, account.server)
        if present is None or present.sealed != sealed:
            return False
        await self.put(account)
        return True

    async def find(self, tenant: str, subject: str, server: str) -> Account | None:
        return self._rows.get((tenant, subject, server))

    async def all(self, tenant: str) -> tuple[Account, ...]:
        found = [each for each in self._rows.values() if each.tenant == tenant]
        return tuple(sorted(found, key=lambda each: (each.server, each.subject)))

    async def remove(self, tenant: str, subject: str, server: str) -> bool:
        return self._rows.pop((tenant, subject, server), None) is not None

    async def drop(self, account: Account) -> bool:
        present = await self.find(account.tenant, account.subject, account.server)
        same = present is not None and present.sealed == account.sealed
        return same and await self.remove(account.tenant, account.subject, account.server)
